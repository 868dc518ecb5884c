"""Findings -> text with the source line and a caret. JSON and SARIF are in report_formats.py."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.limits import MAX_DIAGNOSTICS
from layerzero.syntax.source import Span
from layerzero.syntax.visible import visible

_TAB = 4
_WIDEST = 120  # columns of a source line that are shown, around the caret
_COLOURS = {"error": "\033[1;31m", "warning": "\033[1;33m", "frame": "\033[1;34m", "strong": "\033[1m"}
_PLAIN = "\033[0m"


def render(diagnostics: Sequence[Diagnostic], color: bool = False) -> str:
    """The findings in their order, a blank line between two; past 100 only their number."""
    shown = [_one(item, color) for item in diagnostics[:MAX_DIAGNOSTICS]]
    if len(diagnostics) > MAX_DIAGNOSTICS:
        shown.append(f"... and {len(diagnostics) - MAX_DIAGNOSTICS} more findings\n")
    return "\n".join(shown)


def _one(item: Diagnostic, color: bool) -> str:
    def paint(role: str, text: str) -> str:
        return f"{_COLOURS[role]}{text}{_PLAIN}" if color and text else text

    first = item.span.line
    others = [label for label in item.labels if label.span.source is item.span.source]
    elsewhere = [label for label in item.labels if label.span.source is not item.span.source]
    gutter = len(str(max([first, *(label.span.line for label in item.labels)])))
    bar = paint("frame", f" {'':{gutter}} |")

    lines = [paint(item.severity, f"{item.severity}[{item.code}]") + paint("strong", f": {_visible(item.message)}")]
    lines.append(f" {'':{gutter}}{paint('frame', '-->')} {visible(str(item.span))}")
    lines.append(bar)
    marks = [(item.span, item.label, "^"), *((label.span, label.text, "-") for label in others)]
    above = 0
    for number in sorted({span.line for span, _, _ in marks}):
        if above and number > above + 1:
            lines.append(paint("frame", f" {'.' * gutter}"))
        above = number
        here = [mark for mark in marks if mark[0].line == number]
        lines.extend(_frame(number, here, gutter, item.severity, paint))
    for label in elsewhere:
        lines.append(f" {'':{gutter}}{paint('frame', ':::')} {visible(str(label.span))}")
        lines.extend(_frame(label.span.line, [(label.span, label.text, "-")], gutter, item.severity, paint))
    if item.help:
        lines.append(f" {'':{gutter}} = {paint('strong', 'help')}: {_visible(item.help)}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _frame(number: int, marks: list[tuple[Span, str, str]], gutter: int, severity: str, paint: object) -> list[str]:
    """One source line and, under it, one line for each mark."""
    assert callable(paint)
    source = marks[0][0].source
    raw = source.line(number)
    start = source.offset_of_line(number)
    window = _window(raw, marks[0][0].start - start)
    text, columns = _columns(raw[window[0] : window[1]])
    lead = "..." if window[0] else ""
    tail = "..." if window[1] < len(raw) else ""
    lines = [f"{paint('frame', f' {number:>{gutter}} |')} {lead}{text}{tail}"]
    for span, words, sign in marks:
        low = min(max(span.start - start - window[0], 0), len(columns) - 1)
        high = min(max(span.end - start - window[0], low + 1), len(columns))
        left = columns[low]
        right = columns[high] if high < len(columns) else columns[-1] + 1
        under = sign * max(1, right - left)
        note = f"{under} {_visible(words)}" if words else under
        role = severity if sign == "^" else "frame"
        lines.append(f"{paint('frame', f' {chr(32) * gutter} |')} {' ' * (len(lead) + left)}{paint(role, note)}")
    return lines


def _window(raw: str, at: int) -> tuple[int, int]:
    """The part of a long line that is shown."""
    if len(raw) <= _WIDEST:
        return 0, len(raw)
    low = max(0, min(at - _WIDEST // 2, len(raw) - _WIDEST))
    return low, low + _WIDEST


def _columns(raw: str) -> tuple[str, list[int]]:
    """A line as a terminal shows it, and the column of each character; one entry more for the end."""
    shown: list[str] = []
    columns: list[int] = []
    column = 0
    for character in raw:
        columns.append(column)
        if character == "\t":
            piece = " " * (_TAB - column % _TAB)
            width = len(piece)
        else:
            piece, width = _visible(character), _width(character)
        shown.append(piece)
        column += width
    columns.append(column)
    return "".join(shown), columns


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _visible(text: str) -> str:
    """Control characters would move the cursor, bidirectional marks reorder the line: shown as one sign each."""
    if text.isprintable():
        return text
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)

"""Rows of figures -> Markdown tables, a plot as SVG, and their place in a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

WIDTH, ROW, GAP = 560, 17, 34
COLOURS = {"baseline": "#9aa5b1", "own": "#1f6feb", "peer": "#d9822b"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the figures to the right."""
    marks = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, marks, *rows))


def figure(value: float | None) -> str:
    """Two significant digits, as ratios of a busy machine deserve."""
    if value is None:
        return "-"
    if value >= 100:
        digits = int(math.log10(value)) - 1
        return f"{round(value / 10**digits) * 10**digits:,}"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def microseconds(nanoseconds: float | None) -> str:
    return "-" if nanoseconds is None else figure(nanoseconds / 1000) if nanoseconds >= 1000 else _small(nanoseconds)


def _small(nanoseconds: float) -> str:
    return f"{nanoseconds / 1000:.2f}"


def replace_section(page: Path, name: str, text: str) -> None:
    """Put text between `<!-- begin NAME -->` and `<!-- end NAME -->` of a page.

    Raises:
        ValueError: The page lacks one of the marks.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    written = page.read_text(encoding="utf-8")
    before, found, rest = written.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page.name} has no section `{name}`")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def bars(title: str, unit: str, panels: Mapping[str, Sequence[tuple[str, str, float]]], left: int = 250) -> str:
    """Horizontal bars on one logarithmic scale: panel -> rows of (name, kind in COLOURS, value >= 1).

    `left` is the width for the names, in pixels.
    """
    highest = max(value for rows in panels.values() for _, _, value in rows)
    decades = max(1, math.ceil(math.log10(highest)))
    scale = WIDTH / decades
    height = 60 + sum(GAP + ROW * len(rows) for rows in panels.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + WIDTH + 80}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="20" font-size="15" font-weight="bold">{escape(title)}</text>',
        f'<text x="12" y="38" fill="#555">{escape(unit)}, logarithmic; shorter is better</text>',
    ]
    for decade in range(decades + 1):
        x = left + decade * scale
        parts.append(f'<line x1="{x:.0f}" x2="{x:.0f}" y1="48" y2="{height - 8}" stroke="#e4e7eb"/>')
        parts.append(f'<text x="{x:.0f}" y="46" text-anchor="middle" fill="#555">{10**decade:,}</text>')
    y = 52
    for panel, rows in panels.items():
        parts.append(f'<text x="12" y="{y + 20}" font-weight="bold">{escape(panel)}</text>')
        y += GAP - 6
        for name, kind, value in rows:
            length = max(1.0, math.log10(max(value, 1.0)) * scale)
            parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
            parts.append(
                f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{ROW - 4}" fill="{COLOURS[kind]}"/>'
            )
            parts.append(f'<text x="{left + length + 5:.1f}" y="{y + 12}" fill="#333">{figure(value)}</text>')
            y += ROW
        y += 6
    return "\n".join([*parts, "</svg>\n"])

"""The characters of a scalar's value -> where each stands in the YAML text, whatever quotes, escapes and folding are
between the two."""

from __future__ import annotations

import re
from collections.abc import Iterator

from layerzero.notations.yaml_tree import Scalar

_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|\r\n|.)", re.S)
_NAMED = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b"}
_NAMED |= {"N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029", "\r": " ", "\n": " ", "\r\n": " ", "\t": "\t"}
_BLANK = " \t\r\n\x85\u2028\u2029\xa0"


def places(scalar: Scalar) -> list[int]:
    """For each character of `scalar.text`, and for its end, the offset in the source.

    Folding only changes blanks, so the other characters of value and source agree one by one; a blank of the value
    stands directly behind the character before it.
    """
    written = [(character, at) for character, at in _written(scalar) if character not in _BLANK]
    found: list[int] = []
    upcoming = 0
    last = scalar.inner.start
    for character in scalar.text:
        if character in _BLANK:
            found.append(last)
            continue
        if upcoming >= len(written) or written[upcoming][0] != character:
            return [scalar.inner.start] * (len(scalar.text) + 1)  # cannot happen; the scalar as a whole is right too
        found.append(written[upcoming][1])
        last = written[upcoming][1] + 1
        upcoming += 1
    return [*found, last]


def _written(scalar: Scalar) -> Iterator[tuple[str, int]]:
    """The characters that the source spells, each with where it begins."""
    text, start, end = scalar.span.source.text, scalar.span.start, scalar.span.end
    sign = text[start : start + 1]
    if scalar.quoted and sign == '"':
        yield from _escaped(text, start + 1, end - 1)
    elif scalar.quoted and sign == "'":
        at = start + 1
        while at < end - 1:
            yield text[at], at
            at += 2 if text.startswith("''", at) else 1
    elif scalar.quoted and sign in "|>":
        line = re.compile(r"[^\r\n]*").match(text, start)
        body = end if line is None else line.end()
        yield from ((text[at], at) for at in range(body, end))
    else:
        yield from ((text[at], at) for at in range(start, end))


def _escaped(text: str, start: int, end: int) -> Iterator[tuple[str, int]]:
    at = start
    while at < end:
        escape = _ESCAPE.match(text, at) if text[at] == "\\" else None
        if escape is None:
            yield text[at], at
            at += 1
            continue
        body = escape[1]
        yield chr(int(body[1:], 16)) if body[0] in "xuU" and len(body) > 1 else _NAMED.get(body, body), at
        at = escape.end()

"""A text and places in it. Everything later points back here: nodes, diagnostics, rules, proofs."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath


@dataclass(frozen=True)
class Source:
    """The text of one file, under the name that messages print.

    `name` is the path as the user gave it (`prod.lzp`), `<text>` for a text without a file, or the caller's
    `server.py` for a rule made by a call at run time.
    """

    name: str
    text: str = field(repr=False)

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        starts.extend(index + 1 for index, character in enumerate(self.text) if character == "\n")
        return starts

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column (both from 1, the column in characters) of a character offset."""
        line = bisect_right(self._line_starts, offset) - 1
        return line + 1, offset - self._line_starts[line] + 1

    def offset_of_line(self, number: int) -> int:
        """The offset of the first character of a line (from 1)."""
        return self._line_starts[number - 1]

    def line(self, number: int) -> str:
        """The text of a line (from 1) without its line end."""
        start = self._line_starts[number - 1]
        end = self._line_starts[number] if number < len(self._line_starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of characters of one source: `head_dim` in `prod.lzp`, characters 310 to 318."""

    source: Source = field(repr=False)
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        """What is written there, on one line: runs of white space become one blank."""
        return " ".join(self.source.text[self.start : self.end].split())

    @property
    def label(self) -> str:
        """`prod.lzp:14`, the name of a rule that has none."""
        return f"{PurePath(self.source.name).name}:{self.line}"

    def __str__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"

    def to(self, last: Span) -> Span:
        """From the start of this span to the end of `last`, in the same source."""
        return Span(self.source, self.start, last.end)

"""A place in a text -> the keywords that may stand there, and whether a name may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from layerzero.syntax import recovery
from layerzero.syntax.automaton import StopError, TooLargeError
from layerzero.syntax.parser import automaton

_NAMES = frozenset(("NAME", "DOTTED", "GLOB", "PACKAGE_NAME"))
_NOTHING = "\x01"  # no word of the language begins with it


@dataclass(frozen=True, slots=True)
class Expected:
    """Behind `deny torch.* `: the keywords `for`, `when`, `because` ..., no name."""

    keywords: tuple[str, ...]
    name: bool


def expected_at(text: str, offset: int) -> Expected:
    """What the grammar takes at `offset`, given what stands before it in its statement."""
    begun = statement_start(text, offset)
    try:
        automaton().run(text[begun:offset] + _NOTHING, 0, _make_nothing, lambda start, end: None)
    except StopError as stop:
        if stop.offset < offset - begun:
            return Expected((), False)  # the statement is broken before the place
        words = automaton().tables.words
        return Expected(
            tuple(sorted(word for word, terminal in words.items() if terminal in stop.accepted)),
            not _NAMES.isdisjoint(stop.accepted),
        )
    except TooLargeError:
        pass
    return Expected((), False)


def statement_start(text: str, offset: int) -> int:
    """Where the statement that holds `offset` begins."""
    begun = 0
    for piece in recovery.pieces(text[:offset], 0):
        column_one = piece.start == 0 or text[piece.start - 1] == "\n"
        if piece.text in recovery.STATEMENTS and (piece.depth <= 0 or column_one) and piece.first:
            begun = piece.start
    return begun


def _make_nothing(rule: str, values: list[Any], start: int, end: int) -> Any:
    return None

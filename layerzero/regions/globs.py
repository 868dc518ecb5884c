"""An example of a string that matches some globs and not others, or the proof that there is none.

The globs run side by side as automata over the few characters that they can tell apart, breadth first, so the
example is a shortest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from layerzero.regions.translate import TooComplexError
from layerzero.syntax.glob import like

MAX_STATES = 20_000
_READABLE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 -_./"


def tokens(pattern: str) -> list[str]:
    """`a*[!b]` -> a, *, [!b]: each token but the star is itself a glob for one character."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        start = at
        if pattern[at] == "\\" and at + 1 < len(pattern):
            at += 2
        elif pattern[at] == "[":
            at += 2 if pattern.startswith("[!", at) else 1
            first = True
            while first or not pattern.startswith("]", at):
                at += 2 if pattern.startswith("\\", at) else 1
                first = False
            at += 1
        else:
            at += 1
        found.append(pattern[start:at])
    return found


def literally(text: str) -> str:
    """The glob that only this text matches."""
    return "".join("\\" + character if character in "*?[\\" else character for character in text)


def example(matching: Sequence[str], avoiding: Sequence[str]) -> str | None:
    """A shortest string that matches all of the first globs and none of the others; None where there is none.

    Raises:
        TooComplexError: the automata have too many states together.
    """
    automata = [_Automaton(tokens(pattern)) for pattern in (*matching, *avoiding)]
    alphabet = list(_alphabet((*matching, *avoiding)))
    start = tuple(automaton.start for automaton in automata)
    seen = {start: ""}
    queue = [start]
    for state in queue:
        accepted = [automaton.accepts(at) for automaton, at in zip(automata, state, strict=True)]
        if all(accepted[: len(matching)]) and not any(accepted[len(matching) :]):
            return seen[state]
        for character in alphabet:
            after = tuple(automaton.step(at, character) for automaton, at in zip(automata, state, strict=True))
            if after in seen or not all(after[: len(matching)]):
                continue
            if len(seen) >= MAX_STATES:
                raise TooComplexError(f"the globs have more than {MAX_STATES} states together")
            seen[after] = seen[state] + character
            queue.append(after)
    return None


class _Automaton:
    """A glob as a set of places (bits) between its tokens; a star lets a place stay."""

    def __init__(self, parts: list[str]) -> None:
        self._parts = [part for index, part in enumerate(parts) if part != "*" or parts[index - 1 : index] != ["*"]]
        self.start = self._closed(1)

    def accepts(self, places: int) -> bool:
        return bool(places >> len(self._parts) & 1)

    def step(self, places: int, character: str) -> int:
        after = 0
        for index, part in enumerate(self._parts):
            if places >> index & 1:
                if part == "*":
                    after |= 1 << index
                elif like(character, part):
                    after |= 1 << index + 1
        return self._closed(after)

    def _closed(self, places: int) -> int:
        for index, part in enumerate(self._parts):
            if part == "*" and places >> index & 1:
                places |= 1 << index + 1
        return places


def _alphabet(patterns: Iterable[str]) -> Iterator[str]:
    """One character of each range that no glob cuts, readable ones first."""
    cuts = sorted({0, *(ord(c) + step for pattern in patterns for c in pattern for step in (0, 1))})
    ranges = list(zip(cuts, [*cuts[1:], 0x110000], strict=True))
    chosen = []
    for low, high in ranges:
        nice = next((c for c in _READABLE if low <= ord(c) < high), None)
        if low < high and low < 0x110000:
            chosen.append(nice or chr(low))
    yield from sorted(chosen, key=lambda c: (c not in _READABLE, _READABLE.find(c)))

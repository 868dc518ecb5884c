"""What survives each class of a probe, as plain data: neighbouring classes differ in a few parts out of thousands.

A form that was kept is asked for rows of bytes, which the extension reads, or for the integers that Python computes
with; the second are made when somebody first asks.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

from layerzero.compiler.slices import Each, at_once
from layerzero.compiler.stages import bits


class Masks(Sequence[int]):
    """The parts that survive each class, told by those in which it differs from the class before; before the first are
    all of them. `counts` has for each class how many of `changes` are its own."""

    def __init__(self, counts: array[int], changes: array[int], parts: int) -> None:
        self._counts, self._changes, self.parts = counts, changes, parts

    @classmethod
    def of(cls, masks: Sequence[int], parts: int) -> Masks:
        everything = before = (1 << parts) - 1
        counts, changes = array("I"), array("I")
        for mask in masks:
            changed = list(bits((mask ^ before) & everything))
            counts.append(len(changed))
            changes.extend(changed)
            before = mask
        return cls(counts, changes, parts)

    @classmethod
    def from_data(cls, data: Sequence[str], parts: int) -> Masks:
        """What `to_data` gave.

        Raises:
            ValueError: It is damaged.
        """
        counts, changes = (_read(text) for text in data)
        if sum(counts) != len(changes) or max(changes, default=0) >= max(parts, 1):
            raise ValueError("the masks are not those of so many parts")
        return cls(counts, changes, parts)

    def to_data(self) -> list[str]:
        return [_written(self._counts), _written(self._changes)]

    def rows(self, words: int, each: Each = at_once) -> Iterator[bytearray]:
        """For each class one bit a part, lowest first, in so many words of 64 bits. The same object each time."""
        row = bytearray(((1 << self.parts) - 1).to_bytes(8 * words, "little"))
        for changed in each(self._each_changed()):
            for part in changed:
                row[part >> 3] ^= 1 << (part & 7)
            yield row

    def _each_changed(self) -> Iterator[array[int]]:
        at = 0
        for count in self._counts:
            yield self._changes[at : at + count]
            at += count

    @cached_property
    def _integers(self) -> tuple[int, ...]:
        rows = self.rows(-(-self.parts // 64))
        return tuple(int.from_bytes(row, "little") for row in rows)

    def __len__(self) -> int:
        return len(self._counts)

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[int, ...]: ...
    def __getitem__(self, place: int | slice) -> int | tuple[int, ...]:
        return self._integers[place]

    def __iter__(self) -> Iterator[int]:
        return iter(self._integers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._integers == tuple(other)

    def __hash__(self) -> int:
        return hash(self._integers)


def _written(words: array[int]) -> str:
    return b64encode(_little(words).tobytes()).decode("ascii")


def _read(text: str) -> array[int]:
    words = array("I")
    words.frombytes(b64decode(text, validate=True))
    return _little(words)


def _little(words: array[int]) -> array[int]:
    """Words of this machine as little-endian ones, and back."""
    if sys.byteorder == "big":
        words = array("I", words)
        words.byteswap()
    return words

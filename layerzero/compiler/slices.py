"""Work in slices: a long loop that lets other threads run in between.

A thread that computes keeps the interpreter lock for up to 5 ms at a time, and a serving thread that wakes up waits as
long. What is done beside serving threads runs its loops through `Slices.each`, which rests every so often.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")

SLICE = 0.0003  # seconds of work
REST = 0.0001  # seconds; sleeping for 0 seldom lets a waiting thread in


class Each(Protocol):
    """How a loop runs: `for item in each(items)`."""

    def __call__(self, items: Iterable[T], /) -> Iterable[T]: ...


def at_once(items: Iterable[T], /) -> Iterable[T]:
    """The items without a rest."""
    return items


class Slices:
    """Rests between items whenever a slice of work is over. For one thread.

    Attributes:
        longest: The longest stretch of work between two rests so far, in seconds.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._began = time.perf_counter()

    def each(self, items: Iterable[T], /) -> Iterator[T]:
        """The items, with rests in between."""
        for item in items:
            yield item
            self.rest()

    def rest(self) -> None:
        """Let others run, if this slice is over."""
        worked = time.perf_counter() - self._began
        if worked < SLICE:
            return
        self.longest = max(self.longest, worked)
        time.sleep(REST)
        self._began = time.perf_counter()

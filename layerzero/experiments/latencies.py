"""Latencies -> counts in buckets that grow by 0.5 %: bounded memory, and any quantile to within 0.5 %."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

GROWTH = 1.005
# Buckets reach from a tenth of a microsecond to 28 hours; what lies outside is counted in the first or last one.
_LOWEST, _HIGHEST = -1847, 3694
_STEP = math.log(GROWTH)


def bucket(milliseconds: float) -> int:
    """The bucket of a value: it holds `edge(b) <= value < edge(b + 1)`, up to the rounding of doubles."""
    if milliseconds <= 0.0:
        return _LOWEST
    return min(max(math.floor(math.log(milliseconds) / _STEP), _LOWEST), _HIGHEST)


@cache  # there are few
def edge(bucket: int) -> float:
    """The smallest value of a bucket; that of the first is zero, past the last there is no end."""
    if bucket <= _LOWEST:
        return 0.0
    return math.inf if bucket > _HIGHEST else math.exp(bucket * _STEP)


class Latencies:
    """A distribution in milliseconds. At most 5542 integers, a few hundred in practice.

    Not for several threads at once: the service adds and reads under its lock.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.total = 0

    def add(self, milliseconds: float) -> None:
        place = bucket(milliseconds)
        self.counts[place] = self.counts.get(place, 0) + 1
        self.total += 1

    def copy(self) -> Latencies:
        made = Latencies()
        made.counts, made.total = self.counts.copy(), self.total
        return made

    def since(self, earlier: Latencies) -> Latencies:
        """What was added after `earlier`, a copy of this."""
        made = Latencies()
        made.counts = {
            place: left for place, count in self.counts.items() if (left := count - earlier.counts.get(place, 0))
        }
        made.total = self.total - earlier.total
        return made

    def at_or_above(self, place: int) -> int:
        """How many lie in this bucket or a higher one."""
        return sum(count for one, count in self.counts.items() if one >= place)

    def descending(self) -> Iterator[tuple[int, int]]:
        """(bucket, how many lie in it or above), from the highest bucket in use."""
        above = 0
        for place in sorted(self.counts, reverse=True):
            above += self.counts[place]
            yield place, above

    def quantile(self, share: float) -> float | None:
        """The smallest value that at least `share` of all do not exceed, to within 0.5 %; None without any."""
        return None if not self.total else self.at_rank(max(math.ceil(share * self.total), 1))

    def at_rank(self, rank: int) -> float:
        """The value of rank 1 (the smallest) .. total, as the middle of its bucket."""
        below = 0
        for place in sorted(self.counts):
            below += self.counts[place]
            if below >= rank:
                return 0.0 if place == _LOWEST else edge(place) * math.sqrt(GROWTH)
        raise IndexError(f"rank {rank} of {self.total}")

"""Observations -> what is known of one arm, in memory that does not grow with the number of requests."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from layerzero.experiments.latencies import Latencies

_MOST_METRICS = 32
_MOST_UNITS = 16_384


@dataclass(slots=True)
class Stream:
    """Requests, or kernel calls made outside of requests."""

    total: int = 0
    errors: int = 0
    degraded: int = 0
    nan: int = 0

    def add(self, error: bool, degraded: bool, nan: bool) -> None:
        self.total += 1
        self.errors += error
        self.degraded += degraded
        self.nan += nan


@dataclass(slots=True)
class Moments:
    """Mean and variance of a stream of numbers (Welford)."""

    total: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.total += 1
        off = value - self.mean
        self.mean += off / self.total
        self.squares += off * (value - self.mean)

    @property
    def standard_error(self) -> float | None:
        if self.total < 2:
            return None
        return math.sqrt(self.squares / (self.total - 1) / self.total)


@dataclass(slots=True)
class Tally:
    """One arm. `after_stop` are requests of its units that were served as control, after a guard had ended it."""

    requests: Stream = field(default_factory=Stream)
    calls: Stream = field(default_factory=Stream)
    latencies: Latencies = field(default_factory=Latencies)
    latency: Moments = field(default_factory=Moments)
    metrics: dict[str, Moments] = field(default_factory=dict)
    after_stop: int = 0

    def add_latency(self, milliseconds: float) -> None:
        self.latencies.add(milliseconds)
        self.latency.add(milliseconds)

    def add_metrics(self, values: Mapping[str, float]) -> None:
        """The program's own numbers; past the thirty-second name new ones are not kept."""
        for name, value in values.items():
            if name in self.metrics or len(self.metrics) < _MOST_METRICS:
                self.metrics.setdefault(name, Moments()).add(value)


class Units:
    """How many different key values each arm had: a sample of them by hash, which is the same share of every arm.

    Wegman's adaptive sampling: past the bound only hashes that end in one more zero bit stay. The hash has nothing to
    do with the one that chose the arm, so the ratio of the arms in the sample is that in all.
    """

    def __init__(self, most: int = _MOST_UNITS) -> None:
        self._most = most
        self._zeros = 0
        self._arms: dict[int, str] = {}

    def add(self, unit: Hashable, arm: str) -> None:
        hashed = _mixed(hash(unit))
        if hashed & ((1 << self._zeros) - 1):
            return
        self._arms[hashed] = arm
        while len(self._arms) > self._most:
            self._zeros += 1
            mask = (1 << self._zeros) - 1
            self._arms = {one: kept for one, kept in self._arms.items() if not one & mask}

    @property
    def share(self) -> float:
        """Which part of all units is in the sample."""
        return 0.5**self._zeros

    def by_arm(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for arm in self._arms.values():
            counts[arm] = counts.get(arm, 0) + 1
        return counts


def _mixed(number: int) -> int:
    """Integers hash to themselves in Python; their low bits must look like chance all the same (splitmix64)."""
    number = (number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return number ^ (number >> 31)

"""A guard watches one arm: evidence gathered since the start, and since later starts, against the level it may spend.

An arm that was good for a day and then fails must be found as soon as one that fails at once, though a day of good
requests speaks for it. So a part of the capital starts anew every so many requests; the parts' shares are fixed
beforehand and sum to 1, so their sum is again a capital that reaches 1 / level with a chance of at most `level`, ever.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from layerzero.check.program import Guard
from layerzero.experiments.evidence import (
    Side,
    mean,
    mean_against,
    quantile,
    quantile_against,
    rate,
    rate_against,
)
from layerzero.experiments.latencies import Latencies
from layerzero.experiments.tally import Tally

_QUANTILE = re.compile(r"p(\d{1,2})_latency")
# What the whole experiment's first start, and all later ones together, may bet.
_FIRST, _LATER = math.log(0.7), math.log(0.3)
_SERIES = 2.109742801236891  # sum over j >= 2 of 1 / (j ln(j)^2), so that the shares of all later starts sum to 1
_MOST_BLOCKS = 256
_LEAST_BAD = 3
# Kernel calls outside of requests are many, so that a smaller share of the capital does for them.
_STREAMS = (("requests", math.log(0.8)), ("calls", math.log(0.2)))
_CAP = 4.0  # means are compared with latencies cut off at this many times the 95th percentile


def spell(guard: Guard) -> str:
    """`error_rate < 1%`, `p95_latency < 1.1 * control`"""
    if guard.relative:
        return f"{guard.metric} {guard.operator} {guard.limit:g} * control"
    if guard.metric.endswith("_rate"):
        return f"{guard.metric} {guard.operator} {guard.limit * 100:g}%"
    return f"{guard.metric} {guard.operator} {guard.limit:g}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a metric is made of at one moment: bad ones of so many, or a distribution."""

    bad: int = 0
    of: int = 0
    latencies: Latencies | None = None

    def kept(self) -> Reading:
        return self if self.latencies is None else Reading(self.bad, self.of, self.latencies.copy())

    def since(self, earlier: Reading) -> Reading:
        latencies = None
        if self.latencies is not None:
            latencies = self.latencies if earlier.latencies is None else self.latencies.since(earlier.latencies)
        return Reading(self.bad - earlier.bad, self.of - earlier.of, latencies)


Read = Callable[[Tally], Reading]
Weigh = Callable[[Reading, Reading, float], float]  # the arm's, control's, the cap -> logarithm of the capital


@dataclass(frozen=True, slots=True)
class _Start:
    block: int
    share: float  # logarithm
    arm: Reading
    control: Reading
    cap: float


@dataclass
class _Watch:
    """The capital on one stream of one arm, over all its starts."""

    read: Read
    weigh: Weigh
    block: int  # requests of the arm between two starts
    relative: bool
    starts: list[_Start] = field(default_factory=list)
    blocks: int = 0

    def begin(self, arm: Tally, control: Tally) -> None:
        """Bet from here on."""
        self.starts, self.blocks = [self._start(0, _FIRST, arm, control)], 0
        self._origin = self.read(arm).of

    def advance(self, arm: Tally, control: Tally) -> None:
        """Start anew where a block of requests is full."""
        of = self.read(arm).of - self._origin
        if of < (self.blocks + 1) * self.block:
            return
        self.blocks = of // self.block
        number = self.blocks + 1
        share = _LATER - math.log(_SERIES * number) - 2 * math.log(math.log(number))
        self.starts = [start for start in self.starts if _kept(start.block, self.blocks)]
        self.starts.append(self._start(self.blocks, share, arm, control))

    def bad(self, arm: Tally) -> int:
        """Bad requests since it began."""
        return self.read(arm).bad - self.starts[0].arm.bad

    def capital(self, arm: Tally, control: Tally) -> float:
        """The logarithm of what all starts together have."""
        now, other = self.read(arm), self.read(control)
        logs = [
            start.share + self.weigh(now.since(start.arm), other.since(start.control), start.cap)
            for start in self.starts
        ]
        top = max(logs)
        return top if not math.isfinite(top) else top + math.log(math.fsum(math.exp(one - top) for one in logs))

    def _start(self, block: int, share: float, arm: Tally, control: Tally) -> _Start:
        # INVARIANT: the cap is known before the bets that it limits.
        known = (control if self.relative else arm).latencies.quantile(0.95)
        cap = math.inf if known is None else _CAP * known
        return _Start(block, share, self.read(arm).kept(), self.read(control).kept(), cap)


def _kept(block: int, now: int) -> bool:
    """The first start stays; of later ones the recent, and ever fewer of the older. Dropping one only loses capital."""
    age = now - block
    apart = 1 << max((age // 2).bit_length() - 1, 0)
    return block == 0 or (age <= _MOST_BLOCKS and block % apart == 0)


class GuardTest:
    """One guard on one arm, at a level: the chance that it ends an arm that keeps the guard, over any time."""

    def __init__(self, guard: Guard, level: float, arm: Tally, control: Tally) -> None:
        self.guard = guard
        self.needed = -math.log(level)
        self.reached = -math.inf  # the most that the capital has been, as a logarithm
        side: Side = "above" if guard.operator in ("<", "<=") else "below"
        self._side = side
        self._watches = [(share, _watch(guard, side, stream)) for stream, share in _streams(guard)]
        self._rates = guard.metric.endswith("_rate")
        self._next = 0
        self.restart(arm, control)

    def restart(self, arm: Tally, control: Tally) -> None:
        """Forget what was seen: the next request is the first."""
        self.reached = -math.inf
        for _, watch in self._watches:
            watch.begin(arm, control)

    def broken(self, arm: Tally, control: Tally, news: bool = True) -> bool:
        """Whether the guard ends the arm. Ask after each observation of the arm.

        Args:
            arm: What is known of the arm.
            control: What is known of control; the arm's own where there is no such arm.
            news: False where the observation cannot speak against a bound on a rate: weighing can wait.
        """
        for _, watch in self._watches:
            watch.advance(arm, control)
        of = arm.requests.total + arm.calls.total
        if self._rates:
            if not news:
                return False
        elif of < self._next:
            return False
        self._next = of + max(16, of // 32)  # weighing latencies costs a millisecond or two
        capitals = [share + watch.capital(arm, control) for share, watch in self._watches]
        top = max(capitals)
        now = top if not math.isfinite(top) else top + math.log(math.fsum(math.exp(one - top) for one in capitals))
        self.reached = max(self.reached, now)
        return now >= self.needed and (now == math.inf or self._enough(arm))

    def _enough(self, arm: Tally) -> bool:
        """Two failures may be one: calls of one request, say."""
        if not self._rates or self._side == "below":
            return True
        return sum(watch.bad(arm) for _, watch in self._watches) >= _LEAST_BAD

    @property
    def state(self) -> float:
        """How near the guard is to ending the arm: 0 .. 1, by the logarithm of the evidence."""
        return min(max(self.reached / self.needed, 0.0), 1.0)


def value(guard: Guard, tally: Tally) -> float | None:
    """The metric as it stands; a rate is that of requests, or of calls where there are no requests."""
    found = _QUANTILE.fullmatch(guard.metric)
    if found is not None:
        return tally.latencies.quantile(int(found[1]) / 100)
    if guard.metric == "mean_latency":
        return tally.latency.mean if tally.latency.total else None
    stream = tally.requests if tally.requests.total else tally.calls
    if not stream.total:
        return None
    return float(getattr(stream, _COUNT[guard.metric])) / stream.total


# ---------------------------------------------------------------- metric -> what to read and how to weigh it

_COUNT = {"error_rate": "errors", "degraded_rate": "degraded", "nan_rate": "nan"}


def _streams(guard: Guard) -> tuple[tuple[str, float], ...]:
    return _STREAMS if guard.metric in ("error_rate", "degraded_rate") else (("requests", 0.0),)


def _watch(guard: Guard, side: Side, stream: str) -> _Watch:
    if guard.metric in _COUNT:
        return _Watch(_reads_rate(stream, _COUNT[guard.metric]), _weighs_rate(guard, side), 64, guard.relative)
    found = _QUANTILE.fullmatch(guard.metric)
    if found is None:  # means need a cap, which only a later start can know: the sooner the better
        return _Watch(_read_latencies, _weighs_mean(guard, side), 64, guard.relative)
    return _Watch(_read_latencies, _weighs_quantile(guard, side, int(found[1]) / 100), 256, guard.relative)


def _reads_rate(stream: str, count: str) -> Read:
    def read(tally: Tally) -> Reading:
        seen = getattr(tally, stream)
        return Reading(getattr(seen, count), seen.total)

    return read


def _read_latencies(tally: Tally) -> Reading:
    return Reading(0, tally.latencies.total, tally.latencies)


def _weighs_rate(guard: Guard, side: Side) -> Weigh:
    def weigh(arm: Reading, control: Reading, cap: float) -> float:
        if guard.relative:
            return rate_against(arm.bad, arm.of, control.bad, control.of, guard.limit, side)
        return rate(arm.bad, arm.of, min(max(guard.limit, 0.0), 1.0), side)

    return weigh


def _weighs_quantile(guard: Guard, side: Side, share: float) -> Weigh:
    def weigh(arm: Reading, control: Reading, cap: float) -> float:
        assert arm.latencies is not None and control.latencies is not None
        if guard.relative:
            return quantile_against(arm.latencies, control.latencies, share, guard.limit, side)
        return quantile(arm.latencies, share, guard.limit, side)

    return weigh


def _weighs_mean(guard: Guard, side: Side) -> Weigh:
    def weigh(arm: Reading, control: Reading, cap: float) -> float:
        assert arm.latencies is not None and control.latencies is not None
        if guard.relative:
            return mean_against(arm.latencies, control.latencies, guard.limit, side, cap)
        return mean(arm.latencies, guard.limit, side, cap if side == "below" else math.inf)

    return weigh

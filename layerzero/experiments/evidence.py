"""Counts against a bound -> how strongly they speak against it: e-values that may be looked at after every request.

All of them are betting martingales. A gambler starts with 1 and, while the bound holds, can only lose in the mean,
whatever the past was; so by Ville's inequality (1939) the chance that the capital *ever* reaches 1 / alpha is at most
alpha. No sample size is fixed beforehand and peeking costs nothing. Sources: Waudby-Smith, Ramdas, "Estimating means of
bounded random variables by betting" (JRSS B 2024); Howard, Ramdas, "Sequential estimation of quantiles with
applications to A/B testing and best-arm identification" (Bernoulli 2022); Robbins, "Statistical methods related to the
law of the iterated logarithm" (1970) for mixtures of bets; Wasserman, Ramdas, Balakrishnan, "Universal inference" (PNAS
2020) for the least favourable value of what is unknown.

Every function returns the natural logarithm of the capital, and reads counts alone: the order of the requests does not
matter, so nothing but counts need be kept.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal as OneOf

from layerzero.experiments.latencies import GROWTH, Latencies, bucket, edge

Side = OneOf["above", "below"]  # what the evidence is for: that the metric lies above, or below, its bound

# Bets: what a bad request multiplies the odds by, and the share of the capital on that bet. Most of it is on 5 and 10,
# which find a rate of ten times the bound soonest; the rest finds small excesses in the long run.
_UP = ((1.2, 0.04), (1.5, 0.06), (2.0, 0.10), (3.0, 0.15), (5.0, 0.35), (10.0, 0.20), (30.0, 0.07), (100.0, 0.03))
_DOWN = ((0.0, 0.40), (0.2, 0.25), (0.5, 0.20), (0.8, 0.15))
# Bets on a mean: the share of the capital at stake, for every request again.
_STAKES = ((0.01, 0.15), (0.03, 0.2), (0.1, 0.25), (0.3, 0.25), (0.9, 0.15))


def rate(bad: int, of: int, bound: float, side: Side) -> float:
    """Evidence that the rate of bad requests lies above (below) `bound`.

    A bet with odds m: capital = m^bad / (1 + (m - 1) bound)^of. Its mean cannot grow while each request, given the
    past, is bad with a chance of at most `bound` (at least, for m < 1), since E[m^x] = 1 + (m - 1) p. The capital is
    spread over several m, and a mixture of martingales is one.
    """
    terms = []
    for odds, share in _UP if side == "above" else _DOWN:
        fair = 1.0 + (odds - 1.0) * bound
        if bad and odds == 0.0:
            continue  # this bet is lost
        if fair <= 0.0:  # odds 0 against a bound of 1: a single good request is proof
            return math.inf if of else 0.0
        won = bad * math.log(odds) if bad else 0.0
        terms.append(math.log(share) + won - of * math.log(fair))
    if side == "above" and bound <= 0.0 and bad:
        return math.inf
    return _sum(terms)


def rate_against(bad: int, of: int, control_bad: int, control_of: int, factor: float, side: Side) -> float:
    """Evidence that an arm's rate lies above (below) `factor` times control's.

    Were control's rate p known, the product of the evidence that the arm is above factor * p and that control is
    below p would do: each stream is bet on by itself. The least product over all p holds for the true one.
    """
    other = _other(side)
    grid = _rates(control_bad, control_of)

    def both(low: float, high: float) -> float:
        """At most the product for any p in low..high: the first factor falls with p (above) and the second rises."""
        first, second = (high, low) if side == "above" else (low, high)
        return rate(bad, of, min(factor * first, 1.0), side) + rate(control_bad, control_of, second, other)

    return _least(both, grid, _guess(control_bad, control_of, grid))


def quantile(seen: Latencies, share: float, bound: float, side: Side) -> float:
    """Evidence that the quantile lies above (below) `bound` milliseconds.

    Where the bound holds, at most 1 - share of the requests are slower than it; so this is a rate, and heavy tails do
    not matter. A bucket that holds the bound is counted so that the evidence can only be understated.
    """
    if side == "above":
        return rate(seen.at_or_above(bucket(bound) + 1), seen.total, 1.0 - share, "above")
    return rate(seen.at_or_above(bucket(bound)), seen.total, 1.0 - share, "below")


def quantile_against(seen: Latencies, control: Latencies, share: float, factor: float, side: Side) -> float:
    """Evidence that an arm's quantile lies above (below) `factor` times control's.

    With control's quantile t known: too many of the arm slower than factor * t, times too few of control at t or
    slower. The least product over all t holds for the true one.
    """
    if not seen.total or not control.total or factor <= 0.0:
        return 0.0
    shift = math.log(factor) / math.log(GROWTH)
    # A bucket of t stands for all its values; its image under the factor touches two or three buckets of the arm.
    up, down = math.ceil(shift - 1e-9) + 1, math.floor(shift + 1e-9)
    arm, other = _Survival(seen), _Survival(control)
    tail = 1.0 - share

    def at(place: int) -> float:
        if side == "above":
            # Arm: surely slower than factor * t. Control: all that may be at t or slower.
            return rate(arm.from_bucket(place + up), seen.total, tail, "above") + rate(
                other.from_bucket(place), control.total, tail, "below"
            )
        # Arm: all that may be at factor * t or slower. Control: surely slower than t.
        return rate(arm.from_bucket(place + down), seen.total, tail, "below") + rate(
            other.from_bucket(place + 1), control.total, tail, "above"
        )

    # Between these buckets no count changes, so no other t can give less.
    jumps = set(control.counts) | {place + 1 for place in control.counts}
    jumps |= {place - up for place in seen.counts} | {place - up + 1 for place in seen.counts}
    jumps |= {place - down for place in seen.counts} | {place - down + 1 for place in seen.counts}
    likely = bucket(control.quantile(share) or 0.0)
    near = sorted({likely, *jumps, *(place - 1 for place in jumps)}, key=lambda place: abs(place - likely))
    return _lowest(at, near)


def mean(seen: Latencies, bound: float, side: Side, cap: float = math.inf) -> float:
    """Evidence that the mean, of latencies cut off at `cap`, lies above (below) `bound` milliseconds.

    Above: capital = product of 1 + s (x / bound - 1), which needs no more than x >= 0, so no cap. Below: the product of
    1 - s (x / bound - 1), whose stake s must be small enough for the largest x: a cap is needed.
    """
    if bound <= 0.0:
        return math.inf if side == "above" and seen.counts and max(seen.counts) > bucket(0.0) else 0.0
    if side == "above":
        values = [(min(edge(place), cap) / bound - 1.0, count) for place, count in seen.counts.items()]
        return _sum([math.log(share) + _product(values, stake) for stake, share in _STAKES])
    if not math.isfinite(cap):
        return 0.0
    values = [(1.0 - min(edge(place + 1), cap) / bound, count) for place, count in seen.counts.items()]
    most = max(cap / bound - 1.0, 1.0)
    return _sum([math.log(share) + _product(values, stake / most) for stake, share in _STAKES])


def mean_against(seen: Latencies, control: Latencies, factor: float, side: Side, cap: float) -> float:
    """Evidence that an arm's mean lies above (below) `factor` times control's, both cut off at `cap`.

    As for the other metrics, the least product over control's unknown mean. Without a cap no test can bound the mean of
    a heavy-tailed distribution from above, so the means that are compared are those of capped latencies.
    """
    if not seen.total or not control.total or not math.isfinite(cap) or factor <= 0.0:
        return 0.0
    other = _other(side)
    guess = _capped(control, cap, 0)
    # A bet never wins more than its stake times the mean of what it is on: where the means themselves are in order, no
    # capital is above 1 when control's mean is what it seems.
    if side == "above":
        in_order = _capped(seen, cap, 0) <= factor * _capped(control, cap, 1)
    else:
        in_order = _capped(seen, cap, 1) >= factor * guess
    if in_order:
        return -math.inf
    steps = [1.02**k for k in range(-150, 151)]
    low, high = max(guess, cap * 1e-6), cap * 1.02
    grid = sorted({0.0, cap, *(low * step for step in steps if low * step < high)})

    def both(below: float, above: float) -> float:
        first, second = (above, below) if side == "above" else (below, above)
        return mean(seen, factor * first, side, cap) + mean(control, second, other, cap)

    return _least(both, grid, low)


# ---------------------------------------------------------------- what is unknown takes its least favourable value


def _least(both: Callable[[float, float], float], grid: Sequence[float], guess: float) -> float:
    """The least of `both` over neighbouring points of the grid."""
    pairs = sorted(pairwise(grid), key=lambda pair: abs(pair[0] - guess))
    return _lowest(lambda one: both(*pairs[one]), range(len(pairs)))


def _lowest(at: Callable[[int], float], places: Iterable[int]) -> float:
    """The least value. The likeliest place comes first: where nothing speaks against the bound there, the search ends,
    and what capital is left counts as lost, which is on the safe side."""
    least = math.inf
    for place in places:
        least = min(least, at(place))
        if least <= 0.0:
            return -math.inf
    return least


def _rates(bad: int, of: int) -> list[float]:
    """A grid over 0..1 that is fine around what was seen, on the scale of log odds."""
    centre = math.log((bad + 0.5) / (of - bad + 0.5))
    odds = [centre + step / 16 for step in range(-160, 161)]
    return [0.0, *sorted(1.0 / (1.0 + math.exp(-one)) for one in odds), 1.0]


def _guess(bad: int, of: int, grid: Sequence[float]) -> float:
    return (bad + 0.5) / (of + 1.0) if of else grid[len(grid) // 2]


class _Survival:
    """How many lie in a bucket or above, for any bucket, in logarithmic time."""

    def __init__(self, seen: Latencies) -> None:
        pairs = list(seen.descending())
        self._places = [place for place, _ in reversed(pairs)]
        self._above = [above for _, above in reversed(pairs)]

    def from_bucket(self, place: int) -> int:
        found = bisect_left(self._places, place)
        return self._above[found] if found < len(self._above) else 0


def _capped(seen: Latencies, cap: float, end: int) -> float:
    """The mean of the lower (0) or upper (1) ends of the buckets, cut off."""
    return math.fsum(min(edge(place + end), cap) * count for place, count in seen.counts.items()) / seen.total


def _product(values: Sequence[tuple[float, int]], stake: float) -> float:
    return math.fsum(count * math.log1p(stake * value) for value, count in values)


def _sum(logarithms: Sequence[float]) -> float:
    """The logarithm of the sum of exponentials."""
    top = max(logarithms, default=-math.inf)
    if not math.isfinite(top):
        return top
    return top + math.log(math.fsum(math.exp(one - top) for one in logarithms))


def _other(side: Side) -> Side:
    return "below" if side == "above" else "above"

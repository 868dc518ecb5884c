"""Measured samples -> boosts over ranges of contexts, as `.lzp` text, each with its measurement as `because`.

A point at which the policy already picks one of the fastest kernels asks for no rule, and two kernels whose difference
lies inside the noise count as equally fast. For the other points the fewest boxes are sought, greedily: a kernel and a
range on each axis, such that the kernel is among the fastest at every measured point inside. A range ends between
two measured points; up to there nothing is known against the kernel, so the ranges of two kernels overlap between the
last point of the one and the first of the other, and where a crossover lies in there is left to the scores.

Boosts, not orders: a policy's own rules then still count on top of what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from layerzero.check.expressions import Value
from layerzero.perf.grids import Axis, Grid, Place
from layerzero.perf.measure import Timing
from layerzero.perf.survey import BASELINE, Sample

NOISE = 0.05  # of the fastest: nearer than that is as fast
Box = tuple[range, ...]  # the places on each axis that a rule speaks of


@dataclass(frozen=True, slots=True)
class TunedRule:
    """`boost flashinfer.paged by 1.3 for attention.decode when paged and batch > 8 as tuned_paged_decode_1`"""

    name: str
    kernel: str
    factor: float
    operation: str
    conditions: tuple[str, ...]
    because: str

    @property
    def text(self) -> str:
        when = f" when {' and '.join(self.conditions)}" if self.conditions else ""
        return (
            f"boost {self.kernel} by {self.factor:g} for {self.operation}{when} as {self.name}\n"
            f'  because "{self.because}"\n'
        )


@dataclass(frozen=True, slots=True)
class Unruled:
    """A point at which a faster kernel is known and no boost would pick it, and why."""

    sample: Sample
    why: str


@dataclass(frozen=True, slots=True)
class Tuned:
    rules: tuple[TunedRule, ...]
    unruled: tuple[Unruled, ...]


def tune(samples: Sequence[Sample], noise: float = NOISE) -> Tuned:
    """The rules that make the policy pick one of the fastest kernels at every point, as far as boosts can."""
    rules: list[TunedRule] = []
    unruled: list[Unruled] = []
    for grid in dict.fromkeys(sample.grid.name for sample in samples):
        own = {sample.place: sample for sample in samples if sample.grid.name == grid}
        found, rest = _tune_grid(own, noise)
        rules += found
        unruled += rest
    return Tuned(tuple(rules), tuple(unruled))


def fastest(sample: Sample, noise: float = NOISE) -> frozenset[str]:
    """The kernels that are as fast as the fastest one, as far as the measurement can tell; only those with a score."""
    ranked = [(name, time) for name, time in sample.ranked() if name in sample.scores]
    if not ranked:
        return frozenset()
    best = ranked[0][1]
    return frozenset(name for name, time in ranked if _level(time, best, noise))


def _level(time: Timing, best: Timing, noise: float) -> bool:
    """A difference counts where it is larger than the noise, and than both spreads together."""
    return time.median_us - best.median_us <= max(noise * best.median_us, time.spread_us + best.spread_us)


# ---------------------------------------------------------------- boxes


def _tune_grid(samples: Mapping[Place, Sample], noise: float) -> tuple[list[TunedRule], list[Unruled]]:
    grid = next(iter(samples.values())).grid
    good = {place: fastest(sample, noise) for place, sample in samples.items()}
    unruled = []
    open_places = set()
    for place, sample in samples.items():
        if not good[place] or sample.picked in good[place]:
            continue
        if sample.ruled_by:
            unruled.append(Unruled(sample, f"`{sample.ruled_by[0]}` decides, whatever the scores"))
        elif not any(sample.scores[name] > 0 for name in good[place]):
            unruled.append(Unruled(sample, "its score is 0, which no factor changes"))
        else:
            open_places.add(place)
    rules: list[TunedRule] = []
    while open_places:
        found = _best_box(grid, samples, good, open_places)
        if found is None:
            unruled += [Unruled(samples[place], "no range around it") for place in sorted(open_places)]
            break
        kernel, box = found
        inside = [place for place in samples if _within(place, box)]
        factor = _factor(kernel, [samples[place] for place in inside], [good[place] for place in inside])
        won = [place for place in inside if samples[place].picked not in good[place]]
        rules.append(
            TunedRule(
                name=f"tuned_{grid.name}_{len(rules) + 1}",
                kernel=kernel,
                factor=factor,
                operation=grid.operation,
                conditions=(*_shared(grid), *_ranges(grid.axes, box)),
                because=_because(kernel, [samples[place] for place in won]),
            )
        )
        open_places -= set(inside)
    return rules, unruled


def _best_box(
    grid: Grid, samples: Mapping[Place, Sample], good: Mapping[Place, frozenset[str]], open_places: set[Place]
) -> tuple[str, Box] | None:
    """The kernel and box that serve most open points; of equals the larger box, then the faster kernel."""
    kernels = sorted({name for place in open_places for name in good[place] if samples[place].scores[name] > 0})
    best: tuple[tuple[float, ...], str, Box] | None = None
    for box in _boxes(grid.axes):
        inside = [place for place in samples if _within(place, box)]
        served = [place for place in inside if place in open_places]
        if not served:
            continue
        for kernel in kernels:
            if not all(kernel in good[place] for place in inside):
                continue
            slower = sum(_over_best(samples[place], kernel) for place in inside)
            rank = (len(served), len(inside), -_width(box), -slower)
            if best is None or rank > best[0]:
                best = rank, kernel, box
    if best is None:
        return None
    # Everything that lies around the box and holds no measured point against it belongs to it, too.
    return best[1], _grown(grid, samples, good, best[1], best[2])


def _grown(
    grid: Grid, samples: Mapping[Place, Sample], good: Mapping[Place, frozenset[str]], kernel: str, box: Box
) -> Box:
    """Made as wide as it can be, axis by axis: a rule with fewer conditions is easier to read."""
    for at, axis in enumerate(grid.axes):
        for wider in sorted(_intervals(axis), key=len, reverse=True):
            if len(wider) <= len(box[at]) or not set(box[at]) <= set(wider):
                continue
            candidate = (*box[:at], wider, *box[at + 1 :])
            if all(kernel in good[place] for place in samples if _within(place, candidate)):
                box = candidate
                break
    return box


def _boxes(axes: Sequence[Axis]) -> Iterator[Box]:
    return product(*(list(_intervals(axis)) for axis in axes))


def _intervals(axis: Axis) -> Iterable[range]:
    """All runs of neighbouring values; of values without an order each alone, or all."""
    count = len(axis.values)
    if axis.ordered:
        return [range(low, high) for low in range(count) for high in range(low + 1, count + 1)]
    alone = [range(at, at + 1) for at in range(count)]
    return alone if count == 1 else [*alone, range(count)]


def _within(place: Place, box: Box) -> bool:
    return all(at in places for at, places in zip(place, box, strict=True))


def _width(box: Box) -> int:
    return math.prod(len(places) for places in box)


def _over_best(sample: Sample, kernel: str) -> float:
    time = sample.time(kernel)
    assert time is not None
    return time.median_us / sample.ranked()[0][1].median_us


def _factor(kernel: str, samples: Sequence[Sample], good: Sequence[frozenset[str]]) -> float:
    """What lifts the kernel above every slower one at each of the points, rounded up, with room to spare."""
    wanted = max(
        (score / sample.scores[kernel] for sample, fast in zip(samples, good, strict=True)
         for name, score in sample.scores.items() if name not in fast),
        default=1.0,
    )  # fmt: skip
    return max(1.05, math.ceil(wanted * 1.02 * 20) / 20)


# ---------------------------------------------------------------- text


def _shared(grid: Grid) -> Iterator[str]:
    """Conditions on what all points share: the device by its kind, then the fields that are not `beyond`."""
    given = dict(grid.given)
    if "sm" in given:
        yield f"sm == {given['sm']}"
    elif "device" in given:
        yield f"device == {given['device']}"
    for name, value in given.items():
        if name not in ("device", "sm", "device_name") and name not in grid.beyond:
            yield _equals(name, value)


def _ranges(axes: Sequence[Axis], box: Box) -> Iterator[str]:
    for axis, places in zip(axes, box, strict=True):
        if len(places) == len(axis.values):
            continue
        if not axis.ordered:
            yield _equals(axis.name, axis.values[places[0]])
            continue
        low = axis.values[places[0] - 1] if places[0] else None
        high = axis.values[places[-1] + 1] if places[-1] + 1 < len(axis.values) else None
        if low is None:
            yield f"{axis.name} < {spelled(high)}"
        elif high is None:
            yield f"{axis.name} > {spelled(low)}"
        else:
            yield f"{spelled(low)} < {axis.name} < {spelled(high)}"


def _equals(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return f"{name} == {spelled(value)}"


def spelled(value: Value | None) -> str:
    """`32768` -> `32Ki`, as people write it."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1024 and value % 1024 == 0:
        return f"{value // 1024}Ki"
    return str(value)


def _because(kernel: str, samples: Sequence[Sample]) -> str:
    """The measurement at the point where most is gained, and the range of what is gained at the others."""
    gains = []
    for sample in samples:
        mine, before = sample.time(kernel), sample.time(sample.picked)
        if mine is not None and before is not None:
            gains.append((before.median_us / mine.median_us, sample, mine, before))
    if not gains:
        return f"{samples[0].picked or 'what served before'} failed at {_where(samples[0])}"
    gains.sort(key=lambda gain: gain[0])
    low, (high, sample, mine, before) = gains[0][0], gains[-1]
    factor = f"{high:.2g}x" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g}x to {high:.2g}x"
    return (
        f"{factor} over {sample.picked}: {_us(mine)} against {_us(before)} us at {_where(sample)}"
        f"{f'; {len(gains)} points' if len(gains) > 1 else ''}"
    )


def _us(time: Timing) -> str:
    return f"{time.median_us:.3g}" if time.median_us < 1000 else f"{time.median_us:.0f}"


def _where(sample: Sample) -> str:
    varied = []
    for axis, at in zip(sample.grid.axes, sample.place, strict=True):
        value = axis.values[at]
        if axis.name == "graph_capture":
            varied.append("in a CUDA graph" if value else "eager")
        elif len(axis.values) > 1:
            varied.append(f"{axis.name} {spelled(value)}")
    return ", ".join(varied) or "the one point"


def rules_text(tuned: Tuned, heading: Sequence[str]) -> str:
    """A file of rules, in the canonical form; `heading` are lines of comment that say where they come from."""
    comment = "".join(f"# {line}\n" if line else "#\n" for line in heading)
    return "\n".join([comment, *(rule.text for rule in tuned.rules)])


def slower_than_plain(sample: Sample) -> float | None:
    """The pick's time over that of the plain torch expression, where both ran."""
    picked, usual = sample.time(sample.picked), sample.time(BASELINE)
    return None if picked is None or usual is None else picked.median_us / usual.median_us

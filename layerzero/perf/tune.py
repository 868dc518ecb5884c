"""Measured samples -> boosts over ranges of contexts, as `.lzp` text, each with its measurement as `because`.

A point at which the policy already picks one of the fastest kernels asks for no rule, and two kernels whose difference
lies inside the noise count as equally fast. For the other points the fewest boxes are sought, greedily: a kernel and a
range on each axis, such that the kernel is among the fastest at every measured point inside. Where a range ends between
two measured points, the crossover is estimated: both kernels' times are taken for straight lines on the scale of
logarithms. At the ends of the grid a range is open.

Boosts, not orders: a policy's own rules then still count on top of what was measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from layerzero.check.expressions import Value
from layerzero.perf.grids import Axis, Grid, Place
from layerzero.perf.measure import Timing
from layerzero.perf.survey import Sample

NOISE = 0.05  # of the fastest: nearer than that is as fast
RESOLUTION_US = 0.5  # of a GPU's events
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


def tune(samples: Sequence[Sample], noise: float = NOISE, texts: frozenset[str] = frozenset()) -> Tuned:
    """The rules that make the policy pick one of the fastest kernels at every point, as far as boosts can.

    Args:
        samples: All points of some grids.
        noise: The part of the fastest time within which another counts as fast.
        texts: The fields whose values are written in quotes.
    """
    rules: list[TunedRule] = []
    unruled: list[Unruled] = []
    for grid in dict.fromkeys(sample.grid.name for sample in samples):
        own = {sample.place: sample for sample in samples if sample.grid.name == grid}
        found, rest = _tune_grid(own, noise, texts)
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
    """A difference counts where it is larger than the noise, and than what repeats leave unsure of both medians."""
    unsure = sum(one.spread_us / math.sqrt(max(1, one.repeats)) for one in (time, best))
    return time.median_us - best.median_us <= max(noise * best.median_us, RESOLUTION_US, unsure)


# ---------------------------------------------------------------- boxes


def _tune_grid(
    samples: Mapping[Place, Sample], noise: float, texts: frozenset[str]
) -> tuple[list[TunedRule], list[Unruled]]:
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
            good[place] = _faster(sample, good[place])
    for place, sample in samples.items():  # what no factor lifts serves no range
        good[place] = frozenset(name for name in good[place] if sample.scores[name] > 0)
    rules: list[TunedRule] = []
    while open_places:
        found = _best_box(grid, samples, good, open_places)
        if found is None:
            unruled += [Unruled(samples[place], "no range around it") for place in sorted(open_places)]
            break
        kernel, box = found
        inside = [place for place in samples if _within(place, box)]
        conditions = tuple(_ranges(kernel, grid.axes, box, samples, texts))
        if None in conditions:
            unruled += [Unruled(samples[place], "faster at this one point, and not around it") for place in inside]
            open_places -= set(inside)
            continue
        factor = _factor(kernel, [samples[place] for place in inside], [good[place] for place in inside])
        won = [place for place in inside if samples[place].picked not in good[place]]
        rules.append(
            TunedRule(
                name=f"tuned_{grid.name}_{len(rules) + 1}",
                kernel=kernel,
                factor=factor,
                operation=grid.operation,
                conditions=(*_shared(grid, texts), *(text for text in conditions if text is not None)),
                because=_because(kernel, [samples[place] for place in won]),
            )
        )
        open_places -= set(inside)
    return rules, unruled


def _faster(sample: Sample, good: frozenset[str]) -> frozenset[str]:
    """Of the fastest, those that are faster than the pick: with wide spreads a slower one may count as level."""
    picked = sample.time(sample.picked)
    times = {name: sample.time(name) for name in good}
    return frozenset(
        name for name, time in times.items() if time and (picked is None or time.median_us < picked.median_us)
    )


def _best_box(
    grid: Grid, samples: Mapping[Place, Sample], good: Mapping[Place, frozenset[str]], open_places: set[Place]
) -> tuple[str, Box] | None:
    """The kernel and box that serve most open points; of equals the larger box, then the faster kernel."""
    kernels = sorted({name for place in open_places for name in good[place]})
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


def _shared(grid: Grid, texts: frozenset[str]) -> Iterator[str]:
    """Conditions on what all points share: the device by its kind, then the fields that are not `beyond`."""
    given = dict(grid.given)
    if "sm" in given:
        yield f"sm == {given['sm']}"
    elif "device" in given:
        yield f"device == {given['device']}"
    for name, value in given.items():
        if name not in ("device", "sm", "device_name") and name not in grid.beyond:
            yield _equals(name, value, texts)


def _ranges(
    kernel: str, axes: Sequence[Axis], box: Box, samples: Mapping[Place, Sample], texts: frozenset[str]
) -> Iterator[str | None]:
    """A condition for each axis that the box does not span; None for a range that is a single point."""
    for at, (axis, places) in enumerate(zip(axes, box, strict=True)):
        if len(places) == len(axis.values):
            continue
        if not axis.ordered:
            yield _equals(axis.name, axis.values[places[0]], texts)
            continue
        low = _end(kernel, axis, at, places[0], -1, box, samples)
        high = _end(kernel, axis, at, places[-1], 1, box, samples)
        if low is None:
            yield f"{axis.name} <= {spelled(high)}"
        elif high is None:
            yield f"{axis.name} >= {spelled(low)}"
        else:
            yield None if low == high else f"{spelled(low)} <= {axis.name} <= {spelled(high)}"


def _end(
    kernel: str, axis: Axis, at: int, inside: int, step: int, box: Box, samples: Mapping[Place, Sample]
) -> Value | None:
    """Where a range ends that reaches from the place `inside` towards the next one; None where the grid ends there.

    Of all lines of points that leave the box there, the nearest crossover counts.
    """
    outside = inside + step
    if not 0 <= outside < len(axis.values):
        return None
    lines = [
        (samples[place], samples[beyond])
        for place in samples
        if _within(place, box) and place[at] == inside
        for beyond in [(*place[:at], outside, *place[at + 1 :])]
        if beyond in samples
    ]
    shares = [share for line in lines if (share := _crossover(kernel, *line)) is not None]
    return _between(axis.values[inside], axis.values[outside], min(shares, default=0.0))


def _crossover(kernel: str, inside: Sample, outside: Sample) -> float | None:
    """How far on the way out (0..1, on the scale of logarithms) the kernel meets the fastest of the point outside.

    0 where that one is as fast already; None where the kernel is not slower outside, and nothing ends.
    """
    rivals = [name for name, _ in outside.ranked() if name in outside.scores]
    mine, theirs = (outside.time(kernel), outside.time(rivals[0])) if rivals else (None, None)
    before, rival = (inside.time(kernel), inside.time(rivals[0])) if rivals else (None, None)
    if mine is None or theirs is None or before is None or rival is None:
        return 0.0
    there = math.log(mine.median_us / theirs.median_us)
    here = math.log(before.median_us / rival.median_us)
    if there <= 0:
        return None
    return 0.0 if here >= 0 else here / (here - there)


def _between(inside: Value, outside: Value, share: float) -> Value:
    """The number that lies so far between two values of an axis, rounded towards a half or a whole power of two."""
    assert isinstance(inside, int | float) and isinstance(outside, int | float)
    if share <= 0 or min(inside, outside) <= 0:
        return inside
    found = inside * (outside / inside) ** share
    if not (isinstance(inside, int) and isinstance(outside, int)):
        return float(f"{found:.3g}")
    power = 2 ** math.floor(math.log2(found))
    rounded = min((power, power * 3 // 2, power * 2), key=lambda near: abs(math.log(near / found)) if near else 99.0)
    low, high = sorted((inside, outside))
    return rounded if low < rounded < high else inside


def _equals(name: str, value: Value, texts: frozenset[str]) -> str:
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return f"{name} == {json.dumps(str(value)) if name in texts else spelled(value)}"


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
    """`batch 8, kv_len 4Ki in a CUDA graph`"""
    varied, regime = [], ""
    for axis, at in zip(sample.grid.axes, sample.place, strict=True):
        value = axis.values[at]
        if axis.name == "graph_capture":
            regime = " in a CUDA graph" if value else ", eager"
        elif value is True or value is False:
            varied.append(axis.name if value else f"no {axis.name}")
        elif len(axis.values) > 1:
            varied.append(f"{axis.name} {spelled(value)}")
    return (", ".join(varied) or "the one point") + regime


def rules_text(tuned: Tuned, heading: Sequence[str]) -> str:
    """A file of rules, in the canonical form; `heading` are lines of comment that say where they come from."""
    comment = "".join(f"# {line}\n" if line else "#\n" for line in heading)
    return "\n".join([comment, *(rule.text for rule in tuned.rules)])

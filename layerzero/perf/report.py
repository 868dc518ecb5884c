"""Samples -> regret: the time of what the policy picks over that of the fastest kernel, point by point and in all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from layerzero.perf.measure import Failed, Timing
from layerzero.perf.survey import BASELINE, Sample, described

LARGE = 1.5  # a regret past this wants an explanation


@dataclass(frozen=True, slots=True)
class Regret:
    """At one point: `Regret(sample, "torch.sdpa_cudnn", 16.9, "flashinfer.decode", 14.5, 16.9)`."""

    sample: Sample
    picked: str | None
    picked_us: float | None
    best: str
    best_us: float
    plain_us: float | None

    @property
    def ratio(self) -> float | None:
        """1 where the pick is the fastest; None where it did not run."""
        return None if self.picked_us is None else self.picked_us / self.best_us


@dataclass(frozen=True, slots=True)
class Totals:
    """The sum over all points for the policy, the fastest kernels, plain torch, and each backend served alone.

    A backend alone serves what it can, with its fastest kernel there, and plain torch does the rest.
    """

    points: int
    policy_us: float
    best_us: float
    plain_us: float
    backends: Mapping[str, float]

    @property
    def best_backend(self) -> tuple[str, float] | None:
        return min(self.backends.items(), key=lambda one: one[1], default=None)


def regrets(samples: Sequence[Sample]) -> list[Regret]:
    """Of the points at which any kernel ran."""
    found = []
    for sample in samples:
        ranked = sample.ranked()
        if not ranked:
            continue
        best, time = ranked[0]
        picked, usual = sample.time(sample.picked), sample.time(BASELINE)
        found.append(
            Regret(
                sample,
                sample.picked,
                None if picked is None else picked.median_us,
                best,
                time.median_us,
                None if usual is None else usual.median_us,
            )
        )
    return found


def median(found: Sequence[Regret]) -> float | None:
    ratios = _ratios(found)
    return statistics.median(ratios) if ratios else None


def percentile_95(found: Sequence[Regret]) -> float | None:
    """The smallest that at least 95 of 100 points do not exceed."""
    ratios = _ratios(found)
    return ratios[max(0, -(-len(ratios) * 95 // 100) - 1)] if ratios else None


def _ratios(found: Sequence[Regret]) -> list[float]:
    return sorted(one.ratio for one in found if one.ratio is not None)


def totals(samples: Sequence[Sample]) -> Totals:
    """Over the points at which the pick and plain torch both ran: a sum over unequal sets would compare nothing."""
    kept = [
        sample for sample in samples if sample.time(sample.picked) is not None and sample.time(BASELINE) is not None
    ]
    backends = sorted({name.partition(".")[0] for sample in kept for name, _ in sample.ranked()})
    return Totals(
        points=len(kept),
        policy_us=_sum(kept, lambda sample: sample.time(sample.picked)),
        best_us=_sum(kept, lambda sample: sample.ranked()[0][1]),
        plain_us=_sum(kept, lambda sample: sample.time(BASELINE)),
        backends={name: _sum(kept, lambda sample, name=name: _alone(sample, name)) for name in backends},  # type: ignore[misc]
    )


def _alone(sample: Sample, backend: str) -> Timing | None:
    own = [time for name, time in sample.ranked() if name.partition(".")[0] == backend]
    return own[0] if own else sample.time(BASELINE)


def _sum(samples: Sequence[Sample], of: Callable[[Sample], Timing | None]) -> float:
    found = [of(sample) for sample in samples]
    return sum(time.median_us for time in found if time is not None)


# ---------------------------------------------------------------- text


def summary(samples: Sequence[Sample]) -> list[str]:
    """A few lines: the regret, the totals, each point past `LARGE`, and the kernels that failed."""
    found = regrets(samples)
    middle, high = median(found), percentile_95(found)
    if middle is None or high is None:
        return ["no point has a measured pick"]
    lines = [f"regret over {len(_ratios(found))} points: median {middle:.2f}, 95th percentile {high:.2f}"]
    lines += [f"  {_large(one)}" for one in found if one.ratio is not None and one.ratio > LARGE]
    silent = [one for one in found if one.ratio is None]
    lines += [f"  {described(s.sample.grid, s.sample.place)}: the pick `{s.picked}` was not measured" for s in silent]
    if (of := totals(samples)).points:
        lines.append(
            f"total of {of.points} points: policy {_ms(of.policy_us)}, fastest {_ms(of.best_us)}, "
            f"plain torch {_ms(of.plain_us)}"
        )
        lines.append(_against_plain(found))
        alone = sorted(of.backends.items(), key=lambda one: one[1])
        lines.append(f"one backend alone, plain torch for the rest: {', '.join(f'{n} {_ms(t)}' for n, t in alone)}")
    return lines


def _against_plain(found: Sequence[Regret]) -> str:
    """`plain torch takes 0.62 to 6.34 times as long as the pick, half of the points at least 1.24; less at 20 of 58`"""
    ratios = sorted(one.plain_us / one.picked_us for one in found if one.plain_us and one.picked_us)
    less = sum(ratio < 1 for ratio in ratios)
    return (
        f"plain torch takes {ratios[0]:.2f} to {ratios[-1]:.2f} times as long as the pick, "
        f"median {statistics.median(ratios):.2f}; less than the pick at {less} of {len(ratios)} points"
    )


def failures(samples: Sequence[Sample]) -> list[str]:
    """Each kernel that its facts accept and that raised, with its first point and how many there are."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        for name, time in sample.times.items():
            if isinstance(time, Failed):
                found.setdefault((name, time.text.partition(". ")[0]), []).append(sample)
    return [
        f"{name} at {described(of[0].grid, of[0].place)}{f' and {len(of) - 1} more' if len(of) > 1 else ''}: {text}"
        for (name, text), of in sorted(found.items())
    ]


def table(samples: Sequence[Sample]) -> list[str]:
    """A Markdown table, one row a point: what was picked, the fastest, plain torch, and every other kernel."""
    lines = [
        "| call | picked | us | fastest | us | regret | plain torch, us | others, us |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | --- |",
    ]
    for one in regrets(samples):
        others = [
            f"{name} {_number(time.median_us)}"
            for name, time in one.sample.ranked()
            if name not in (one.picked, one.best)
        ]
        others += [f"{name} failed" for name, time in one.sample.times.items() if isinstance(time, Failed)]
        lines.append(
            f"| {described(one.sample.grid, one.sample.place)} | {one.picked} | {_number(one.picked_us)} "
            f"| {one.best} | {_number(one.best_us)} | {'-' if one.ratio is None else f'{one.ratio:.2f}'} "
            f"| {_number(one.plain_us)} | {', '.join(others)} |"
        )
    return lines


def _large(one: Regret) -> str:
    assert one.ratio is not None and one.picked_us is not None
    where = described(one.sample.grid, one.sample.place)
    ruled = f" (by {', '.join(one.sample.ruled_by)})" if one.sample.ruled_by else ""
    return f"{one.ratio:.2f}x at {where}: {one.picked}{ruled} {one.picked_us:.3g} us, {one.best} {one.best_us:.3g} us"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _ms(us: float) -> str:
    return f"{us / 1000:.2f} ms"

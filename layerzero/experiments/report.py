"""Trials -> what `lz.experiment_status()` shows: counts, intervals, guards and the sample ratio of each experiment.

The intervals and the test of the ratio are scipy's (extra `experiments`) and hold for one look; guards may be looked at
at any time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from layerzero.check.program import Experiment
from layerzero.errors import MissingDependencyError
from layerzero.experiments.guards import spell, value
from layerzero.experiments.latencies import Latencies
from layerzero.experiments.tally import Moments, Tally
from layerzero.experiments.trial import ArmId, Stop, Trial

SCHEMA = "lz.experiments/1"
CONFIDENCE = 0.95
MISMATCH = 0.001  # below this p-value the sample ratio is flagged
_QUANTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % confidence interval; `low` and `high` are None where there is too little to say."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class GuardState:
    """`evidence` goes from 0 to 1, where the guard ends the arm; on the scale of its logarithm."""

    guard: str
    value: float | None
    evidence: float
    stopped: bool


@dataclass(frozen=True, slots=True)
class ArmStatus:
    """One arm. `requests` and what follows are of `lz.request` and `lz.outcome`; `calls` of kernel calls outside."""

    arm: str
    percent: float
    units: int  # different key values seen, an estimate past 16 384
    requests: int
    errors: int
    error_rate: Interval | None
    degraded: int
    nan: int
    latency_ms: Mapping[str, Interval]  # mean, p50, p95, p99
    metrics: Mapping[str, Interval]
    calls: int
    call_errors: int
    call_degraded: int
    stopped: str | None  # why, if a guard has ended it
    after_stop: int
    guards: tuple[GuardState, ...]


@dataclass(frozen=True, slots=True)
class ExperimentStatus:
    """One experiment. `sample_ratio_p` is the chance of arms as uneven as seen, were they cut as written; None with
    too few units."""

    experiment: str
    key: str
    share_percent: float
    since: float  # seconds since the epoch
    arms: tuple[ArmStatus, ...]
    sample_ratio_p: float | None
    sample_ratio_mismatch: bool


@dataclass(frozen=True, slots=True)
class ExperimentsReport:
    """What `lz.experiment_status()` returns; `str()` is a table for people."""

    policy: str
    epoch: int
    experiments: tuple[ExperimentStatus, ...]
    dropped: int

    def __getitem__(self, experiment: str) -> ExperimentStatus:
        """One experiment by name; KeyError without it."""
        for one in self.experiments:
            if one.experiment == experiment:
                return one
        raise KeyError(experiment)

    def to_dict(self) -> dict[str, Any]:
        """The stable object `lz.experiments/1`, of JSON's types."""
        return {"schema": SCHEMA, **asdict(self)}

    def __str__(self) -> str:
        from layerzero.experiments.report_text import report_text

        return report_text(self.to_dict())


def report(
    policy: str,
    epoch: int,
    live: Iterable[str],
    trials: Mapping[str, Trial],
    stops: Mapping[ArmId, Stop],
    dropped: int,
) -> ExperimentsReport:
    """The report on the experiments of the policy in force.

    Raises:
        MissingDependencyError: scipy is not installed.
    """
    need_scipy()
    shown = [trials[name] for name in sorted(live) if name in trials]
    return ExperimentsReport(policy, epoch, tuple(_experiment(trial, stops) for trial in shown), dropped)


def need_scipy() -> None:
    try:
        import scipy  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "the intervals of an experiment's status need scipy: pip install 'layerzero[experiments]'"
        ) from error


def _experiment(trial: Trial, stops: Mapping[ArmId, Stop]) -> ExperimentStatus:
    experiment = trial.experiment
    units = trial.units.by_arm()
    chance = sample_ratio(experiment, units)
    return ExperimentStatus(
        experiment=experiment.name,
        key=experiment.key,
        share_percent=experiment.share / 100,
        since=trial.since,
        arms=tuple(
            _arm(trial, arm.name, arm.buckets / 100, round(units.get(arm.name, 0) / trial.units.share), stops)
            for arm in experiment.arms
        ),
        sample_ratio_p=chance,
        sample_ratio_mismatch=chance is not None and chance < MISMATCH,
    )


def _arm(trial: Trial, arm: str, percent: float, units: int, stops: Mapping[ArmId, Stop]) -> ArmStatus:
    tally = trial.tallies[arm]
    stop = stops.get((trial.experiment.name, arm))
    requests = tally.requests
    return ArmStatus(
        arm=arm,
        percent=percent,
        units=units,
        requests=requests.total,
        errors=requests.errors,
        error_rate=rate_interval(requests.errors, requests.total),
        degraded=requests.degraded,
        nan=requests.nan,
        latency_ms=_latencies(tally),
        metrics={name: interval for name, seen in tally.metrics.items() if (interval := mean_interval(seen))},
        calls=tally.calls.total,
        call_errors=tally.calls.errors,
        call_degraded=tally.calls.degraded,
        stopped=None if stop is None else stop.reason,
        after_stop=tally.after_stop,
        guards=tuple(
            GuardState(
                spell(test.guard),
                value(test.guard, tally),
                test.state,
                stop is not None and stop.guard == spell(test.guard),
            )
            for test in trial.tests.get(arm, ())
        ),
    )


# ---------------------------------------------------------------- statistics


def rate_interval(bad: int, of: int) -> Interval | None:
    """A rate with Wilson's score interval."""
    from scipy import stats

    if not of:
        return None
    found = stats.binomtest(bad, of).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(bad / of, float(found.low), float(found.high))


def mean_interval(seen: Moments) -> Interval | None:
    """A mean with Student's interval."""
    from scipy import stats

    if not seen.total:
        return None
    error = seen.standard_error
    if error is None:
        return Interval(seen.mean, None, None)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, seen.total - 1)) * error
    return Interval(seen.mean, seen.mean - half, seen.mean + half)


def quantile_interval(seen: Latencies, share: float) -> Interval | None:
    """A quantile between two order statistics: how many lie below it is binomial, whatever the distribution."""
    from scipy import stats

    found = seen.quantile(share)
    if found is None:
        return None
    low = int(stats.binom.ppf((1 - CONFIDENCE) / 2, seen.total, share))
    high = int(stats.binom.ppf((1 + CONFIDENCE) / 2, seen.total, share)) + 1
    return Interval(
        found,
        seen.at_rank(low) if low >= 1 else None,
        seen.at_rank(high) if high <= seen.total else None,
    )


def sample_ratio(experiment: Experiment, units: Mapping[str, int]) -> float | None:
    """The p-value of Pearson's chi-square: do the arms have as many units as they are cut for?"""
    from scipy import stats

    total = sum(units.values())
    wanted = {arm.name: total * arm.buckets / 10_000 for arm in experiment.arms}
    if any(units.get(arm, 0) for arm, expected in wanted.items() if not expected):
        return 0.0
    expected = [amount for amount in wanted.values() if amount]
    if len(expected) < 2 or min(expected) < 5:
        return None
    seen = [units.get(arm, 0) for arm, amount in wanted.items() if amount]
    chance = float(stats.chisquare(seen, expected).pvalue)
    return None if math.isnan(chance) else chance


def _latencies(tally: Tally) -> dict[str, Interval]:
    found = {"mean": mean_interval(tally.latency)}
    found |= {name: quantile_interval(tally.latencies, share) for name, share in _QUANTILES}
    return {name: interval for name, interval in found.items() if interval is not None}

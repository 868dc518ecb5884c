"""One experiment as it runs: a tally and the guards of each arm. Knows no threads and no engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import time

from layerzero.check.expressions import Value
from layerzero.check.program import Experiment
from layerzero.experiments.guards import GuardTest, spell, value
from layerzero.experiments.tally import Tally, Units
from layerzero.runtime.snapshot import CONTROL, Snapshot
from layerzero.semantics.experiments import arm_of, spell_key

LEVEL = 0.05

ArmId = tuple[str, str]  # experiment, arm


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request went, or one kernel call outside of any request."""

    snapshot: Snapshot
    values: Mapping[str, Value]
    arms: Mapping[str, str]
    call: bool = False
    latency_ms: float | None = None
    error: bool = False
    degraded: bool = False
    nan: bool = False
    again: bool = False  # the same call, gone on with another kernel
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stop:
    """`arm acme of faster_decode was stopped by guard error_rate < 1%`, with what was seen."""

    experiment: str
    arm: str
    guard: str
    seen: float | None
    requests: int
    calls: int
    at: float  # seconds since the epoch

    @property
    def reason(self) -> str:
        seen = "" if self.seen is None else f", seen {_number(self.guard, self.seen)}"
        of = f"{self.requests} requests" if self.requests else f"{self.calls} calls"
        when = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds")
        return f"guard {self.guard}{seen} after {of}, {when}"

    def __str__(self) -> str:
        return f"arm `{self.arm}` of `{self.experiment}` was stopped by {self.reason}"


@dataclass(frozen=True, slots=True)
class Member:
    """A unit in its arm. `stopped`: a guard has ended the arm, so the unit is served as control."""

    experiment: Experiment
    arm: str
    unit: str
    stopped: bool


def members(outcome: Outcome) -> list[Member]:
    """The experiments that an outcome counts in, with the arms that hashing gives."""
    snapshot, values = outcome.snapshot, outcome.values
    stopped = snapshot.environment.stopped_arms
    experiments = snapshot.vocabulary.experiments
    found = []
    for name in experiments if stopped else outcome.arms:
        experiment = experiments.get(name)
        if experiment is None or experiment.key not in values:
            continue
        unit = values[experiment.key]
        arm = arm_of(experiment, unit) if stopped else outcome.arms[name]
        if arm is not None:
            found.append(Member(experiment, arm, spell_key(unit), (name, arm) in stopped))
    return found


class Trial:
    """What is known of an experiment since it began, or since its arms were last cut differently."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.since = time()
        self.tallies = {arm.name: Tally() for arm in experiment.arms}
        self.units = Units()
        self.stopped: set[str] = set()
        self.tests: dict[str, list[GuardTest]] = {}
        self.watch(experiment)

    def watch(self, experiment: Experiment) -> None:
        """Go on with another edition of the same experiment; guards that changed begin anew."""
        changed = not self.tests or experiment.guards != self.experiment.guards
        self.experiment = experiment
        if changed:
            judged = [arm.name for arm in experiment.arms if arm.name != CONTROL and arm.buckets]
            # The whole experiment stops an arm falsely with a chance of at most LEVEL: each guard gets its part.
            part = LEVEL / max(len(judged) * len(experiment.guards), 1)
            self.tests = {
                arm: [GuardTest(guard, part, self.tallies[arm], self.control(arm)) for guard in experiment.guards]
                for arm in judged
            }

    def control(self, arm: str) -> Tally:
        return self.tallies.get(CONTROL, self.tallies[arm])

    def resume(self, arm: str) -> None:
        """Watch an arm again, from now on."""
        self.stopped.discard(arm)
        for test in self.tests.get(arm, ()):
            test.restart(self.tallies[arm], self.control(arm))

    def take(self, outcome: Outcome, member: Member) -> Stop | None:
        """Count one outcome; the guard that it breaks, if any."""
        tally = self.tallies.get(member.arm)
        if tally is None:
            return None
        if not outcome.again:
            self.units.add(member.unit, member.arm)
        if member.stopped:
            tally.after_stop += not outcome.call
            return None
        if outcome.again:
            tally.calls.degraded += outcome.degraded
        else:
            (tally.calls if outcome.call else tally.requests).add(outcome.error, outcome.degraded, outcome.nan)
        if outcome.latency_ms is not None and not outcome.call:
            tally.add_latency(outcome.latency_ms)
        tally.add_metrics(outcome.metrics)
        return self._judge(outcome, member.arm, tally)

    def _judge(self, outcome: Outcome, arm: str, tally: Tally) -> Stop | None:
        if arm in self.stopped:
            return None
        bad = outcome.error or outcome.degraded or outcome.nan
        for test in self.tests.get(arm, ()):
            upwards = test.guard.operator in ("<", "<=")
            if test.broken(tally, self.control(arm), news=bad or not upwards):
                self.stopped.add(arm)
                seen = value(test.guard, tally)
                return Stop(
                    self.experiment.name,
                    arm,
                    spell(test.guard),
                    seen,
                    tally.requests.total,
                    tally.calls.total,
                    time(),
                )
        return None


def same_trial(one: Experiment, other: Experiment) -> bool:
    """Whether what was counted for one counts for the other: nobody has another arm than before."""
    return _cut(one) == _cut(other)


def same_arms(one: Experiment, other: Experiment) -> bool:
    """Whether an arm that was stopped in one stays stopped in the other."""
    return (one.name, one.salt, {arm.name for arm in one.arms}) == (
        other.name,
        other.salt,
        {arm.name for arm in other.arms},
    )


def _cut(experiment: Experiment) -> tuple[object, ...]:
    # The share is not here: a ramp moves nobody.
    return (experiment.name, experiment.key, experiment.salt, experiment.arms)


def _number(guard: str, seen: float) -> str:
    return f"{seen * 100:.3g}%" if guard.split()[0].endswith("_rate") else f"{seen:.4g} ms"

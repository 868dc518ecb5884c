"""Experiments of one engine: outcomes in, epochs out.

Serving threads append to a queue and go on. A thread of this module, woken at most fifty times a second and gone when
nothing happens, counts what is in the queue and publishes an epoch for each arm that a guard ends.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep
from typing import Any, Protocol, TypeVar

from layerzero.check.program import Experiment
from layerzero.errors import ArgumentError
from layerzero.experiments.report import ExperimentsReport, report
from layerzero.experiments.requests import Request, checked, current_request
from layerzero.experiments.sharing import Sharing, own_file
from layerzero.experiments.tally import Tally
from layerzero.experiments.trial import ArmId, Outcome, Stop, Trial, members, same_arms, same_trial
from layerzero.runtime import ambient
from layerzero.runtime.decision import Decision
from layerzero.runtime.engine import Engine, Inputs
from layerzero.runtime.snapshot import Snapshot

log = logging.getLogger("layerzero")

_PAUSE = 0.02  # seconds between two looks at the queue
_IDLE = 2.0  # seconds without an outcome after which the thread ends; the next outcome starts another
_MOST_WAITING = 100_000
_MOST_TRIALS = 64

T = TypeVar("T")


class CallRecord(Protocol):
    """What a dispatcher tells its sinks about a call."""

    @property
    def decision(self) -> Decision: ...
    @property
    def error(self) -> Exception | None: ...


class Calls(Protocol):
    """A dispatcher, as far as it is needed here."""

    sinks: tuple[Callable[[Any], None], ...]


@dataclass(frozen=True, slots=True)
class ArmTotals:
    """The counts of one arm, for metrics."""

    experiment: str
    arm: str
    requests: int
    errors: int
    degraded: int
    calls: int
    call_errors: int
    call_degraded: int
    latency_ms_sum: float
    stopped: bool


class Experiments:
    """Counts how the arms of experiments do, and ends those that a guard does not bear.

    Attributes:
        listeners: Told of each Stop, after its epoch is in force.
        dropped: Outcomes that were not counted because the queue was full.
    """

    def __init__(self, engine: Engine, calls: Calls | None = None) -> None:
        self.engine = engine
        self.listeners: list[Callable[[Stop], None]] = []
        self.dropped = 0
        self._calls = calls
        self._waiting: deque[Outcome] = deque()
        self._trials: dict[str, Trial] = {}
        self._live: frozenset[str] = frozenset()  # experiments of the policy in force
        self._epoch = 0
        self._stops: dict[ArmId, tuple[Stop, Experiment]] = {}
        self._unpublished: list[Stop] = []  # one whose epoch could not be published is tried again
        # INVARIANT: nobody who holds `_counting` calls the engine, because the engine calls `published` under its lock.
        self._make_locks()
        self._shared: Sharing | None = None
        engine.listeners.append(self.published)
        if hasattr(os, "register_at_fork"):
            here = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _forked(here()))

    def _make_locks(self) -> None:
        self._counting = threading.Lock()
        self._settling = threading.RLock()
        self._starting = threading.Lock()
        self._news = threading.Event()
        self._thread: threading.Thread | None = None

    def forked(self) -> None:
        """In a child process: threads are gone, locks may be held by them, and what waits is the parent's to count."""
        self._make_locks()
        self._waiting.clear()
        self._shared = None

    # ------------------------------------------------------------ from serving threads

    def take(self, outcome: Outcome) -> None:
        """Queue an outcome. Never blocks; drops it where a hundred thousand wait already."""
        if len(self._waiting) >= _MOST_WAITING:
            with self._starting:
                self.dropped += 1
            return
        self._waiting.append(outcome)
        self._wake()

    def called(self, record: CallRecord) -> None:
        """A dispatcher's sink: kernels' errors and degraded calls count by themselves."""
        decision = record.decision
        if not decision.snapshot.vocabulary.experiments:
            return
        failed = record.error is not None or decision.kernel is None
        request = current_request()
        if request is not None:
            request.saw(failed, decision.degraded)
            return
        again = bool(decision.recovered_from)
        if again and (len(decision.recovered_from) > 1 or failed):
            return  # one call counts once, however many kernels it asked
        if decision.arms or decision.snapshot.environment.stopped_arms:
            degraded = decision.degraded and not failed
            self.take(
                Outcome(
                    decision.snapshot,
                    decision.values,
                    decision.arms,
                    call=True,
                    error=failed,
                    degraded=degraded,
                    again=again,
                )
            )

    def request(self, fields: Mapping[str, Any]) -> Request:
        """A request, from here to the end of a `with` block."""
        return Request(self.engine, self.take, self._listen, fields)

    def outcome(
        self,
        fields: Mapping[str, Any],
        latency_ms: float | None = None,
        error: bool = False,
        nan: bool = False,
        metrics: Mapping[str, float] | None = None,
    ) -> Mapping[str, str]:
        """Count a request that went on elsewhere, in the arms that its key fields have by hashing.

        Returns:
            The arms, by experiment.

        Raises:
            ArgumentError: No field is given, neither here nor around; or a number is none.
            ContextError: A field's value is wrong.
        """
        around = ambient.here()
        known = {**(around.fields if around is not None else {}), **fields}
        if not any(value is not None for value in known.values()):
            raise ArgumentError('an outcome belongs to a request: name its key, such as `request_id="r-1"`')
        numbers = {name: checked(name, number) for name, number in (metrics or {}).items()}
        latency = None if latency_ms is None else checked("latency_ms", latency_ms, least=0.0)
        snapshot = self.engine.current()
        values, arms = ambient.Surroundings({k: v for k, v in known.items() if v is not None}).read(snapshot)
        if arms or snapshot.environment.stopped_arms:
            self.take(
                Outcome(snapshot, values, arms, latency_ms=latency, error=bool(error), nan=bool(nan), metrics=numbers)
            )
        return arms

    # ------------------------------------------------------------ the edge

    def settle(self) -> None:
        """Count all that waits, and publish what follows; afterwards every outcome reported so far has counted."""
        with self._settling:
            with self._counting:
                self._unpublished += self._count()
            while self._unpublished:
                self._stop(self._unpublished[0])
                del self._unpublished[0]

    def published(self, snapshot: Snapshot) -> None:
        """The engine's listener: follow the experiments of the policy in force."""
        experiments = snapshot.vocabulary.experiments
        with self._counting:
            if snapshot.epoch < self._epoch:
                return  # two threads publish, and the later one was heard first
            self._epoch, self._live = snapshot.epoch, frozenset(experiments)
        if experiments:
            self._listen()
        else:
            self._listen_no_more()
        with self._counting:
            # What was reported so far counts by the guards so far. The thread publishes what follows: this one may hold
            # the engine's lock.
            self._unpublished += self._count()
            for experiment in experiments.values():
                self._trial(experiment)
            over = [
                arm
                for arm, (_, stopped_in) in self._stops.items()
                if arm[0] in experiments and not same_arms(stopped_in, experiments[arm[0]])
            ]
            for arm in over:
                del self._stops[arm]
        if over:
            self.engine.change(lambda inputs: _without(inputs, over))
        if self._unpublished:
            self._wake()

    def resume(self, name: str) -> None:
        """Let an arm that a guard ended serve again, watched from now on: `faster_decode.acme`.

        Raises:
            ArgumentError: No such arm is stopped.
        """
        self.settle()
        experiment, _, arm = name.rpartition(".")
        stopped = self.engine.status().stopped_arms
        if (experiment, arm) not in stopped:
            known = ", ".join(f"`{one}.{other}`" for one, other in stopped) or "none is"
            raise ArgumentError(f"arm `{name}` is not stopped; stopped: {known}")
        with self._counting:
            self._stops.pop((experiment, arm), None)
            trial = self._trials.get(experiment)
            if trial is not None:
                trial.resume(arm)
        self.engine.change(lambda inputs: _without(inputs, [(experiment, arm)]))
        log.warning("arm `%s` of experiment `%s` serves again: somebody resumed it", arm, experiment)

    # ------------------------------------------------------------ reading

    def stops(self) -> tuple[Stop, ...]:
        """The arms that guards have ended, until they are resumed."""
        with self._counting:
            return tuple(stop for stop, _ in self._stops.values())

    def totals(self) -> list[ArmTotals]:
        """The counts of every arm, cheap enough for a scrape of metrics."""
        self.settle()
        with self._counting:
            return [
                _totals(name, arm, tally, arm in trial.stopped)
                for name, trial in self._trials.items()
                for arm, tally in trial.tallies.items()
            ]

    def read(self, of: Callable[[Mapping[str, Trial], Mapping[ArmId, Stop]], T]) -> T:
        """Look at all trials while nothing is counted."""
        self.settle()
        with self._counting:
            return of(self._trials, {arm: stop for arm, (stop, _) in self._stops.items()})

    def report(self) -> ExperimentsReport:
        """How the experiments of the policy in force do.

        Raises:
            MissingDependencyError: scipy is not installed.
        """
        snapshot = self.engine.current()
        name, live = snapshot.identity.name, snapshot.vocabulary.experiments
        return self.read(lambda trials, stops: report(name, snapshot.epoch, live, trials, stops, self.dropped))

    def share(self, path: str | Path | None = None, every: float = 2.0) -> Path:
        """Keep a file with the report up to date, and obey requests to resume an arm; in place of the file before.

        Raises:
            OSError: It cannot be written.
            MissingDependencyError: scipy is not installed.
        """
        file = (
            own_file() if path is None else Path(path).absolute()
        )  # it is written later, from wherever the program is
        shared = Sharing(file, checked("every", every, least=0.01), lambda: self.report().to_dict(), self.resume)
        before, self._shared = self._shared, shared
        if before is not None:
            before.close(remove=before.path != file)
        return file

    # ------------------------------------------------------------ counting

    def _count(self) -> list[Stop]:
        """Count what waits, in its order; the lock is held."""
        stops = []
        for _ in range(len(self._waiting)):
            outcome = self._waiting.popleft()
            for member in members(outcome):
                trial = self._trial(member.experiment, keep=True)
                if trial is None:
                    continue  # a request of an experiment that has been cut anew since
                stop = trial.take(outcome, member)
                if stop is not None:
                    self._stops[stop.experiment, stop.arm] = (stop, trial.experiment)
                    stops.append(stop)
        return stops

    def _trial(self, experiment: Experiment, keep: bool = False) -> Trial | None:
        """The trial of an experiment. One that is cut differently begins anew, unless `keep`: then there is None."""
        known = self._trials.get(experiment.name)
        if known is not None and known.experiment is experiment:
            return known
        if known is not None and same_trial(known.experiment, experiment):
            if not keep:
                known.watch(experiment)
            return known
        if known is not None and keep:
            return None
        if len(self._trials) >= _MOST_TRIALS:
            gone = next((name for name in self._trials if name not in self._live), None)
            if gone is not None:
                del self._trials[gone]
        self._trials[experiment.name] = made = Trial(experiment)
        made.stopped = {arm for name, arm in self._stops if name == experiment.name}
        return made

    def _stop(self, stop: Stop) -> None:
        arm = (stop.experiment, stop.arm)

        def change(inputs: Inputs) -> Inputs:
            now = inputs.loaded.vocabulary.experiments.get(stop.experiment)
            with self._counting:
                known = self._stops.get(arm)
            if known is None or (now is not None and not same_arms(known[1], now)):
                return inputs  # replaced or resumed in the meantime
            return replace(
                inputs,
                stopped_arms=inputs.stopped_arms | {arm},
                stop_reasons={**inputs.stop_reasons, arm: stop.reason},
            )

        self.engine.change(change)
        log.warning("experiment: %s; its units go on as control", stop)
        for listener in self.listeners:
            listener(stop)

    def _listen(self) -> None:
        if self._calls is not None and self.called not in self._calls.sinks:
            self._calls.sinks = (*self._calls.sinks, self.called)

    def _listen_no_more(self) -> None:
        """Without experiments a call must not pay for them."""
        if self._calls is not None and self.called in self._calls.sinks:
            self._calls.sinks = tuple(sink for sink in self._calls.sinks if sink != self.called)

    # ------------------------------------------------------------ the thread

    def _wake(self) -> None:
        if not self._news.is_set():
            self._news.set()
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="layerzero-experiments", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            if not self._news.wait(_IDLE):
                with self._starting:
                    if not self._news.is_set():
                        self._thread = None
                        return
            sleep(_PAUSE)  # many outcomes at once cost one turn
            self._news.clear()
            try:
                self.settle()
            except Exception as error:  # the thread must outlive a policy that cannot be published
                log.exception("experiments: an arm could not be stopped")
                self.engine.failed(f"experiments: {error}")


def _forked(experiments: Experiments | None) -> None:
    if experiments is not None:
        experiments.forked()


def _without(inputs: Inputs, arms: list[ArmId]) -> Inputs:
    return replace(
        inputs,
        stopped_arms=inputs.stopped_arms.difference(arms),
        stop_reasons={arm: why for arm, why in inputs.stop_reasons.items() if arm not in arms},
    )


def _totals(experiment: str, arm: str, tally: Tally, stopped: bool) -> ArmTotals:
    return ArmTotals(
        experiment=experiment,
        arm=arm,
        requests=tally.requests.total,
        errors=tally.requests.errors,
        degraded=tally.requests.degraded,
        calls=tally.calls.total,
        call_errors=tally.calls.errors,
        call_degraded=tally.calls.degraded,
        latency_ms_sum=tally.latency.mean * tally.latency.total,
        stopped=stopped,
    )

"""Records of a log and a new policy -> what would have changed: per pair of kernels and per rule, in shares of traffic.

Everything kept is bounded, whatever the length of the log.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.compiler.codegen import Decide, generate
from layerzero.compiler.compile import compile_operation
from layerzero.errors import ContextError
from layerzero.runtime.export import ExportError, SnapshotStore
from layerzero.runtime.log_reader import Entry
from layerzero.runtime.record import Record
from layerzero.runtime.replay import ReplayError, read_inputs, redecide, restored
from layerzero.runtime.snapshot import CONTROL
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.causes import Cause, causes
from layerzero.semantics.context import complete
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import enrol
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Failure, Outcome, Proof

SCHEMA = "lz.replay/1"
_MOST_PAIRS = 2_000
_MOST_CAUSES = 2_000
_MOST_PROBLEMS = 10
_LONGEST_TEXT = 200
_ENVIRONMENTS = 8
_MEMO = 20_000

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What a caller notices of a decision."""

    kernel: str | None
    degraded: bool
    error: str | None

    def __str__(self) -> str:
        if self.kernel is None:
            return f"error {self.error}"
        return f"{self.kernel} (degraded)" if self.degraded else self.kernel

    def to_json(self) -> Json:
        return {"kernel": self.kernel, "degraded": self.degraded, "error": self.error}


@dataclass(slots=True)
class Tally:
    records: int = 0
    calls: float = 0.0

    def add(self, calls: float, records: int = 1) -> None:
        self.records += records
        self.calls += calls


@dataclass(slots=True)
class Pair:
    """Calls that got `old` and would get `new`."""

    old: Result
    new: Result
    message: str | None
    example: Json
    total: Tally = field(default_factory=Tally)
    rules: dict[Cause, Tally] = field(default_factory=dict)


class Comparison:
    """Takes entries of a log one by one; `report` says what was found so far."""

    def __init__(
        self,
        program: Program,
        offline: Environment,
        store: SnapshotStore | None = None,
        counts: Mapping[str, int] | None = None,
        recorded: bool = True,
        today: date | None = None,
    ) -> None:
        """Compare with a policy.

        Args:
            program: The new policy.
            offline: The environment of records whose own is not at hand; its packages are given to the others too.
            store: Exported snapshots.
            counts: Further calls of `distinct` records, by id.
            recorded: Whether a record is decided in the environment that it was decided in, where that is at hand.
            today: The day for all records; None takes each one's own.
        """
        self.program, self._offline, self._store = program, offline, store
        self._counts = dict(counts or {})
        self._recorded, self._today = recorded and store is not None, today
        self._packages = Vocabulary.of(program).all_packages
        self.traffic, self.changed = Tally(), Tally()
        self.errors, self.degraded_before, self.degraded_after = Tally(), Tally(), Tally()
        self.unreadable = 0
        self.problems: list[Json] = []
        self.policies: dict[str, Tally] = {}
        self._pairs: dict[tuple[Result, Result], Pair] = {}
        self._rules: dict[Cause, Tally] = {}
        self._notes: dict[str, Tally] = {}
        self._environments: OrderedDict[str, tuple[Environment, bool]] = OrderedDict()
        self._answers: OrderedDict[str, _Answers] = OrderedDict()
        self._memo: dict[object, tuple[list[Cause], str | None]] = {}

    def add(self, entry: Entry) -> None:
        """Count one entry."""
        record = entry.record
        if record is None:
            self.unreadable += 1
            if len(self.problems) < _MOST_PROBLEMS:
                self.problems.append({"file": entry.file, "line": entry.number, "problem": entry.problem})
            return
        calls = float(record["count"]) + self._counts.pop(record["id"] or "", 0)
        self.traffic.add(calls)
        _bounded(self.policies, record["policy"]["digest"]).add(calls)
        old = Result(record["kernel"], record["degraded"], record["error"])
        environment, key = self._environment(record, calls)
        scope, values, arms, outcome = self._decide(record, environment, key, calls)
        new = Result(outcome.kernel, outcome.degraded or bool(record["recovered_from"]), outcome.error)
        if outcome.kernel is None:
            new = replace(new, degraded=False)
            self.errors.add(calls)
        if old.degraded:
            self.degraded_before.add(calls)
        if new.degraded:
            self.degraded_after.add(calls)
        if old != new:
            self._changed(entry, record, (old, new), (environment, key, scope, values, arms, outcome), calls)

    # ------------------------------------------------------------ deciding again

    def _environment(self, record: Record, calls: float) -> tuple[Environment, str]:
        digest = record["snapshot"] if self._recorded else ""
        if digest not in self._environments:
            self._environments[digest] = self._read_environment(digest)
        self._environments.move_to_end(digest)
        while len(self._environments) > _ENVIRONMENTS:
            self._environments.popitem(last=False)
        environment, known = self._environments[digest]
        if self._recorded and not known:
            self._note("decided in the assumed environment: their snapshot was not exported", calls)
        if self._today is not None:
            environment = replace(environment, today=self._today)
        elif not known:
            environment = replace(environment, today=date.fromisoformat(record["time"][:10]))
        failed = [name for name in record["recovered_from"] if name not in environment.open_breakers]
        if failed:
            raised = dict.fromkeys(failed, "it raised in the recorded call")
            environment = replace(environment, open_breakers={**environment.open_breakers, **raised})
        return environment, environment.digest

    def _read_environment(self, digest: str) -> tuple[Environment, bool]:
        if self._store is None or not digest:
            return self._offline, False
        try:
            found, asked = self._store.environment(digest)
        except ExportError:
            return self._offline, False
        given = self._offline.packages
        unknown = sorted(self._packages - asked - set(given)) if not found.assume_packages else []
        if unknown:
            self._notes.setdefault(
                f"counted as not installed, for the recorded machine was not asked: {', '.join(unknown)} (--package)",
                Tally(),
            )
        return replace(found, packages={**found.packages, **given}), True

    def _decide(
        self, record: Record, environment: Environment, key: str, calls: float
    ) -> tuple[Scope | None, dict[str, Value], Mapping[str, str], Outcome]:
        try:
            scope, values, unknown = read_inputs(self.program, record)
            for name in unknown:
                self._note(f"fields that the new policy does not declare: {name}", calls)
            arms = self._arms(record, values, environment)
            if key not in self._answers:
                self._answers[key] = _Answers(self.program, environment)
            self._answers.move_to_end(key)
            while len(self._answers) > _ENVIRONMENTS:
                self._answers.popitem(last=False)
            return scope, values, arms, self._answers[key].decide(scope, values, arms)
        except ContextError as error:
            self._note(f"cannot be decided by the new policy: {str(error)[:_LONGEST_TEXT]}", calls)
            return None, {}, {}, Outcome(None, None, False, error="invalid_context")

    def _arms(self, record: Record, values: Mapping[str, Value], environment: Environment) -> Mapping[str, str]:
        """Where the new policy enrols the call; without the key in its record, where it was if that arm is left."""
        arms = enrol(self.program, values)
        for name, arm in record["arms"].items():
            experiment = self.program.experiments.get(name)
            known = experiment is not None and any(one.name == arm for one in experiment.arms)
            if known and experiment is not None and experiment.key not in values:
                arms[name] = arm
        for name, arm in list(arms.items()):
            if (name, arm) in environment.stopped_arms:
                del arms[name]
                if any(one.name == CONTROL for one in self.program.experiments[name].arms):
                    arms[name] = CONTROL
        return arms

    # ------------------------------------------------------------ what changed

    def _changed(
        self, entry: Entry, record: Record, results: tuple[Result, Result], again: tuple[Any, ...], calls: float
    ) -> None:
        self.changed.add(calls)
        found, message = self._why(record, results, again)
        pair = self._pairs.get(results)
        if pair is None:
            if len(self._pairs) >= _MOST_PAIRS:
                self._note(f"changed beyond the first {_MOST_PAIRS} pairs of kernels", calls)
                return
            pair = self._pairs[results] = Pair(*results, message, _example(entry, record))
        pair.total.add(calls)
        for cause in found:
            _bounded(pair.rules, cause).add(calls)
            _bounded(self._rules, cause).add(calls)

    def _why(
        self, record: Record, results: tuple[Result, Result], again: tuple[Any, ...]
    ) -> tuple[list[Cause], str | None]:
        environment, key, scope, values, arms, outcome = again
        known = (key, record["snapshot"], scope, tuple(values.items()), tuple(arms.items()), results)
        if known not in self._memo:
            if len(self._memo) >= _MEMO:
                self._memo.clear()
            if scope is None:
                return self._unread(record)
            new = decide(self.program, environment, scope, values, arms)
            if Outcome.of(new) != outcome:
                raise AssertionError(
                    f"matcher decided {outcome}, the interpreter {Outcome.of(new)}: please report this"
                )
            found = causes(results[0].kernel, self._old_proof(record), new, self.program, record["arms"])
            self._memo[known] = found, None if new.error is None else new.error.message
        return self._memo[known]

    def _unread(self, record: Record) -> tuple[list[Cause], str | None]:
        try:
            read_inputs(self.program, record)
        except ContextError as error:
            return [Cause("context", "context", str(error)[:_LONGEST_TEXT], "", "new")], str(error)
        failure = Failure("invalid_context", "the context does not fit the new policy")
        return [Cause("context", "context", failure.message, "", "new")], failure.message

    def _old_proof(self, record: Record) -> Proof | None:
        if self._store is None:
            return None
        try:
            return redecide(record, restored(self._store, record["snapshot"], record["epoch"])).proof
        except (ExportError, ReplayError) as error:
            if record["snapshot"] in self._store:
                self._note(f"their recorded proof cannot be rebuilt: {str(error)[:_LONGEST_TEXT]}", 0)
            return None

    def _note(self, text: str, calls: float) -> None:
        _bounded(self._notes, text).add(calls)

    # ------------------------------------------------------------ saying it

    @property
    def pairs(self) -> list[Pair]:
        """The largest first."""
        return sorted(self._pairs.values(), key=lambda pair: (-pair.total.calls, str(pair.old), str(pair.new)))

    @property
    def rules(self) -> list[tuple[Cause, Tally]]:
        """The largest first. A call with several causes counts for each."""
        return sorted(self._rules.items(), key=lambda item: (-item[1].calls, item[0].side, item[0].at, item[0].text))

    @property
    def notes(self) -> list[tuple[str, Tally]]:
        return sorted(self._notes.items())

    def share(self, tally: Tally) -> float:
        """Of all calls, 0..1."""
        return tally.calls / self.traffic.calls if self.traffic.calls else 0.0

    def report(self) -> Json:
        """The stable object `lz.replay/1`."""
        return {
            "schema": SCHEMA,
            "policy": {"name": self.program.name, "version": self.program.version, "digest": self.program.digest},
            "recorded_policies": {digest: _tally(tally, self.share(tally)) for digest, tally in self.policies.items()},
            "traffic": {"records": self.traffic.records, "calls": self.traffic.calls},
            "changed": _tally(self.changed, self.share(self.changed)),
            "pairs": [self._pair(pair) for pair in self.pairs],
            "rules": [self._rule(cause, tally) for cause, tally in self.rules],
            "errors": _tally(self.errors, self.share(self.errors)),
            "degraded": {
                "before": _tally(self.degraded_before, self.share(self.degraded_before)),
                "after": _tally(self.degraded_after, self.share(self.degraded_after)),
            },
            "unreadable": {"lines": self.unreadable, "first": self.problems},
            "notes": [{"text": text, **_tally(tally, self.share(tally))} for text, tally in self.notes],
        }

    def _pair(self, pair: Pair) -> Json:
        rules: Sequence[tuple[Cause, Tally]] = sorted(pair.rules.items(), key=lambda item: (-item[1].calls, item[0].at))
        return {
            "old": pair.old.to_json(),
            "new": pair.new.to_json(),
            **_tally(pair.total, self.share(pair.total)),
            "message": pair.message,
            "rules": [self._rule(cause, tally) for cause, tally in rules],
            "example": pair.example,
        }

    def _rule(self, cause: Cause, tally: Tally) -> Json:
        parts = {"rule": cause.rule, "kind": cause.kind, "side": cause.side, "at": cause.at, "text": cause.text}
        return {**parts, **_tally(tally, self.share(tally))}


class _Answers:
    """A program compiled for one environment and every device, an operation when it is first asked about."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self._program, self._environment = program, environment
        self._functions: dict[str, Decide] = {}

    def decide(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str]) -> Outcome:
        operation = self._program.operations[scope.operation]
        asked: Mapping[str, Value] = values
        if scope.view is not None or not all(name in values for name in operation.needs):
            asked = complete(self._program, scope, values).values
        function = self._functions.get(operation.name)
        if function is None:
            form = compile_operation(self._program, self._environment, {}, operation)
            function = self._functions[operation.name] = generate(form)
        return function(asked, arms)


def _tally(tally: Tally, share: float) -> Json:
    return {"records": tally.records, "calls": tally.calls, "share": share}


def _bounded(tallies: dict[Any, Tally], key: Any) -> Tally:
    """The tally of a key; past the bound a passing one, so that hostile logs cost no memory."""
    found = tallies.get(key)
    if found is None:
        found = Tally()
        if len(tallies) < _MOST_CAUSES:
            tallies[key] = found
    return found


def _example(entry: Entry, record: Record) -> Json:
    values = {
        name: f"{value[:_LONGEST_TEXT]}..." if isinstance(value, str) and len(value) > _LONGEST_TEXT else value
        for name, value in record["values"].items()
    }
    return {
        "file": entry.file,
        "line": entry.number,
        "time": record["time"],
        "operation": record["operation"],
        "values": values,
        "arms": record["arms"],
    }

"""Records of a log and a new policy -> what would have changed, counted in `Changes`.

A log may be compared in parts, in any processes: each part gives its own `Changes`, and these are merged in order.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.compiler.codegen import Decide, generate
from layerzero.compiler.compile import compile_operation
from layerzero.errors import ContextError
from layerzero.runtime.changes import MOST, Changes, Pair, Result
from layerzero.runtime.export import ExportError, SnapshotStore
from layerzero.runtime.log_parts import PART_BYTES, Part, parts, read_part
from layerzero.runtime.log_reader import Entry
from layerzero.runtime.record import Record
from layerzero.runtime.replay import ReplayError, read_inputs, redecide, restored
from layerzero.runtime.snapshot import CONTROL
from layerzero.runtime.spread import Cluster
from layerzero.runtime.vocabulary import Identity, Vocabulary
from layerzero.semantics.causes import Cause, causes
from layerzero.semantics.context import complete
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import enrol
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Failure, Outcome, Proof

_LONGEST_TEXT = 200
_ENVIRONMENTS = 8
_MEMO = 20_000
_PARTS = 4  # of a log for each worker, so that the last one to end is not waited for long


@dataclass(frozen=True, slots=True)
class Question:
    """What a log is compared with.

    Attributes:
        program: The new policy.
        offline: The environment of records whose own is not at hand; its packages are given to the others too.
        store: Exported snapshots.
        counts: Further calls of `distinct` records, by id.
        recorded: Whether a record is decided in the environment that it was decided in, where that is at hand.
        today: The day for all records; None takes each one's own.
    """

    program: Program
    offline: Environment
    store: SnapshotStore | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    recorded: bool = True
    today: date | None = None


def compare(question: Question, entries: Iterable[tuple[Entry, int]], most: int = MOST) -> Changes:
    """What the new policy changes of these entries, each of which stands for so many records.

    Args:
        most: See `Changes`.
    """
    return _Comparison(question).changes_of(entries, question.counts, most)


def compare_on(cluster: Cluster, question: Question, logs: Iterable[Path]) -> Changes:
    """The same of whole logs, in parts on many machines, which have to see the files.

    Raises:
        OSError: A log cannot be read.
        WorkersLostError: Part of a log ends every worker.
    """
    paths = list(logs)
    share = sum(path.stat().st_size for path in paths) // (_PARTS * cluster.workers)
    everything = [part for path in paths for part in parts(path, min(max(share, 2**20), PART_BYTES))]
    whole = compare(question, ())
    asked = (uuid4().hex, question)
    for part, found in zip(everything, cluster.spread(compare_part, asked, everything), strict=True):
        if found.taken & whole.taken:  # a record that two parts have: its further calls count once
            left = {id: count for id, count in question.counts.items() if id not in whole.taken}
            found = compare(replace(question, counts=left), ((entry, 1) for entry in read_part(part)), sys.maxsize)
        whole.merge(found)
    return whole


_at_hand: tuple[str, _Comparison] | None = None


def compare_part(asked: tuple[str, Question], part: Part) -> Changes:
    """The changes of a part, all of them. A process keeps what it has decided for the next part of the question."""
    global _at_hand
    name, question = asked
    if _at_hand is None or _at_hand[0] != name:
        _at_hand = (name, _Comparison(question))
    entries = ((entry, 1) for entry in read_part(part))
    return _at_hand[1].changes_of(entries, question.counts, most=sys.maxsize)


class _Comparison:
    """Decides records again, and keeps what it has decided."""

    def __init__(self, question: Question) -> None:
        self.program = question.program
        self._offline, self._store = question.offline, question.store
        self._recorded, self._today = question.recorded and question.store is not None, question.today
        self._packages = Vocabulary.of(question.program).all_packages
        self._environments: OrderedDict[str, tuple[Environment, bool]] = OrderedDict()
        self._answers: OrderedDict[str, _Answers] = OrderedDict()
        self._memo: dict[object, tuple[list[Cause], str | None]] = {}

    def changes_of(self, entries: Iterable[tuple[Entry, int]], counts: Mapping[str, int], most: int) -> Changes:
        program = self.program
        self.changes = Changes(Identity(program.name, program.version, program.digest), most)
        self._counts = dict(counts)
        for entry, times in entries:
            self._entry(entry, times)
        return self.changes

    def _entry(self, entry: Entry, times: int) -> None:
        record = entry.record
        if record is None:
            self.changes.problem(entry.file, entry.number, entry.problem, times)
            return
        calls, further = float(record["count"]), self._further(record["id"])
        if further:
            self._add(entry, record, calls + further, 1)
        if times > bool(further):
            self._add(entry, record, calls, times - bool(further))

    def _add(self, entry: Entry, record: Record, calls: float, times: int) -> None:
        changes = self.changes
        changes.traffic.count(calls, times)
        changes.recorded(record["policy"]["digest"]).count(calls, times)
        old = Result(record["kernel"], record["degraded"], record["error"])
        environment, key = self._environment(record, calls, times)
        scope, values, arms, outcome = self._decide(record, environment, key, calls, times)
        new = Result(outcome.kernel, outcome.degraded or bool(record["recovered_from"]), outcome.error)
        if outcome.kernel is None:
            new = replace(new, degraded=False)
            changes.errors.count(calls, times)
        if old.degraded:
            changes.degraded_before.count(calls, times)
        if new.degraded:
            changes.degraded_after.count(calls, times)
        if old != new:
            found, message = self._why(record, (old, new), (environment, key, scope, values, arms, outcome))
            pair = changes.pair(Pair(old, new, message, _example(entry, record)))
            changes.change(pair, found, calls, times)

    def _further(self, id: str | None) -> int:
        """The further calls of a `distinct` record, which count once."""
        found = self._counts.pop(id or "", 0)
        if found:
            self.changes.taken.add(id or "")
        return found

    # ------------------------------------------------------------ deciding again

    def _environment(self, record: Record, calls: float, times: int) -> tuple[Environment, str]:
        digest = record["snapshot"] if self._recorded else ""
        if digest not in self._environments:
            self._environments[digest] = self._read_environment(digest)
        self._environments.move_to_end(digest)
        while len(self._environments) > _ENVIRONMENTS:
            self._environments.popitem(last=False)
        environment, known = self._environments[digest]
        if self._recorded and not known:
            self.changes.note("decided in the assumed environment: their snapshot was not exported").count(calls, times)
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
            self.changes.note(
                f"counted as not installed, for the recorded machine was not asked: {', '.join(unknown)} (--package)"
            )
        return replace(found, packages={**found.packages, **given}), True

    def _decide(
        self, record: Record, environment: Environment, key: str, calls: float, times: int
    ) -> tuple[Scope | None, dict[str, Value], Mapping[str, str], Outcome]:
        try:
            scope, values, unknown = read_inputs(self.program, record)
            for name in unknown:
                self.changes.note(f"fields that the new policy does not declare: {name}").count(calls, times)
            arms = self._arms(record, values, environment)
            if key not in self._answers:
                self._answers[key] = _Answers(self.program, environment)
            self._answers.move_to_end(key)
            while len(self._answers) > _ENVIRONMENTS:
                self._answers.popitem(last=False)
            return scope, values, arms, self._answers[key].decide(scope, values, arms)
        except ContextError as error:
            text = f"cannot be decided by the new policy: {str(error)[:_LONGEST_TEXT]}"
            self.changes.note(text).count(calls, times)
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
                self.changes.note(f"their recorded proof cannot be rebuilt: {str(error)[:_LONGEST_TEXT]}")
            return None


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


def _example(entry: Entry, record: Record) -> dict[str, Any]:
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

"""A decision log and two sides -> how many of its calls each change moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerzero.analysis.difference import Change, Difference, Side
from layerzero.analysis.settle import outcome_of
from layerzero.check.program import Scope
from layerzero.cli.answers import Compiled
from layerzero.errors import ArgumentError, ContextError
from layerzero.runtime.log_reader import read_counts, read_log
from layerzero.runtime.record import Record
from layerzero.runtime.replay import read_inputs
from layerzero.semantics.context import complete
from layerzero.semantics.evaluate import Lookups
from layerzero.semantics.experiments import enrol

_MEMO = 20_000


@dataclass
class Weights:
    """`calls` of the log in all; `moved` for each change, by its place; `beside` are outside of every change."""

    calls: float = 0.0
    moved: dict[int, float] = field(default_factory=dict)
    beside: float = 0.0
    unreadable: int = 0


class _Weighing:
    def __init__(self, old: Side, new: Side, found: Difference) -> None:
        self.old, self.new, self.found = old, new, found
        self._answers = [Compiled(side.program, side.environment) for side in (old, new)]
        self._memo: dict[object, int | None] = {}
        self.weights = Weights()

    def add(self, record: Record, calls: float) -> None:
        try:
            scope, values, _ = read_inputs(self.old.program, record)
        except ContextError:
            self.weights.unreadable += 1
            return
        self.weights.calls += calls
        key = (scope, tuple(sorted(values.items(), key=lambda item: item[0])))
        if len(self._memo) >= _MEMO:
            self._memo.clear()
        if key not in self._memo:
            self._memo[key] = self._place(scope.operation, values)
        place = self._memo[key]
        if place is None:
            return
        if place < 0:
            self.weights.beside += calls
        else:
            self.weights.moved[place] = self.weights.moved.get(place, 0.0) + calls

    def _place(self, operation: str, values: dict[str, Any]) -> int | None:
        """The change that moves a call; None where it is decided alike, -1 where no change has it."""
        if operation not in self.new.program.operations or not self._differs(operation, values):
            return None
        proofs = [side.decide(operation, values, {}) for side in (self.old, self.new)]
        before, after = map(outcome_of, proofs)
        for place, change in enumerate(self.found.changes):
            if change.operation == operation and before in change.before and self._inside(change, values):
                return place
            if change.operation == operation and after in change.after and self._inside(change, values):
                return place
        return -1

    def _differs(self, operation: str, values: dict[str, Any]) -> bool:
        said = []
        for side, answer in zip((self.old, self.new), self._answers, strict=True):
            own = {**{n: v for n, v in values.items() if n in side.program.fields}, **side.device}
            found = answer(Scope(operation), own, enrol(side.program, own))
            error = found["error"]
            said.append((found["kernel"], found["degraded"], error["code"] if isinstance(error, dict) else None))
        return said[0] != said[1]

    def _inside(self, change: Change, values: dict[str, Any]) -> bool:
        program = change.region.space.program
        completed = complete(program, Scope(change.operation), {n: v for n, v in values.items() if n in program.fields})
        return change.region.contains(Lookups(completed.values, {}, enrol(program, values)))


def weigh(logs: Sequence[str], old: Side, new: Side, found: Difference) -> Weights:
    """Count the calls of decision logs.

    Raises:
        ArgumentError: A file is no decision log.
    """
    weighing = _Weighing(old, new, found)
    for log in logs:
        counts = read_counts(Path(log))
        for entry in read_log(Path(log)):
            record = entry.record
            if record is None:
                weighing.weights.unreadable += 1
                continue
            weighing.add(record, float(record["count"]) + counts.pop(record["id"] or "", 0))
    if not weighing.weights.calls and weighing.weights.unreadable:
        raise ArgumentError(f"{logs[0]} is no decision log of this policy: nothing in it could be read")
    return weighing.weights

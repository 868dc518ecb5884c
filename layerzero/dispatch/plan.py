"""An operation and shapes -> a plan: what a policy decides for calls that are still to come.

A plan is data: it names kernels and the digests of what decided, and can be stored. Loaded again it holds where the
digests are those in force (`made_by`); elsewhere its calls are decided anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerzero.check.expressions import Value
from layerzero.dispatch.call import Dispatcher
from layerzero.dispatch.inputs import scope_of
from layerzero.errors import ArgumentError
from layerzero.operations.shapes import fields_of
from layerzero.operations.tensors import name_of_dtype
from layerzero.runtime.decision import Decision
from layerzero.runtime.snapshot import Snapshot
from layerzero.runtime.vocabulary import Identity
from layerzero.semantics.context import read_context

SCHEMA = "lz.plan/1"


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """`(8, 2048, 32, 128)`, the context that it stands for, and its kernel, or the error where none serves."""

    shape: tuple[int, ...]
    context: Mapping[str, Value]
    kernel: str | None
    score: float | None
    degraded: bool
    error: str | None

    def __str__(self) -> str:
        served = f"error {self.error}" if self.kernel is None else f"{self.kernel} {self.score:g}"
        return f"{self.shape}: {served}{' degraded' if self.degraded else ''}"


@dataclass(frozen=True)
class Plan:
    """What was decided for some shapes of an operation. `policy` and `environment` name the snapshot that decided."""

    operation: str
    calls: tuple[PlannedCall, ...]
    policy: Identity
    environment: str

    @property
    def kernels(self) -> tuple[str, ...]:
        """The kernels that the plan calls, by id."""
        return tuple(sorted({call.kernel for call in self.calls if call.kernel is not None}))

    @property
    def buckets(self) -> Mapping[str, tuple[PlannedCall, ...]]:
        """Kernel -> the calls that it serves."""
        return {kernel: tuple(call for call in self.calls if call.kernel == kernel) for kernel in self.kernels}

    @property
    def errors(self) -> tuple[PlannedCall, ...]:
        """The calls that no kernel serves."""
        return tuple(call for call in self.calls if call.kernel is None)

    def made_by(self, snapshot: Snapshot) -> bool:
        """Whether this snapshot decides what the plan says."""
        return (self.policy.digest, self.environment) == (snapshot.identity.digest, snapshot.environment.digest)

    def __str__(self) -> str:
        name = self.policy.name or "the shipped policy"
        version = "" if self.policy.version is None else f" version {self.policy.version}"
        heading = f"plan of {self.operation} by {name}{version} {self.policy.digest[:12]}"
        return "\n".join([heading, *(f"  {call}" for call in self.calls)])

    def to_data(self) -> dict[str, Any]:
        """The plan as JSON's types."""
        return {
            "schema": SCHEMA,
            "operation": self.operation,
            "policy": [self.policy.name, self.policy.version, self.policy.digest],
            "environment": self.environment,
            "calls": [
                [list(one.shape), dict(one.context), one.kernel, one.score, one.degraded, one.error]
                for one in self.calls
            ],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_data(), ensure_ascii=False, indent=1)

    def save(self, path: str | Path) -> Path:
        """Write the plan as JSON."""
        Path(path).write_text(self.to_json() + "\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """A plan that was stored.

        Raises:
            FileNotFoundError: There is no such file.
            ArgumentError: It holds no plan.
        """
        try:
            return cls.from_data(json.loads(Path(path).read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise ArgumentError(f"{path} holds no plan: {error}") from error

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Plan:
        """What `to_data` gave.

        Raises:
            ValueError: Another schema.
        """
        if data["schema"] != SCHEMA:
            raise ValueError(f"wanted the schema `{SCHEMA}`, got `{data['schema']}`")
        calls = tuple(PlannedCall(tuple(shape), context, *rest) for shape, context, *rest in data["calls"])
        return cls(data["operation"], calls, Identity(*data["policy"]), data["environment"])


def make_plan(
    dispatcher: Dispatcher,
    operation: str,
    shapes: Iterable[Sequence[int]],
    device: Mapping[str, Value],
    dtype: object,
    fields: Mapping[str, Any],
) -> Plan:
    """Decide every shape by the policy in force.

    Raises:
        ArgumentError: A shape does not fit the operation, or there is none.
        ContextError: A field does not fit.
    """
    snapshot = dispatcher.engine.current()
    scope = scope_of(snapshot, operation)
    known = {name: value for name, value in device.items() if name in snapshot.vocabulary.types}
    given = {**known, "dtype": name_of_dtype(dtype), **fields}
    planned: dict[tuple[int, ...], PlannedCall] = {}
    for shape in shapes:
        context = {**fields_of(scope, shape), **given, "operation": operation}
        _, values = read_context(snapshot.program, context)
        planned[tuple(shape)] = _planned(tuple(shape), dispatcher.decide(scope, values))
    if not planned:
        raise ArgumentError("argument `shapes`: wanted at least one shape")
    return Plan(str(scope), tuple(planned.values()), snapshot.identity, snapshot.environment.digest)


def decided_anew(dispatcher: Dispatcher, plan: Plan) -> Plan:
    """The plan by the policy in force.

    Raises:
        ContextError: The policy in force knows no such operation, or not its fields.
    """
    snapshot = dispatcher.engine.current()
    if plan.made_by(snapshot):
        return plan
    scope = scope_of(snapshot, plan.operation)
    calls = []
    for call in plan.calls:
        _, values = read_context(snapshot.program, {**call.context, "operation": plan.operation})
        calls.append(_planned(call.shape, dispatcher.decide(scope, values)))
    return Plan(str(scope), tuple(calls), snapshot.identity, snapshot.environment.digest)


def _planned(shape: tuple[int, ...], decision: Decision) -> PlannedCall:
    context = dict(decision.values)
    return PlannedCall(shape, context, decision.kernel, decision.score, decision.degraded, decision.error)

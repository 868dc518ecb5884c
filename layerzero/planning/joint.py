"""The plan: values that are shared, a kernel for each layer and phase, and what each layer gave up for the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from layerzero.check.expressions import Value
from layerzero.errors import ArgumentError, UnknownNameError
from layerzero.runtime.decision import Decision
from layerzero.runtime.snapshot import Snapshot
from layerzero.runtime.vocabulary import Identity
from layerzero.semantics.proof import Reason

SCHEMA = "lz.joint_plan/1"


@dataclass(frozen=True, slots=True)
class Variable:
    """One choice: a field, for all layers that have the choice, or for those with `per` = `group`."""

    field: str
    per: str | None = None
    group: Value | None = None

    def __str__(self) -> str:
        return self.field if self.per is None else f"{self.field} (of {self.per} {spelt(self.group)})"


@dataclass(frozen=True)
class PlannedLayer:
    """One layer in one phase. `shared` are the values that it shares with others; `alone` are those that it would have
    for itself, and `preferred` the decision that they give: the same one where it gives up nothing."""

    layer: int
    phase: str | None
    shared: Mapping[Variable, Value]
    decision: Decision = field(repr=False)
    alone: Mapping[Variable, Value] = field(repr=False)
    preferred: Decision = field(repr=False)

    @property
    def operation(self) -> str:
        return str(self.decision.scope)

    @property
    def kernel(self) -> str:
        assert self.decision.kernel is not None
        return self.decision.kernel

    @property
    def score(self) -> float:
        return self.decision.score or 0.0

    @property
    def cost(self) -> float:
        """Points that it gives up; below 0 where the preferred one has fewer, and this one is degraded."""
        return (self.preferred.score or 0.0) - self.score

    @property
    def compromises(self) -> bool:
        """Whether it would do better with values of its own."""
        return self.shared != self.alone

    @property
    def reason(self) -> Reason | None:
        """What removes the preferred kernel under the shared values; None where it is the kernel, or is outranked."""
        reasons = self.decision.proof.rejected.get(self.preferred.kernel or "", ())
        return reasons[0] if reasons else None


@dataclass(frozen=True)
class JointPlan:
    """What `lz.plan` returns. `str()` is the plan; `explain()` also says what each layer gave up, and why."""

    snapshot: Snapshot = field(repr=False)
    shared: Mapping[Variable, Value]
    layers: tuple[PlannedLayer, ...]

    @property
    def policy(self) -> Identity:
        """Name, version and digest of the policy that decided."""
        return self.snapshot.identity

    @property
    def score(self) -> float:
        """The sum of all scores."""
        return sum(one.score for one in self.layers)

    @property
    def compromises(self) -> tuple[PlannedLayer, ...]:
        """The layers that would do better alone."""
        return tuple(one for one in self.layers if one.compromises)

    def made_by(self, snapshot: Snapshot) -> bool:
        """Whether this snapshot decides what the plan says."""
        own = self.snapshot
        return (own.identity.digest, own.environment.digest) == (snapshot.identity.digest, snapshot.environment.digest)

    def value(self, name: str, group: Any = None) -> Value:
        """The value of a shared field: `plan.value("page_size")`, `plan.value("graph_capture", "decode")`.

        Raises:
            UnknownNameError: Nothing of that name was chosen.
        """
        for variable, value in self.shared.items():
            if (variable.field, variable.group) == (name, group):
                return value
        raise UnknownNameError(f"the plan chose no `{name}`; it chose {', '.join(map(str, self.shared)) or 'nothing'}")

    def kernel(self, layer: int, phase: str | None = None, operation: str | None = None) -> str:
        """The kernel of a layer: `plan.kernel(7, "decode")`.

        Raises:
            UnknownNameError: The plan has no such layer.
            ArgumentError: It has several, with different kernels: say which phase or operation.
        """
        found = [
            one
            for one in self.layers
            if one.layer == layer
            and phase in (None, one.phase)
            and operation in (None, one.operation, one.decision.scope.operation)
        ]
        kernels = sorted({one.kernel for one in found})
        if len(kernels) > 1:
            raise ArgumentError(
                f"layer {layer} has several kernels ({', '.join(kernels)}): say which phase or operation"
            )
        if not kernels:
            words = " ".join(str(word) for word in (operation, phase) if word is not None)
            raise UnknownNameError(f"the plan has no layer {layer}{f' for {words}' if words else ''}")
        return kernels[0]

    # ------------------------------------------------------------ in words

    def __str__(self) -> str:
        return "\n".join(self._lines(explained=False))

    def explain(self) -> str:
        """The plan, and for each layer that would do better alone: with which kernel and values, what they cost the
        others, and the fact that bars the kernel here."""
        return "\n".join(self._lines(explained=True))

    def _lines(self, explained: bool) -> list[str]:
        name, alone = self.policy.name or "the shipped policy", sum(one.preferred.score or 0.0 for one in self.layers)
        lines = [f"plan by {name} ({self.policy.digest[:12]}): {self.score:g} points of {alone:g}"]
        for variable, value in self.shared.items():
            lines.append(f"  {variable} = {spelt(value)} for {self._sharing(variable)}")
        grouped: dict[tuple[str, ...], list[int]] = {}
        for one in self.layers:
            phase = "" if one.phase in (None, one.decision.scope.view) else f" {one.phase}"
            degraded = " degraded" if one.decision.degraded else ""
            said = f"{one.operation}{phase}: {one.kernel} {one.score:g}{degraded}"
            grouped.setdefault((said, *(self._compromise(one) if explained else ())), []).append(one.layer)
        for (said, *compromise), numbers in grouped.items():
            lines += [f"  {_layers(numbers)} {said}", *(f"    {line}" for line in compromise)]
        return lines

    def _compromise(self, one: PlannedLayer) -> Iterable[str]:
        if not one.compromises:
            return
        given_up = [
            f"{variable} is {spelt(value)}, not {spelt(one.alone[variable])}, for {self._sharing(variable)}"
            for variable, value in one.shared.items()
            if value != one.alone[variable]
        ]
        same = one.kernel == one.preferred.kernel
        takes = f"not {one.preferred.score or 0:g} points" if same else f"not {one.preferred.kernel}"
        yield f"{takes}: {'; '.join(given_up)}; costs {one.cost:g} points"
        if one.reason is not None:
            got = ", ".join(f"{name} = {spelt(value)}" for name, value in one.reason.got.items())
            yield f"`{one.reason.text}`{f', got {got}' if got else ''}, at {one.reason.at}"

    def _sharing(self, variable: Variable) -> str:
        return _layers([one.layer for one in self.layers if variable in one.shared])

    # ------------------------------------------------------------ for programs

    def rules(self) -> str:
        """The plan as locks of a policy: with them in force and `lz.context(layer=...)` around each layer, a call that
        its planned kernel cannot serve is an error.

        Raises:
            ArgumentError: A layer was asked for without its number.
        """
        if not all("layer" in one.decision.values for one in self.layers):
            raise ArgumentError("rules of a plan want a `layer` in each context that was planned")
        grouped: dict[tuple[str, str, str | None], list[int]] = {}
        for one in self.layers:
            phase = None if one.phase == one.decision.scope.view else one.phase
            grouped.setdefault((one.operation, one.kernel, phase), []).append(one.layer)
        shared = ", ".join(f"{variable} = {spelt(value)}" for variable, value in self.shared.items()) or "nothing"
        lines = [
            f"# A plan by {self.policy.name or 'the shipped policy'} ({self.policy.digest[:12]}). Shared: {shared}."
        ]
        for number, ((operation, kernel, phase), layers) in enumerate(grouped.items(), 1):
            where = f"layer in {{{_ranges(layers, '..')}}}" + (f" and phase == {phase}" if phase else "")
            lines.append(f'lock {kernel} for {operation} when {where} as plan_{number} because "planned"')
        return "\n".join(lines) + "\n"

    def to_data(self) -> dict[str, Any]:
        """The plan as JSON's types."""
        identity = self.policy
        return {
            "schema": SCHEMA,
            "policy": {"name": identity.name, "version": identity.version, "digest": identity.digest},
            "environment": self.snapshot.environment.digest,
            "score": self.score,
            "shared": [
                {"field": one.field, "per": one.per, "group": one.group, "value": value}
                for one, value in self.shared.items()
            ],
            "layers": [
                {
                    "layer": one.layer,
                    "operation": one.operation,
                    "phase": one.phase,
                    "kernel": one.kernel,
                    "score": one.score,
                    "degraded": one.decision.degraded,
                    "preferred": one.preferred.kernel,
                    "cost": one.cost,
                }
                for one in self.layers
            ],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_data(), ensure_ascii=False, default=str)


def spelt(value: Value | None) -> str:
    """A value as it is written in a policy."""
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _layers(numbers: Sequence[int]) -> str:
    return f"layer{'' if len(set(numbers)) == 1 else 's'} {_ranges(numbers, '-')}"


def _ranges(numbers: Iterable[int], dash: str) -> str:
    """0, 1, 2, 7 -> `0-2, 7`"""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}{dash}{high}" for low, high in spans)

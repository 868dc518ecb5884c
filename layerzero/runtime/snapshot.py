"""Program + environment -> an immutable thing that decides. All that may change later makes a new snapshot.

One matcher per device: what a process cannot change (device, SM) is evaluated when it is compiled. A context that
names no such device, as offline questions do, is served by a matcher for that device, made when first asked.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from layerzero.check.expressions import Constant, Value
from layerzero.check.program import Program, Scope
from layerzero.compiler import compile_program
from layerzero.compiler.matcher import Matcher, build
from layerzero.runtime.decision import Decision
from layerzero.semantics.context import asserted_values, complete, conjuncts
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import enrol

DEVICE_FIELDS = ("device", "device_name", "sm")

DeviceKey = tuple[Value | None, ...]


class Snapshot:
    """A policy compiled for an environment. Threads share it freely: nothing that it answers ever changes."""

    def __init__(
        self,
        program: Program,
        environment: Environment,
        devices: Sequence[Mapping[str, Value]] = (),
        epoch: int = 0,
    ) -> None:
        self.program = program
        self.environment = environment
        self.epoch = epoch
        self._fixed = tuple(name for name in DEVICE_FIELDS if name in program.fields)
        self._matchers: dict[DeviceKey, Matcher] = {}
        # A needed field with a literal default is never missing.
        self._needed = {
            name: tuple(field for field in operation.needs if not isinstance(program.fields[field].default, Constant))
            for name, operation in program.operations.items()
        }
        self._asserted: dict[Scope, Mapping[str, Value] | None] = {}
        self._compiling = threading.Lock()
        for device in devices:
            self.matcher(device)

    def matcher(self, values: Mapping[str, Value]) -> Matcher:
        """The matcher for the device that a context names."""
        key = tuple(values.get(name) for name in self._fixed)
        found = self._matchers.get(key)
        if found is not None:
            return found
        with self._compiling:
            if key not in self._matchers:
                fixed = dict(zip(self._fixed, key, strict=True))
                self._matchers[key] = build(compile_program(self.program, self.environment, fixed))
            return self._matchers[key]

    def decide(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str] | None = None) -> Decision:
        """Decide for validated values (see semantics.context.read_context).

        Args:
            scope: The operation; a view asserts its condition and fills in the fields that it names.
            values: Field -> value, before defaults; absent fields are left out.
            arms: Experiment -> arm; None enrols by the key fields of the values.

        Raises:
            ContextError: A needed field is missing, or the values contradict the asserted view.
        """
        if arms is None:
            arms = enrol(self.program, values) if self.program.experiments else {}
        asked = self._assert_view(scope, values) if scope.view is not None else values
        if asked is None or not all(name in asked for name in self._needed[scope.operation]):
            asked = complete(self.program, scope, values).values
        outcome = self.matcher(asked).decide(scope.operation, asked, arms)
        return Decision(self.program, self.environment, scope, values, arms, outcome, self.epoch)

    def _assert_view(self, scope: Scope, values: Mapping[str, Value]) -> Mapping[str, Value] | None:
        """The values with what the view fixes; None where only a completed context can tell whether it holds."""
        if scope not in self._asserted:
            assert scope.view is not None
            condition = self.program.operations[scope.operation].views[scope.view]
            fixed = asserted_values(self.program, condition)
            # Each conjunct fixes one field: then the view holds exactly when no given value contradicts it.
            self._asserted[scope] = fixed if len(fixed) == len(list(conjuncts(condition))) else None
        fixed_values = self._asserted[scope]
        if fixed_values is None or any(values.get(name, value) != value for name, value in fixed_values.items()):
            return None
        return {**fixed_values, **values}

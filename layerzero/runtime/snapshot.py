"""Program + environment -> an immutable thing that decides. All that may change later makes a new snapshot.

One matcher per device: what a process cannot change (device, SM) is evaluated when it is compiled. A context for
another device, as offline questions have, is served by a matcher made when it is first asked for.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

from layerzero import native
from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope, Text
from layerzero.compiler import compile_program
from layerzero.compiler.cell import cell_of
from layerzero.compiler.form import Form
from layerzero.compiler.matcher import Matcher, build
from layerzero.errors import ContextError
from layerzero.runtime.decision import Decision
from layerzero.runtime.region import Region
from layerzero.runtime.vocabulary import Identity, Vocabulary
from layerzero.semantics.context import complete
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import arm_of
from layerzero.semantics.interpret import decide as interpret
from layerzero.semantics.proof import Outcome

DEVICE_FIELDS = ("device", "device_name", "sm")
CONTROL = "control"
MOST_TOKENS = 4096

DeviceKey = tuple[Value | None, ...]
Compile = Callable[[Program, Environment, Mapping[str, Value | None]], Form]


class Snapshot:
    """A policy compiled for an environment. Threads share it freely: nothing that it answers ever changes.

    Attributes:
        vocabulary: The words that deciding needs.
        environment: What is taken for granted about the machine.
        epoch: 1, 2, ... in the engine that published it; 0 outside of one.
        devices: The device fields that it was compiled for from the start.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        environment: Environment,
        program: Program | Callable[[], Program],
        forms: Sequence[Form] = (),
        epoch: int = 0,
        texts: Sequence[Text] = (),
        compile: Compile = compile_program,
    ) -> None:
        self.vocabulary = vocabulary
        self.environment = environment
        self.epoch = epoch
        self._program = program
        self._texts = tuple(texts)
        self._compile = compile
        self.devices = tuple(form.fixed for form in forms)
        self._fixed = tuple(name for name in DEVICE_FIELDS if name in vocabulary.types)
        self._making = threading.Lock()
        self._tokens: dict[Hashable, object] = {}
        self._first = tuple(forms)
        self._matchers: dict[DeviceKey, Matcher] = {}
        for form in forms:
            self._matchers[tuple(form.fixed.get(name) for name in self._fixed)] = build(form)

    @classmethod
    def compiled(
        cls, program: Program, environment: Environment, devices: Sequence[Mapping[str, Value]] = (), epoch: int = 0
    ) -> Snapshot:
        """Compile a program here and now, for these devices."""
        fixed = [{name: device.get(name) for name in DEVICE_FIELDS if name in program.fields} for device in devices]
        forms = [compile_program(program, environment, one) for one in fixed]
        return cls(Vocabulary.of(program), environment, program, forms, epoch)

    def at(self, epoch: int) -> Snapshot:
        """The same snapshot as another epoch; for one that nobody has seen yet."""
        moved = copy.copy(self)
        moved.epoch = epoch
        return moved

    @property
    def identity(self) -> Identity:
        return self.vocabulary.identity

    @property
    def program(self) -> Program:
        """The checked program; built from the policy's text on first use where it was compiled elsewhere."""
        if not isinstance(self._program, Program):
            with self._making:
                if not isinstance(self._program, Program):
                    self._program = self._program()
        return self._program

    @property
    def texts(self) -> tuple[Text, ...]:
        """All texts that the program was checked from."""
        return self._texts or self.program.texts

    @property
    def own_texts(self) -> tuple[Text, ...]:
        """The texts that are known without building the program; perhaps none."""
        return self._texts

    @property
    def built(self) -> Program | None:
        """The program, if it has been built."""
        return self._program if isinstance(self._program, Program) else None

    def known_matcher(self, values: Mapping[str, Value]) -> Matcher | None:
        """The matcher for the device that a context names, if there is one already."""
        return self._matchers.get(tuple(values.get(name) for name in self._fixed))

    def matcher(self, values: Mapping[str, Value]) -> Matcher:
        """The matcher for the device that a context names."""
        key = tuple(values.get(name) for name in self._fixed)
        found = self._matchers.get(key)
        if found is not None:
            return found
        form = self._compile(self.program, self.environment, dict(zip(self._fixed, key, strict=True)))
        with self._making:
            return self._matchers.setdefault(key, build(form))

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
            arms = self.enrol(values)
        asked = self.asked(scope, values)
        outcome = self.matcher(asked).decide(scope.operation, asked, arms)
        return Decision(self, scope, values, arms, outcome)

    def pack(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str]) -> object | None:
        """The values as the native matcher reads them, completed for many decisions. None where there is no such
        matcher, and where deciding these values is an error."""
        if native.matcher is None:
            return None
        try:
            asked = self.asked(scope, values)
        except ContextError:
            return None
        function: Any = self.matcher(asked).function(scope.operation)
        packed: object = function.pack(asked, arms, self)
        return packed

    @cached_property
    def _rules_read(self) -> frozenset[str]:
        """The fields that calls on the devices compiled from the start can be decided by."""
        operations = (operation for form in self._first for operation in form.operations.values())
        given = frozenset(load.name for operation in operations for load in operation.loads)
        return given.union(*self.vocabulary.needed.values())

    def token(self, values: Mapping[str, Value], arms: Mapping[str, str]) -> object:
        """An object that stands for values which surround calls, and their arms: the same for all that rules of the
        devices compiled from the start cannot tell apart, None for nothing, NotImplemented where there are too many."""
        if any(name in values for name in DEVICE_FIELDS):
            return NotImplemented
        read = tuple(sorted(item for item in values.items() if item[0] in self._rules_read))
        if not read and not arms:
            return None
        key = (read, tuple(sorted(arms.items())))
        if len(self._tokens) >= MOST_TOKENS and key not in self._tokens:
            return NotImplemented
        return self._tokens.setdefault(key, key)

    def region(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str]) -> Region:
        """The contexts around this one that are decided alike.

        Raises:
            ContextError: As `decide`.
        """
        asked = self.asked(scope, values)
        form = self.matcher(asked).form
        cell = cell_of(form.operations[scope.operation], asked, arms)
        fixed = tuple((name, asked.get(name)) for name in self._fixed)
        return Region(self, scope, fixed, tuple(sorted(arms.items())), cell, cell.steps)

    def decide_slowly(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str]) -> Decision:
        """The same answer from the interpreter, for a snapshot that is not compiled yet.

        Raises:
            ContextError: As `decide`.
        """
        proof = interpret(self.program, self.environment, scope, values, arms)
        if proof.error is not None and proof.error.code == "invalid_context":
            raise ContextError(proof.error.message)
        return Decision(self, scope, values, arms, Outcome.of(proof))

    def enrol(self, values: Mapping[str, Value]) -> Mapping[str, str]:
        """The arm of each experiment that the given values are in; a stopped arm goes on as control."""
        arms: dict[str, str] = {}
        for name, experiment in self.vocabulary.experiments.items():
            value = values.get(experiment.key)
            arm = None if value is None else arm_of(experiment, value)
            if arm is not None and (name, arm) in self.environment.stopped_arms:
                arm = CONTROL if any(one.name == CONTROL for one in experiment.arms) else None
            if arm is not None:
                arms[name] = arm
        return arms

    def asked(self, scope: Scope, values: Mapping[str, Value]) -> Mapping[str, Value]:
        """The values with what an asserted view fills in.

        Raises:
            ContextError: As `decide`.
        """
        needed = self.vocabulary.needed.get(scope.operation)
        if needed is None:
            known = ", ".join(f"`{name}`" for name in self.vocabulary.needed)
            raise ContextError(f"policy `{self.identity.name}` has no operation `{scope.operation}`; it has {known}")
        asked = values if scope.view is None else self._assert_view(scope, values)
        if asked is None or not all(name in asked for name in needed):
            return complete(self.program, scope, values).values
        return asked

    def _assert_view(self, scope: Scope, values: Mapping[str, Value]) -> Mapping[str, Value] | None:
        """The values with what the view fixes; None where only a completed context can tell whether it holds."""
        fixed = self.vocabulary.views[scope]
        if fixed is None or any(values.get(name, value) != value for name, value in fixed.items()):
            return None
        return {**fixed, **values}

"""What all dispatch modes share: an engine with its own policy and registry, and one entry, `dispatch`.

The `lz.*` calls share one engine in a process; each dispatcher here has another, so that two can stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from layerzero.check.program import Scope
from layerzero.dispatch.call import Dispatcher
from layerzero.dispatch.inputs import read_inputs, scope_of
from layerzero.dispatch.inspection import Inspector, SelectedKernel
from layerzero.dispatch.registry import BackendRegistry, KernelRegistry, RegistryMachine
from layerzero.operations.device import present_devices
from layerzero.runtime.breakers import Breakers
from layerzero.runtime.building import Material
from layerzero.runtime.engine import Engine, Inputs, Status
from layerzero.runtime.explanation import Explanation

_IN_FORCE = nullcontext()


class ModeDispatcher:
    """Runs calls on an engine of its own.

    Attributes:
        engine: Holds the snapshot in force; rules, pins and swaps work on it as `lz.*` does on its own.
        calls: What runs kernels; sinks for logs and metrics are added here.
    """

    mode: ClassVar[str]

    def __init__(
        self,
        policy: str | Path | None = None,
        kernels: KernelRegistry | None = None,
        backends: BackendRegistry | None = None,
    ) -> None:
        registry = kernels or KernelRegistry.shipped()
        self.machine = RegistryMachine(present_devices, registry, backends or BackendRegistry.shipped())
        self.engine = Engine(self.machine)
        self._breakers = Breakers(self.engine)
        self.calls = Dispatcher(self.engine, self.machine, self._breakers)
        self._inspector = Inspector(self.calls)
        material = Material(
            path=None if policy is None else Path(policy),
            catalogs=registry.catalogs,
            registered=frozenset(registry.functions),
        )
        loaded = self.engine.builder.load(material)
        self.engine.say_warnings(loaded)
        self.engine.publish(Inputs(loaded))

    def dispatch(self, operation: str, inputs: Any, context: Mapping[str, Any] | None = None) -> Any:
        """Run the kernel that the policy chooses, and return what it returns.

        Args:
            operation: "attention", or a view: "attention.causal" is a causal call.
            inputs: The call's arguments: a tuple, a mapping of keywords, or the only one.
            context: Further fields for the rules, as `lz.Context(tenant="acme")` or a mapping.

        Raises:
            ArgumentError: The inputs or the context do not fit the operation.
            NoKernelError: No kernel may serve the call; it carries the whole decision.
        """
        snapshot = self.engine.current()
        scope = scope_of(snapshot, operation)
        call = read_inputs(snapshot, scope, inputs, context)
        with self._policy_of(scope):
            return self.calls.call(call, scope)

    def select(self, operation: str, context: Mapping[str, Any]) -> SelectedKernel:
        """The kernel for a context, ready to be called; raises as `dispatch`."""
        with self._policy_of(scope_of(self.engine.current(), operation)):
            return self._inspector.select(self._inspector.decide(operation, context, (), {}))

    def explain(self, operation: str, inputs: Any, context: Mapping[str, Any] | None = None) -> Explanation:
        """Why a call runs what it runs, and why nothing else; nothing is called."""
        snapshot = self.engine.current()
        scope = scope_of(snapshot, operation)
        values = read_inputs(snapshot, scope, inputs, context).context
        with self._policy_of(scope):
            return self.calls.decide(scope, values).explain()

    def status(self) -> Status:
        """The policy in force, its epoch and files, and the last failure."""
        return self.engine.status()

    def close(self) -> None:
        """End the dispatcher's threads and timers. Calls still work, nothing is watched any more."""
        self._breakers.close()
        self.engine.close()

    def _policy_of(self, scope: Scope) -> AbstractContextManager[None]:
        """The policy that serves an operation or view, where it is not the one in force."""
        return _IN_FORCE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

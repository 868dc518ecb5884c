"""One entry over several dispatchers: what is bound statically goes there, everything else is decided by policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from layerzero.dispatch.config import ConfigDispatcher
from layerzero.dispatch.dynamic import DynamicDispatcher
from layerzero.dispatch.hot_reload import HotReloadDispatcher
from layerzero.dispatch.inputs import scope_of
from layerzero.dispatch.mode import ModeDispatcher
from layerzero.dispatch.static import StaticDispatcher
from layerzero.runtime.engine import Status
from layerzero.runtime.explanation import Explanation


@dataclass(frozen=True, slots=True)
class OrchestratorStatus:
    """`modes` tells for each operation who serves it, with views that are bound of their own; `policy` is the state of
    the dispatcher that decides."""

    modes: Mapping[str, str]
    bindings: Mapping[str, tuple[str, ...]]
    policy: Status


class Orchestrator:
    """Chooses a mode for each operation.

    Attributes:
        static: Serves what is bound; None binds nothing.
        deciding: Serves everything else: dynamic, config-driven or hot-reloading.
    """

    def __init__(self, deciding: DynamicDispatcher, static: StaticDispatcher | None = None) -> None:
        self.deciding = deciding
        self.static = static

    def mode_for(self, operation: str) -> str:
        """`static`, `dynamic`, `config` or `hot_reload`.

        Raises:
            ContextError: There is no such operation.
        """
        return self._for(operation).mode

    def dispatch(self, operation: str, inputs: Any, context: Mapping[str, Any] | None = None) -> Any:
        """Run the kernel that is bound or decided; arguments and errors as of `ModeDispatcher.dispatch`."""
        return self._for(operation).dispatch(operation, inputs, context)

    def explain(self, operation: str, inputs: Any, context: Mapping[str, Any] | None = None) -> Explanation:
        """Why a call would run what it runs; nothing is called."""
        return self._for(operation).explain(operation, inputs, context)

    def status(self) -> OrchestratorStatus:
        """Who serves what, and the policy of those that are decided."""
        snapshot = self.deciding.engine.current()
        names = sorted(snapshot.vocabulary.needed)
        bindings = {} if self.static is None else dict(self.static.bindings)
        modes = {name: self.mode_for(name) for name in (*names, *(b for b in bindings if b not in names))}
        return OrchestratorStatus(modes, bindings, self.deciding.status())

    def close(self) -> None:
        """Close both dispatchers."""
        self.deciding.close()
        if self.static is not None:
            self.static.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _for(self, operation: str) -> ModeDispatcher:
        scope_of(self.deciding.engine.current(), operation)  # an unknown name is an error, whoever serves it
        static = self.static
        return static if static is not None and static.binds(operation) else self.deciding


def create_orchestrator(
    static: StaticDispatcher | None = None,
    config_path: str | Path | None = None,
    watch_interval_seconds: float | None = None,
) -> Orchestrator:
    """An orchestrator that owns its dispatchers; closing it closes them.

    Args:
        static: What is bound; None binds nothing.
        config_path: The policy of everything else; None means the shipped rules alone.
        watch_interval_seconds: Follow the file at this interval; None reads it once.
    """
    if config_path is None:
        return Orchestrator(DynamicDispatcher(), static)
    if watch_interval_seconds is None:
        return Orchestrator(ConfigDispatcher(config_path), static)
    return Orchestrator(HotReloadDispatcher(config_path, watch_interval_seconds), static)

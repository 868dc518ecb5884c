"""select -> call -> trace: from a call's arguments to the kernel's result; and the dispatch modes, loaded on use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerzero.dispatch.config import ConfigDispatcher, create_config_dispatcher
    from layerzero.dispatch.dynamic import DynamicDispatcher, create_dynamic_dispatcher
    from layerzero.dispatch.hot_reload import HotReloadDispatcher, create_hot_reload_dispatcher
    from layerzero.dispatch.orchestrator import Orchestrator, create_orchestrator
    from layerzero.dispatch.registry import BackendRegistry, KernelRegistry
    from layerzero.dispatch.static import StaticDispatcher, StaticDispatcherBuilder

_HOME = {
    "StaticDispatcher": "static",
    "StaticDispatcherBuilder": "static",
    "DynamicDispatcher": "dynamic",
    "create_dynamic_dispatcher": "dynamic",
    "ConfigDispatcher": "config",
    "create_config_dispatcher": "config",
    "HotReloadDispatcher": "hot_reload",
    "create_hot_reload_dispatcher": "hot_reload",
    "Orchestrator": "orchestrator",
    "create_orchestrator": "orchestrator",
    "KernelRegistry": "registry",
    "BackendRegistry": "registry",
}

__all__ = [
    "BackendRegistry",
    "ConfigDispatcher",
    "DynamicDispatcher",
    "HotReloadDispatcher",
    "KernelRegistry",
    "Orchestrator",
    "StaticDispatcher",
    "StaticDispatcherBuilder",
    "create_config_dispatcher",
    "create_dynamic_dispatcher",
    "create_hot_reload_dispatcher",
    "create_orchestrator",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module `layerzero.dispatch` has no attribute `{name}`")
    value = getattr(import_module(f"layerzero.dispatch.{_HOME[name]}"), name)
    globals()[name] = value
    return value

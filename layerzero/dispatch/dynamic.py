"""The dynamic mode: every call is decided by the policy in force, which may be changed at any time."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from layerzero.dispatch.mode import ModeDispatcher
from layerzero.dispatch.registry import BackendRegistry, KernelRegistry
from layerzero.runtime.policy import Policy


class DynamicDispatcher(ModeDispatcher):
    """Decides every call by a policy."""

    mode: ClassVar[str] = "dynamic"

    def configure(self, policy: str | Path | Policy) -> Policy:
        """Put another policy in force; one with errors raises PolicyError and changes nothing."""
        return self.engine.configure(policy)


def create_dynamic_dispatcher(
    kernel_registry: KernelRegistry | None = None,
    backend_registry: BackendRegistry | None = None,
    policy: str | Path | None = None,
) -> DynamicDispatcher:
    """A dispatcher that decides every call.

    Args:
        kernel_registry: The kernels that it may use; None means all of the shipped and installed catalogs.
        backend_registry: The backends that it may ask; None means all.
        policy: `.lzp`, YAML or a folder; None means the shipped rules alone.

    Raises:
        FileNotFoundError: There is no such policy.
        PolicyError: The policy, or the catalog of a registered kernel, has errors.
        UnknownNameError: A registry names what no catalog declares.
    """
    return DynamicDispatcher(policy, kernel_registry, backend_registry)

"""A dispatcher that a file configures: `dispatch_config.yaml`, a YAML policy, `.lzp`, or a folder; read once."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from layerzero.dispatch.dynamic import DynamicDispatcher
from layerzero.dispatch.registry import BackendRegistry, KernelRegistry


class ConfigDispatcher(DynamicDispatcher):
    """Decides every call by the policy in one file."""

    mode: ClassVar[str] = "config"

    def __init__(
        self,
        config_path: str | Path,
        kernels: KernelRegistry | None = None,
        backends: BackendRegistry | None = None,
    ) -> None:
        self.config_path = Path(config_path)
        super().__init__(self.config_path, kernels, backends)

    def reload(self) -> None:
        """Read the file again.

        Raises:
            FileNotFoundError: It is gone; what was in force stays.
            PolicyError: It has errors; what was in force stays.
        """
        self.configure(self.config_path)


def create_config_dispatcher(
    config_path: str | Path,
    kernel_registry: KernelRegistry | None = None,
    backend_registry: BackendRegistry | None = None,
) -> ConfigDispatcher:
    """A dispatcher with the policy of a file, which is read now and not watched.

    Raises:
        FileNotFoundError: There is no such file.
        PolicyError: It has errors; the message shows each with its place.
    """
    return ConfigDispatcher(config_path, kernel_registry, backend_registry)

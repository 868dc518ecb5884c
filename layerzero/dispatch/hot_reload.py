"""A dispatcher that follows its file: another version is put in force as one step, a broken one changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from layerzero.dispatch.dynamic import DynamicDispatcher
from layerzero.dispatch.registry import BackendRegistry, KernelRegistry
from layerzero.errors import ArgumentError
from layerzero.runtime.failures import Failure
from layerzero.runtime.live import Live, Watch


class HotReloadDispatcher(DynamicDispatcher):
    """Decides every call by the newest good version of a file, which the watcher of `lz.configure` follows."""

    mode: ClassVar[str] = "hot_reload"

    def __init__(
        self,
        config_path: str | Path,
        watch_interval_seconds: float = 1.0,
        kernels: KernelRegistry | None = None,
        backends: BackendRegistry | None = None,
        on_failure: Callable[[Failure], None] | None = None,
    ) -> None:
        if not 0 < watch_interval_seconds <= 86_400:
            raise ArgumentError(
                f"argument `watch_interval_seconds`: wanted a number above 0, at most a day, "
                f"given {watch_interval_seconds!r}"
            )
        self.config_path = Path(config_path)
        super().__init__(None, kernels, backends)
        self._live = Live(self.engine)
        # Without watchdog a change is seen a little later, at the next look; nothing else is different.
        watch: Watch = True if find_spec("watchdog") is not None else "poll"
        try:
            self._live.configure(self.config_path, watch, on_failure, interval=watch_interval_seconds)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the watching and its thread; what is in force stays."""
        self._live.stop()
        super().close()


def create_hot_reload_dispatcher(
    config_path: str | Path,
    watch_interval_seconds: float = 1.0,
    kernel_registry: KernelRegistry | None = None,
    backend_registry: BackendRegistry | None = None,
    on_failure: Callable[[Failure], None] | None = None,
) -> HotReloadDispatcher:
    """A dispatcher that follows a `dispatch_config.yaml`, YAML policy, `.lzp` file or folder. Close it, or use `with`.

    Args:
        config_path: Read now; the first version must be good.
        watch_interval_seconds: How often the files are looked at besides the hints of the system.
        kernel_registry: As in `create_dynamic_dispatcher`.
        backend_registry: As in `create_dynamic_dispatcher`.
        on_failure: Called once for each version that is refused, from the watching thread.

    Raises:
        FileNotFoundError: There is no such file.
        PolicyError: It has errors.
    """
    return HotReloadDispatcher(config_path, watch_interval_seconds, kernel_registry, backend_registry, on_failure)

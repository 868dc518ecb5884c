"""A dispatcher that follows its file: another version is put in force as one step, a broken one changes nothing."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar

from layerzero.dispatch.config import ConfigDispatcher
from layerzero.dispatch.registry import BackendRegistry, KernelRegistry
from layerzero.errors import ArgumentError, LayerZeroError

log = logging.getLogger("layerzero")

Stamp = tuple[tuple[str, str, str], ...]  # name, where its links lead, digest of its bytes
_SETTLED = 0.05  # seconds in which a file that is being written must not change


class HotReloadDispatcher(ConfigDispatcher):
    """Decides every call by the newest good version of a file.

    Attributes:
        on_failure: Told the message of each version that could not be put in force, once.
    """

    mode: ClassVar[str] = "hot_reload"

    def __init__(
        self,
        config_path: str | Path,
        watch_interval_seconds: float = 1.0,
        kernels: KernelRegistry | None = None,
        backends: BackendRegistry | None = None,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        if not 0 < watch_interval_seconds <= 86_400:
            raise ArgumentError(
                f"argument `watch_interval_seconds`: wanted a number above 0, at most a day, "
                f"given {watch_interval_seconds!r}"
            )
        self.on_failure = on_failure
        self._interval = watch_interval_seconds
        self._ended = threading.Event()
        super().__init__(config_path, kernels, backends)
        self._read = self._in_force()
        self._thread = threading.Thread(target=self._watch, name="layerzero-hot-reload", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watching and its thread; what is in force stays."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        super().close()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            self._look()

    def _look(self) -> None:
        """One look: reload where a file differs from what was read last, whatever its time says."""
        now = _stamp(self._files())
        if now == self._read:
            return
        while True:  # a file that is being written is waited for
            if self._ended.wait(min(_SETTLED, self._interval)):
                return
            again = _stamp(self._files())
            if again == now:
                break
            now = again
        try:
            self.reload()
        except (LayerZeroError, OSError) as error:
            self._read = now
            self._report(str(error))
        else:
            self._read = self._in_force()
            log.info("%s: version %s is in force", self.config_path, self.engine.current().identity.digest[:12])

    def _files(self) -> list[Path]:
        """The file, and what the version in force was read from besides."""
        return [self.config_path, *(Path(name) for name in self.status().files if name != str(self.config_path))]

    def _in_force(self) -> Stamp:
        """The stamp of the texts that were really read: an edit since then is a change, however soon it came."""
        texts = {text.source.name: text.source.text for text in self.engine.current().texts}
        return tuple(
            (
                str(path),
                os.path.realpath(path),
                _digest_of(texts[str(path)].encode()) if str(path) in texts else _digest(path),
            )
            for path in self._files()
        )

    def _report(self, message: str) -> None:
        log.error("%s: the version before stays in force: %s", self.config_path, message)
        if self.on_failure is not None:
            try:
                self.on_failure(message)
            except Exception:  # the watching goes on whatever a callback does
                log.exception("on_failure of %s failed", self.config_path)


def _stamp(paths: Iterable[Path]) -> Stamp:
    """What tells versions apart: not the time of a file, which an edit may leave as it was."""
    return tuple((str(path), os.path.realpath(path), _digest(path)) for path in paths)


def _digest(path: Path) -> str:
    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file() and one.suffix in (".lzp", ".yaml", ".yml"))
        return "\n".join(f"{one} {_digest(one)}" for one in files)
    try:
        return _digest_of(path.read_bytes())
    except OSError as error:
        return f"<{error.strerror}>"


def _digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def create_hot_reload_dispatcher(
    config_path: str | Path,
    watch_interval_seconds: float = 1.0,
    kernel_registry: KernelRegistry | None = None,
    backend_registry: BackendRegistry | None = None,
    on_failure: Callable[[str], None] | None = None,
) -> HotReloadDispatcher:
    """A dispatcher that follows a `dispatch_config.yaml`, YAML policy, `.lzp` file or folder. Close it, or use `with`.

    Args:
        config_path: Read now; the first version must be good.
        watch_interval_seconds: How often the file is looked at.
        kernel_registry: As in `create_dynamic_dispatcher`.
        backend_registry: As in `create_dynamic_dispatcher`.
        on_failure: Called once for each version that has errors, with the message, from the watching thread.

    Raises:
        FileNotFoundError: There is no such file.
        PolicyError: It has errors.
    """
    return HotReloadDispatcher(config_path, watch_interval_seconds, kernel_registry, backend_registry, on_failure)

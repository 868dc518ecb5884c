"""Circuit breakers: a kernel that keeps raising is taken out of decisions, and let back in by one trial call.

Closed: failures in a row are counted, per kernel and device. Open: the kernel is infeasible (an epoch says so), until
a cool-down has passed. Half-open: exactly one call goes through; it closes the breaker or opens it again.
Serving threads only ever read `open`; epochs are published by a thread of this module.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from time import monotonic
from types import MappingProxyType

from layerzero.runtime.engine import Engine

log = logging.getLogger("layerzero")


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Opens after `failures` in a row; tries again after `cool_down` seconds."""

    failures: int = 3
    cool_down: float = 30.0


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    opened_at: float | None = None
    trying: bool = False


class Breakers:
    """The breakers of one engine.

    Attributes:
        open: Kernel id -> why, of kernels that are out right now; replaced, never changed in place.
    """

    def __init__(
        self, engine: Engine, settings: BreakerSettings | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self.settings = settings or BreakerSettings()
        self.open: Mapping[str, str] = MappingProxyType({})
        self.listeners: list[Callable[[str, str], None]] = []  # told (kernel, "open" | "half_open" | "closed")
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._breakers: dict[tuple[str, str], _Breaker] = {}
        self._wanted: SimpleQueue[None] = SimpleQueue()
        self._publisher: threading.Thread | None = None
        self._closed = False

    def failed(self, kernel: str, device: str, reason: str) -> None:
        """Count a failure; may open the breaker."""
        with self._lock:
            breaker = self._breakers.setdefault((kernel, device), _Breaker())
            breaker.failures += 1
            opens = breaker.trying or breaker.failures >= self.settings.failures
            if not opens:
                return
            breaker.opened_at, breaker.trying = self._clock(), False
            self._say(kernel, "open", f"{breaker.failures} failures in a row on {device}, the last: {reason}")

    def succeeded(self, kernel: str, device: str) -> None:
        """Forget failures; closes a half-open breaker. Costs one look-up where nothing has failed."""
        if (kernel, device) not in self._breakers:
            return
        with self._lock:
            breaker = self._breakers.pop((kernel, device), None)
            if breaker is not None and breaker.opened_at is not None:
                self._say(kernel, "closed", "")

    def may_try(self, kernel: str, device: str) -> bool:
        """Whether this very call is the one that tries an open breaker's kernel again."""
        with self._lock:
            breaker = self._breakers.get((kernel, device))
            if breaker is None or breaker.opened_at is None or breaker.trying:
                return False
            if self._clock() - breaker.opened_at < self.settings.cool_down:
                return False
            breaker.trying = True
            log.warning("breaker of `%s` is half open: one call tries it on %s", kernel, device)
            self._tell(kernel, "half_open")
            return True

    def close(self) -> None:
        """End the thread that publishes; breakers that are open stay so."""
        self._closed = True
        self._wanted.put(None)
        publisher = self._publisher
        if publisher is not None and publisher is not threading.current_thread():
            publisher.join(5.0)

    def _say(self, kernel: str, state: str, why: str) -> None:
        """Change `open`, log it, and have an epoch published; the lock is held."""
        left = {name: reason for name, reason in self.open.items() if name != kernel}
        if state == "open":
            left[kernel] = why
            log.error("breaker of `%s` opened: %s", kernel, why)
        else:
            log.warning("breaker of `%s` closed", kernel)
        self.open = MappingProxyType(left)
        self._tell(kernel, state)
        self._wanted.put(None)
        if self._publisher is None:
            self._publisher = threading.Thread(target=self._publish, name="layerzero-breakers", daemon=True)
            self._publisher.start()

    def _tell(self, kernel: str, state: str) -> None:
        for listener in self.listeners:
            listener(kernel, state)

    def _publish(self) -> None:
        """The thread: an epoch for each change, and one when a cool-down has passed, so that calls choose the kernel
        again; `open` still stops all of them but the one that tries."""
        while True:
            with suppress(Empty):
                self._wanted.get(timeout=self._until_due())
                while True:
                    self._wanted.get_nowait()
            if self._closed:
                return
            barred = MappingProxyType({name: why for name, why in self.open.items() if not self._cooled(name)})
            self._engine.change(lambda inputs, barred=barred: replace(inputs, open_breakers=barred))  # type: ignore[misc]

    def _until_due(self) -> float | None:
        """Seconds to the next end of a cool-down, None where there is none to wait for."""
        with self._lock:
            opened = [breaker.opened_at for breaker in self._breakers.values() if breaker.opened_at is not None]
        waits = [at + self.settings.cool_down - self._clock() for at in opened]
        coming = [wait for wait in waits if wait > 0]
        return min(coming) + 0.001 if coming else None

    def _cooled(self, kernel: str) -> bool:
        with self._lock:
            opened = [
                b.opened_at for (name, _), b in self._breakers.items() if name == kernel and b.opened_at is not None
            ]
        return all(self._clock() - at >= self.settings.cool_down for at in opened)

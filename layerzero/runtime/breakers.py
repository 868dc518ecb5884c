"""Circuit breakers: a kernel that keeps raising is taken out of decisions, and let back in by one trial call.

Closed: failures in a row are counted, per kernel and device. Open: the kernel is infeasible on that device (an epoch
says so), until a cool-down has passed. Half-open: exactly one call goes through; it closes the breaker or opens it
again. Serving threads only ever read `open`; epochs are published by a thread of this module.
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

from layerzero.errors import ArgumentError
from layerzero.runtime.engine import Engine
from layerzero.semantics.environment import on_device

log = logging.getLogger("layerzero")


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Opens after `failures` in a row; tries again after `cool_down` seconds. Of each `1 / nan_rate` calls the result
    of one is searched for NaN, which counts as a failure where the reference has none; 0 searches none."""

    failures: int = 3
    cool_down: float = 30.0
    nan_rate: float = 0.0

    def __post_init__(self) -> None:
        for name, value, wanted, fits in (
            ("failures", self.failures, "a whole number of at least 1", isinstance(self.failures, int)),
            ("cool_down", self.cool_down, "seconds, 0 or more", self.cool_down >= 0),
            ("nan_rate", self.nan_rate, "a share from 0 to 1", 0 <= self.nan_rate <= 1),
        ):
            if not fits or (name == "failures" and value < 1):
                raise ArgumentError(f"argument `{name}`: wanted {wanted}, given {value!r}")


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    opened_at: float | None = None
    trying: int | None = None  # the thread whose call tries the kernel again
    tried_at: float = 0.0


class Breakers:
    """The breakers of one engine.

    Attributes:
        open: `fast.one on cuda` -> why, of kernels that are out right now; replaced, never changed in place.
        failures: How many were counted since the process began.
    """

    __slots__ = ("__dict__", "__weakref__", "_breakers")  # the native entry reads it where it lies

    def __init__(
        self, engine: Engine, settings: BreakerSettings | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self.settings = settings or BreakerSettings()
        self.open: Mapping[str, str] = MappingProxyType({})
        self.failures = 0
        self.listeners: list[Callable[[str, str], None]] = []  # told (`fast.one on cuda`, "open"|"half_open"|"closed")
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
            self.failures += 1
            breaker = self._breakers.setdefault((kernel, device), _Breaker())
            breaker.failures += 1
            if breaker.trying is None and breaker.failures < self.settings.failures:
                return
            breaker.opened_at, breaker.trying = self._clock(), None
            where = f" on {device}" if device else ""
            why = f"{breaker.failures} failures in a row{where}, the last: {reason}"
            self._say(on_device(kernel, device), "open", why)

    def succeeded(self, kernel: str, device: str) -> None:
        """Forget failures; closes a half-open breaker. Costs one look-up where nothing has failed."""
        if (kernel, device) not in self._breakers:
            return
        with self._lock:
            breaker = self._breakers.get((kernel, device))
            if breaker is None:
                return
            if breaker.opened_at is not None and breaker.trying != threading.get_ident():
                return  # it began before the breaker opened, and says nothing of what was since
            # INVARIANT: where `open` has a kernel, `_breakers` has one too; quick calls look at the latter alone.
            if breaker.opened_at is not None:
                self._say(on_device(kernel, device), "closed", "")
            del self._breakers[kernel, device]

    def undecided(self, kernel: str, device: str) -> None:
        """A call ended without a word on the kernel (wrong arguments, an interrupt); another one may try it."""
        if (kernel, device) not in self._breakers:
            return
        with self._lock:
            breaker = self._breakers.get((kernel, device))
            if breaker is not None and breaker.trying == threading.get_ident():
                breaker.trying = None

    def is_open(self, kernel: str, device: str) -> bool:
        """Whether a kernel is out on a device."""
        return on_device(kernel, device) in self.open

    def may_try(self, kernel: str, device: str) -> bool:
        """Whether this very call is the one that tries an open breaker's kernel again; then it has to be made, and
        `succeeded`, `failed` or `undecided` told of it from this thread. One that never ends blocks no other for more
        than a cool-down."""
        with self._lock:
            breaker, now = self._breakers.get((kernel, device)), self._clock()
            if breaker is None or breaker.opened_at is None or now - breaker.opened_at < self.settings.cool_down:
                return False
            if breaker.trying is not None and now - breaker.tried_at < self.settings.cool_down:
                return False
            breaker.trying, breaker.tried_at = threading.get_ident(), now
            name = on_device(kernel, device)
            log.warning("breaker of `%s` is half open: one call tries it", name)
            self._tell(name, "half_open")
            return True

    def close(self) -> None:
        """End the thread that publishes; breakers that are open stay so."""
        self._closed = True
        self._wanted.put(None)
        publisher = self._publisher
        if publisher is not None and publisher is not threading.current_thread():
            publisher.join(5.0)

    def _say(self, name: str, state: str, why: str) -> None:
        """Change `open`, log it, and have an epoch published; the lock is held."""
        left = {one: reason for one, reason in self.open.items() if one != name}
        if state == "open":
            left[name] = why
            log.error("breaker of `%s` opened: %s", name, why)
        else:
            log.warning("breaker of `%s` closed", name)
        self.open = MappingProxyType(left)
        self._tell(name, state)
        self._wanted.put(None)
        if self._publisher is None:
            self._publisher = threading.Thread(target=self._publish, name="layerzero-breakers", daemon=True)
            self._publisher.start()

    def _tell(self, name: str, state: str) -> None:
        for listener in self.listeners:
            listener(name, state)

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

    def _cooled(self, name: str) -> bool:
        with self._lock:
            opened = [breaker.opened_at for key, breaker in self._breakers.items() if on_device(*key) == name]
        return all(at is None or self._clock() - at >= self.settings.cool_down for at in opened)

"""Where telemetry meets the dispatchers of this process: whoever decides connects, whoever watches listens.

Telemetry stands below dispatch and imports none of it; until somebody listens, nothing is told of a call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from layerzero.runtime.engine import Engine
from layerzero.runtime.record import Called

Sink = Callable[[Called], None]


class Dispatches(Protocol):
    """A dispatcher, as far as telemetry knows it."""

    def add_sink(self, sink: Any) -> None: ...

    def remove_sink(self, sink: Any) -> None: ...


class BreaksCircuits(Protocol):
    """The breakers of a dispatcher."""

    open: Mapping[str, str]
    listeners: list[Callable[[str, str], None]]


class ArmCounts(Protocol):
    """The outcomes of one arm: requests, and calls outside of them."""

    @property
    def experiment(self) -> str: ...
    @property
    def arm(self) -> str: ...
    @property
    def requests(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def latency_ms_sum(self) -> float: ...
    @property
    def stopped(self) -> bool: ...


@dataclass(frozen=True)
class Deciding:
    """One engine with its dispatcher. `dropped` counts lost records of decision logs, `arms` gives the outcomes."""

    dispatcher: Dispatches
    engine: Engine
    breakers: BreaksCircuits
    dropped: Callable[[], int] = lambda: 0
    arms: Callable[[], Sequence[ArmCounts]] = lambda: ()


class Listener(Protocol):
    """Somebody who watches."""

    def attach(self, deciding: Deciding) -> None: ...


class Feed:
    """Brings those who decide and those who watch together, in whichever order they come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deciding: list[Deciding] = []
        self._listeners: list[Listener] = []

    def connect(self, deciding: Deciding) -> None:
        with self._lock:
            self._deciding.append(deciding)
            listeners = list(self._listeners)
        for listener in listeners:
            listener.attach(deciding)

    def listen(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.append(listener)
            deciding = list(self._deciding)
        for one in deciding:
            listener.attach(one)

    def leave(self, listener: Listener) -> None:
        """Not told of those who connect later; what it has attached, it takes off itself."""
        with self._lock:
            self._listeners = [one for one in self._listeners if one is not listener]


FEED = Feed()

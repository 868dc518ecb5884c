"""The decision logs of one dispatcher: opens them, and knows what they have dropped."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from layerzero.dispatch.call import Dispatcher
from layerzero.runtime.decision_log import DecisionLog, Mode, open_destination
from layerzero.runtime.export import SnapshotStore
from layerzero.runtime.log_files import Destination, JsonLines, Parquet, beside


class DecisionLogs:
    """Opens logs; a log that is closed leaves the dispatcher, and its drops stay counted."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._lock = threading.Lock()
        self._open: list[DecisionLog] = []
        self._of_closed = 0

    @property
    def dropped(self) -> int:
        """Records lost by all logs since the process began."""
        with self._lock:
            return self._of_closed + sum(one.dropped for one in self._open)

    def open(
        self,
        destination: str | os.PathLike[str] | Destination,
        mode: Mode,
        rate: float,
        capacity: int,
        max_bytes: int | None,
        keep: int,
        snapshots: str | os.PathLike[str] | None,
    ) -> DecisionLog:
        """A log of this dispatcher's calls. See `layerzero.log_decisions`."""
        where = open_destination(destination, capacity, max_bytes, keep)
        store = _store(where, snapshots)
        made = DecisionLog(where, mode, rate=rate, capacity=capacity, store=store, closed=self._closed)
        with self._lock:
            self._open.append(made)
        if made.sink is not None:
            self._dispatcher.add_sink(made.sink)
        return made

    def _closed(self, one: DecisionLog) -> Callable[[], None]:
        """Take a log's sink off; returns what to do once it has ended."""
        if one.sink is not None:
            self._dispatcher.remove_sink(one.sink)

        def ended() -> None:
            with self._lock:
                if one in self._open:
                    self._open.remove(one)
                    self._of_closed += one.dropped

        return ended


def _store(where: Destination, snapshots: str | os.PathLike[str] | None) -> SnapshotStore | None:
    if snapshots is None:
        return None
    if snapshots == "beside":
        return SnapshotStore(beside(where.path)) if isinstance(where, JsonLines | Parquet) else None
    return SnapshotStore(Path(snapshots))

"""Says things once: a warning for each distinct reason, not for each call."""

from __future__ import annotations

import threading

_LIMIT = 1024


class Once:
    """Remembers what was said, up to a bound; past it the oldest may be said again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[object, None] = {}

    def first(self, what: object) -> bool:
        """Whether this is the first time; later calls with the same are False."""
        if what in self._said:
            return False
        with self._lock:
            if what in self._said:
                return False
            if len(self._said) >= _LIMIT:
                del self._said[next(iter(self._said))]
            self._said[what] = None
            return True

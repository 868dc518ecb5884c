"""How often calls of kernels fail, before a candidate and under it -> whether they fail more often now.

A breaker opens after failures in a row; a kernel that fails now and then opens none, and is seen here.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 600.0  # seconds before a candidate that it is compared with
LEAST_SECONDS = 60.0  # of them; a node that has just started has nothing to compare with
LEAST_FAILURES = 10
FACTOR = 3.0


def risen(failures: int, seconds: float, before: int, seconds_before: float) -> str | None:
    """`12 calls failed in 40 s, 1 in the 600 s before`; None where that is no more often than before."""
    if failures < LEAST_FAILURES or seconds_before < LEAST_SECONDS:
        return None
    expected = before / seconds_before * seconds
    if failures <= FACTOR * expected:
        return None
    return f"{failures} calls of kernels failed in {seconds:.0f} s, {before} in the {seconds_before:.0f} s before"


class FailureCounts:
    """The failures of one process, by its own count of them since it began."""

    def __init__(self, count: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._stable: deque[tuple[float, int]] = deque()  # (when, how many by then), under stable bundles
        self._began: tuple[float, int] | None = None  # when the candidate came in

    def under_stable(self) -> None:
        """Look, while no candidate runs."""
        self._began = None
        now = self._clock()
        self._stable.append((now, self._count()))
        while self._stable[0][0] < now - WINDOW:
            self._stable.popleft()

    def under_candidate(self) -> str | None:
        """Look, while one runs: why the calls fail more often than before, None where they do not."""
        now, count = self._clock(), self._count()
        if self._began is None:
            self._began = now, count
        (began, then), first = self._began, self._stable[0] if self._stable else self._began
        return risen(count - then, now - began, then - first[1], began - first[0])

"""Steps of a loop, and swaps that wait for theirs. The loop counts; a thread beside it promises steps to swaps."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from layerzero.distributed.agreement import Outcome
from layerzero.runtime.engine import Candidate


@dataclass(eq=False)
class Swap:
    """A policy that this rank has ready. `at` is the step promised to it, `outcome` what came of it."""

    number: int
    candidate: Candidate
    at: int = 0
    outcome: Outcome | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def settle(self, outcome: Outcome) -> None:
        """What came of it; a loop that waits goes on."""
        with self._changed:
            self.outcome = outcome
            self._changed.notify_all()

    def move(self, at: int) -> None:
        """Promise it another step; a loop that waits at an earlier one goes on."""
        with self._changed:
            self.at = at
            self._changed.notify_all()

    def wait(self, step: int, seconds: float) -> bool:
        """Until it is settled, or its step is a later one. False where neither came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.outcome is not None or self.at > step, seconds)


class Steps:
    """How far the loop of this rank is. `number` is the step under way, 0 before the first."""

    def __init__(self) -> None:
        self.number = 0
        self._lock = threading.Lock()
        self._armed: list[Swap] = []  # in the order of their numbers, and so of their steps

    def advance(self) -> tuple[int, list[Swap]]:
        """A step begins: its number, and the swaps whose step it is."""
        with self._lock:
            self.number += 1
            due = [swap for swap in self._armed if swap.at <= self.number]
            if due:
                self._armed = [swap for swap in self._armed if swap not in due]
            return self.number, due

    def arm(self, swap: Swap, at: int) -> bool:
        """Promise that no step from `at` on begins before it is known what comes of the swap. False where the loop is
        there already: then nothing is promised to the swap any more."""
        with self._lock:
            self._armed = [one for one in self._armed if one is not swap]
            early = self.number < at
            swap.move(at)
            if early:
                self._armed = sorted([*self._armed, swap], key=lambda one: one.number)
        return early

    def drop(self, last: int) -> None:
        """Forget the swaps up to a number: all ranks have had another policy since."""
        with self._lock:
            self._armed = [swap for swap in self._armed if swap.number > last]

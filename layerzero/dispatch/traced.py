"""What graphs of `torch.compile` stand on: for each call in them, the kernel that was decided while it was traced.

A compiled graph is guarded on the entries that it read, and on nothing else of a policy: a swap that leaves its
decisions as they were costs it nothing, one that changes them has it traced again, and one that changes them back
finds the graph of before. After a few changes every call in a graph is decided when it runs (compiled.py).

Nothing in here imports torch.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from layerzero.dispatch.call import Dispatcher
from layerzero.errors import LayerZeroError
from layerzero.runtime import ambient
from layerzero.runtime.snapshot import Snapshot

log = logging.getLogger("layerzero")

MOST_CHANGES = 3
"""Of decisions in graphs, after which calls are decided at run time: torch keeps eight variants of a function."""
MOST_CALLS = 4096

Decide = Callable[[Snapshot], str | None]


class Slots:
    """The guarded values: `traced` says whether decisions of graphs are followed, `k0`, `k1`, ... are decisions."""

    traced: bool


@dataclass
class TracedCalls:
    """The calls that graphs were traced with.

    `decide` of each answers with the kernel under a snapshot, None for one that no graph can hold.
    """

    slots: Slots
    dispatcher: Dispatcher | None = None

    def __post_init__(self) -> None:
        self._names: dict[Any, str] = {}
        self._decide: dict[str, Decide] = {}
        self._changes = 0
        self._changing = threading.RLock()
        self.slots.traced = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        self._changing = threading.RLock()  # its holder may not be in the child

    def connect(self, dispatcher: Dispatcher) -> None:
        """Follow the policy of a dispatcher."""
        self.dispatcher = dispatcher
        dispatcher.engine.listeners.append(self._follow)
        ambient.INSIDE.tell(self._inside)

    def name(self, key: Any, decide: Decide) -> str:
        """The slot of a call, filled."""
        assert self.dispatcher is not None
        with self._changing:
            found = self._names.get(key)
            if found is None:
                kernel = decide(self.dispatcher.engine.current()) if len(self._names) < MOST_CALLS else None
                found = f"k{len(self._names)}"
                self._names[key], self._decide[found] = found, decide
                setattr(self.slots, found, kernel)
            return found

    def _follow(self, snapshot: Snapshot) -> None:
        """A policy was put in force: decide each call anew, and count it if that changes any."""
        with self._changing:
            if self._changes > MOST_CHANGES:
                return
            found = {name: _decided(decide, snapshot) for name, decide in self._decide.items()}
            if all(getattr(self.slots, name) == kernel for name, kernel in found.items()):
                return
            self._changes += 1
            if self._changes > MOST_CHANGES:
                log.info("calls in compiled graphs are decided when they run: their kernels changed more than %d times",
                         MOST_CHANGES)  # fmt: skip
                self._settle()
                return
            for name, kernel in found.items():
                setattr(self.slots, name, kernel)

    def _inside(self, somebody: bool) -> None:
        """A decision depends on who calls while a thread is inside of `lz.context`, `lz.using` or `lz.pin`."""
        with self._changing:
            self._somebody = somebody
            self._settle()

    _somebody = False

    def _settle(self) -> None:
        self.slots.traced = not self._somebody and self._changes <= MOST_CHANGES


def _decided(decide: Decide, snapshot: Snapshot) -> str | None:
    """None where the policy has an error for the call, which it shall raise when it runs."""
    try:
        return decide(snapshot)
    except LayerZeroError:
        return None


CALLS = TracedCalls(Slots())

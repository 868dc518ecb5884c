"""What surrounds a call: fields set by `lz.context(...)`. Each thread and each asyncio task has its own.

Typed values and the arms of experiments are worked out once per policy, on the first decision inside, not per call.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from layerzero.check.expressions import Value
from layerzero.errors import ContextError
from layerzero.runtime.once import Once
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.context import read_value

log = logging.getLogger("layerzero")
_said = Once()


class Surroundings:
    """The fields in force at one place of the program, inner ones over outer ones."""

    __slots__ = ("_read", "fields", "seen")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        self._read: tuple[Snapshot, Mapping[str, Value], Mapping[str, str]] | None = None
        self.seen: tuple[Snapshot, object] | None = None

    def read(self, snapshot: Snapshot) -> tuple[Mapping[str, Value], Mapping[str, str]]:
        """The values that the snapshot's policy declares, and the arms that they enrol in.

        Raises:
            ContextError: A value has the wrong type, or lies outside its field's range.
        """
        known = self._read
        if known is not None and known[0] is snapshot:
            return known[1], known[2]
        vocabulary = snapshot.vocabulary
        values: dict[str, Value] = {}
        for name, value in self.fields.items():
            canonical = vocabulary.field_aliases.get(name, name)
            if canonical in vocabulary.types:
                values[canonical] = read_value(vocabulary.member_aliases, vocabulary.types[canonical], value, name)
            # A field that the policy in force does not declare is left out, not an error: a roll-back to an older
            # policy must not fail the requests that set it.
            elif _said.first(("field", vocabulary.identity.digest, name)):
                log.warning("lz.context sets `%s`, which the policy in force does not declare; it is not used", name)
        arms = snapshot.enrol(values)
        self._read = (snapshot, values, arms)
        return values, arms

    def token(self, snapshot: Snapshot) -> object:
        """What stands for the fields in calls under a snapshot: one object for all that rules cannot tell apart, None
        where rules read none of them, NotImplemented where only a call that is read in full can tell."""
        try:
            token = snapshot.token(*self.read(snapshot))
        except ContextError:  # said by the call that is read in full
            return NotImplemented
        self.seen = (snapshot, token)
        return token


NOTHING = Surroundings({})
HERE: ContextVar[Surroundings] = ContextVar("layerzero_surroundings", default=NOTHING)


class Inside:
    """How many threads are inside of something that decisions depend on; `with INSIDE: ...` enters."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.RLock()
        self._told: Callable[[bool], None] | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def _after_fork(self) -> None:
        """The thread that held the lock may not be in the child. Who was inside there counts on, to be sure."""
        self._lock = threading.RLock()

    def tell(self, told: Callable[[bool], None]) -> None:
        """Tell of the first that enters and of the last that leaves."""
        self._told = told

    def __enter__(self) -> None:
        self._add(1)

    def __exit__(self, *error: object) -> None:
        self._add(-1)

    def _add(self, number: int) -> None:
        with self._lock:
            before, self._count = self._count, self._count + number
            if self._told is not None and (before == 0) is not (self._count == 0):
                self._told(self._count > 0)


INSIDE = Inside()


def here() -> Surroundings | None:
    """What surrounds this place, None where nothing does."""
    found = HERE.get()
    return None if found is NOTHING else found


@contextmanager
def context(fields: Mapping[str, Any]) -> Iterator[Surroundings]:
    """Add fields to every decision made inside; None takes a field away."""
    merged = {**HERE.get().fields, **fields}
    surroundings = Surroundings({name: value for name, value in merged.items() if value is not None})
    token = HERE.set(surroundings)
    try:
        with INSIDE:
            yield surroundings
    finally:
        HERE.reset(token)

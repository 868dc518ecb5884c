"""Counts by key from many threads: none is lost, no call waits for another. Each thread has a table of its own."""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections.abc import Sequence

Key = tuple[str, ...]

MOST_KEYS = 2_000
OTHER = "(other)"
# Seconds; a kernel's function on the host takes microseconds to launch, and up to seconds on a CPU.
BOUNDS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5)


class Row:
    """`buckets[i]` observations up to `BOUNDS[i]` and above the bound before; the last one beyond all."""

    __slots__ = ("buckets", "sum")

    def __init__(self, buckets: Sequence[int] = (), sum: float = 0.0) -> None:
        self.buckets = list(buckets) or [0] * (len(BOUNDS) + 1)
        self.sum = sum

    def __len__(self) -> int:
        return sum(self.buckets)

    def add(self, other: Row) -> None:
        self.buckets = [one + two for one, two in zip(self.buckets, other.buckets, strict=True)]
        self.sum += other.sum


Table = dict[Key, Row]


class Counting:
    """`count(key, seconds)` from any thread, `totals()` from any other."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._tables: dict[int, Table] = {}
        self._ended: Table = {}  # of threads that have ended

    def count(self, key: Key, seconds: float) -> None:
        try:
            table: Table = self._mine.holder.table
        except AttributeError:
            table = self._begin()
        row = table.get(key)
        if row is None:
            if len(table) >= MOST_KEYS:
                key = (key[0], *(OTHER for _ in key[1:]))
            row = table.setdefault(key, Row())
        row.buckets[bisect_left(BOUNDS, seconds)] += 1
        row.sum += seconds

    def totals(self) -> Table:
        """Everything counted so far; at most MOST_KEYS keys and one of `(other)` for each first word."""
        with self._lock:
            found: Table = {}
            for table in (self._ended, *self._tables.values()):
                _merge(found, table)
            return found

    def _begin(self) -> Table:
        holder = _Holder()
        with self._lock:
            self._tables[id(holder.table)] = holder.table
        # The holder goes when its thread ends; what it counted stays.
        ending = weakref.finalize(holder, _end, weakref.ref(self), holder.table)
        ending.atexit = False
        self._mine.holder = holder
        return holder.table


class _Holder:
    __slots__ = ("__weakref__", "table")

    def __init__(self) -> None:
        self.table: Table = {}


def _end(counting: weakref.ref[Counting], table: Table) -> None:
    owner = counting()
    if owner is not None:
        with owner._lock:
            owner._tables.pop(id(table), None)
            _merge(owner._ended, table)


def _merge(into: Table, table: Table) -> None:
    for key, row in list(table.items()):
        if key not in into and len(into) >= MOST_KEYS:
            key = (key[0], *(OTHER for _ in key[1:]))
        into.setdefault(key, Row()).add(row)

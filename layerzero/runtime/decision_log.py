"""Calls that ran -> records, written by a thread of the log's own. A call never waits and never fails for its log.

The calling thread appends to a bounded queue; what finds it full is dropped and counted. Modes: `distinct` writes the
first call of each region (contexts that the policy does not tell apart) once per snapshot and counts the others,
`sampled` a share, `every` all.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Hashable
from time import monotonic, time_ns
from typing import Literal, cast

from layerzero.errors import ArgumentError
from layerzero.runtime import ambient
from layerzero.runtime.export import Manifest, SnapshotStore, manifest_of
from layerzero.runtime.log_files import Destination, Memory, RecordsLostError
from layerzero.runtime.log_regions import Regions, region_id, share_of
from layerzero.runtime.once import Once
from layerzero.runtime.record import Called, Record, Seen, to_record
from layerzero.runtime.snapshot import Snapshot
from layerzero.syntax.visible import visible

log = logging.getLogger("layerzero")

Mode = Literal["off", "distinct", "sampled", "every"]
MODES: tuple[Mode, ...] = ("off", "distinct", "sampled", "every")

_MOST_REGIONS = 65_536
_BATCH = 1024
_TRY_AGAIN = 10.0  # seconds until a snapshot that could not be exported is tried again
_MOST_UNEXPORTED = 16
_PAUSE = 0.02  # seconds between a first record and the batch that it is written in


class DecisionLog:
    """One log. Give `sink` to a dispatcher; `close` when done (leaving the process does).

    Attributes:
        sink: To be told of every call; None in mode `off`.
        written: Records that the destination took.
        dropped: Records that were lost, to a full queue or a destination that failed.
        last_error: Why the destination, or the export of a snapshot, failed last.
    """

    def __init__(
        self,
        destination: Destination,
        mode: Mode = "distinct",
        *,
        rate: float = 0.01,
        capacity: int = 65_536,
        store: SnapshotStore | None = None,
        clock: Callable[[], int] = time_ns,
        closed: Callable[[DecisionLog], Callable[[], None]] | None = None,
    ) -> None:
        """Begin to log.

        Args:
            destination: Where the records go.
            mode: Which calls are recorded.
            rate: The share of mode `sampled`.
            capacity: Calls that may wait for the writer.
            store: Where snapshots are exported; None exports none.
            clock: Nanoseconds since 1970.
            closed: Called when the log begins to close; what it returns, when it has closed.

        Raises:
            ArgumentError: An argument is wrong.
        """
        if mode not in MODES:
            raise ArgumentError(f"argument `mode`: wanted one of {', '.join(MODES)}, given {mode!r}")
        if mode == "sampled" and not 0 < rate <= 1:
            raise ArgumentError(f"argument `rate`: wanted a share above 0 and at most 1, given {rate!r}")
        if capacity < 1:
            raise ArgumentError(f"argument `capacity`: wanted at least 1, given {capacity!r}")
        sinks = {"off": None, "distinct": self._every, "sampled": self._sampled, "every": self._every}
        self.mode = mode
        self.sink: Callable[[Called], None] | None = sinks[mode]
        self.written = self.dropped = 0
        self.last_error: str | None = None
        self._destination, self._store, self._clock = destination, store, clock
        self._rate, self._capacity = rate, capacity
        self._leave = closed
        self._queue: deque[Seen | threading.Event] = deque()
        self._regions = Regions()
        self._again: Counter[str] = Counter()  # further calls of regions that have a record, by its id
        self._seen: dict[Hashable, str] = {}  # regions written, with the ids of their records
        self._calls = itertools.count(1)
        self._counting = threading.Lock()  # of `dropped`, held for an addition
        self._wake, self._closing = threading.Event(), threading.Event()
        self._digests: weakref.WeakKeyDictionary[Snapshot, tuple[str, str]] = weakref.WeakKeyDictionary()
        self._exported: set[str] = set()
        self._unexported: dict[str, Snapshot] = {}  # to be tried again
        self._try_at = 0.0
        self._said = Once()
        self._closed = mode == "off"
        self._writer: threading.Thread | None = None
        if mode != "off":
            self._start()

    @property
    def destination(self) -> str:
        return self._destination.name

    @property
    def records(self) -> list[Record]:
        """The records of a log in memory, oldest first, all calls so far included.

        Raises:
            ArgumentError: This log goes elsewhere.
        """
        if not isinstance(self._destination, Memory):
            raise ArgumentError(f"the records of this log are in {self.destination}")
        self.flush()
        return self._destination.records

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all calls so far are written; False where `timeout` seconds did not do."""
        if self._closed:
            return True
        written = threading.Event()
        self._queue.append(written)
        self._wake.set()
        return written.wait(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write what is queued and let go of the destination; later calls are not logged. May be repeated."""
        with self._counting:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        ended = None if self._leave is None else self._leave(self)
        self._closing.set()
        self._wake.set()
        writer = self._writer
        if writer is not None and writer is not threading.current_thread():
            writer.join(timeout)
            if writer.is_alive():
                self._fail(f"it did not take its records within {timeout:g} s", len(self._queue))
        if ended is not None:
            ended()

    def __enter__(self) -> DecisionLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ in the calling thread

    def _every(self, called: Called) -> None:
        self._put(called, _request_id(called), 1)

    def _sampled(self, called: Called) -> None:
        """By the hash of the request, so that its calls are logged all or none; else each 1/rate-th call."""
        request, rate = _request_id(called), self._rate
        if request is None:
            number = next(self._calls)
            chosen = int(number * rate) > int((number - 1) * rate)
        else:
            chosen = share_of(request) < rate
        if chosen:
            self._put(called, request, 1 / rate)

    def _put(self, called: Called, request: object, count: float) -> None:
        if len(self._queue) >= self._capacity or self._closed:
            self._drop(1)
            return
        self._queue.append(Seen(self._clock(), called, request, count))
        if not self._wake.is_set():
            self._wake.set()

    def _drop(self, count: int) -> None:
        with self._counting:
            self.dropped += count

    # ------------------------------------------------------------ in the writer thread

    def _start(self) -> None:
        self._writer = threading.Thread(target=self._run, name="layerzero-decision-log", daemon=True)
        self._writer.start()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            alive = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _stop_in_child(alive()))

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(_PAUSE)  # a batch, not a record: writing takes the interpreter from the calls
            self._wake.clear()
            self._drain()
        self._drain()
        try:
            self._destination.close()
        except OSError as error:
            self._fail(str(error), getattr(error, "lost", 0))

    def _drain(self) -> None:
        """Write what is queued, in batches."""
        while self._queue:
            batch: list[Seen] = []
            waiting: threading.Event | None = None
            while self._queue and len(batch) < _BATCH and waiting is None:
                found = self._queue.popleft()
                if isinstance(found, threading.Event):
                    waiting = found
                else:
                    batch.append(found)
            try:
                self._write(self._firsts(batch) if self.mode == "distinct" else batch)
            except Exception:  # of a destination that somebody brought; the log goes on
                log.exception("decision log %s: a batch was lost", visible(self.destination))
                self._drop(len(batch))
            if waiting is not None:
                waiting.set()

    def _firsts(self, batch: list[Seen]) -> list[Seen]:
        """The calls whose region has no record yet; the others are counted."""
        firsts: list[Seen] = []
        again: Counter[str] = Counter()
        for seen in batch:
            region = self._regions.of(seen.called.decision)
            known = self._seen.get(region)
            if known is not None:
                again[known] += 1
                continue
            if len(self._seen) >= _MOST_REGIONS:
                self._seen.clear()  # past the bound a region may be written again
            self._seen[region] = id = region_id(region)
            firsts.append(seen._replace(id=id))
        self._again.update(again)
        return firsts

    def _write(self, batch: list[Seen]) -> None:
        if batch:
            self._put_out(batch)
        self._count_again()
        if self._unexported and monotonic() >= self._try_at:
            self._try_at = monotonic() + _TRY_AGAIN
            waiting, self._unexported = self._unexported, {}
            for snapshot in waiting.values():
                self._export(snapshot, manifest_of(snapshot))

    def _put_out(self, batch: list[Seen]) -> None:
        lost = 0
        try:
            self._destination.write([self._record(seen) for seen in batch])
        except RecordsLostError as error:
            lost = error.lost
            self._fail(str(error), lost)
        except OSError as error:
            lost = len(batch)
            self._fail(error.strerror or str(error), lost)
        self.written += max(len(batch) - lost, 0)
        if lost and self.mode == "distinct":
            gone = {seen.id for seen in batch}  # their next calls are the first again
            self._seen = {region: id for region, id in self._seen.items() if id not in gone}

    def _count_again(self) -> None:
        counts, self._again = self._again, Counter()
        if counts:
            try:
                self._destination.add(counts)
            except OSError as error:
                self._fail(error.strerror or str(error), getattr(error, "lost", 0))

    def _record(self, seen: Seen) -> Record:
        snapshot = seen.called.decision.snapshot
        digests = self._digests.get(snapshot)
        if digests is None:
            manifest = manifest_of(snapshot)
            digests = self._digests[snapshot] = (snapshot.environment.digest, manifest.digest)
            self._export(snapshot, manifest)
        return to_record(seen, *digests)

    def _export(self, snapshot: Snapshot, manifest: Manifest) -> None:
        if self._store is None or manifest.digest in self._exported:
            return
        try:
            self._store.put(manifest, snapshot.built)
            self._exported.add(manifest.digest)
        except OSError as error:
            if len(self._unexported) < _MOST_UNEXPORTED:
                self._unexported[manifest.digest] = snapshot
            self._fail(f"a snapshot cannot be exported: {error.strerror or error}", 0)

    def _fail(self, why: str, lost: int) -> None:
        """Count what is lost; each reason is said once."""
        self._drop(lost)
        self.last_error = visible(why)
        if self._said.first(why):
            log.error(
                "decision log %s: %s; records that cannot be written are dropped and counted (lz.status())",
                visible(self.destination),
                visible(why),
            )


def _request_id(called: Called) -> object:
    around = ambient.here()
    found = None if around is None else around.fields.get("request_id")
    return called.decision.values.get("request_id") if found is None else found


def _stop_in_child(one: DecisionLog | None) -> None:
    """A forked child has no writer thread, and the file is its parent's: what it decides is dropped and counted."""
    if one is not None:
        one._closed = True
        one._capacity = 0
        one._queue = deque()
        one._counting = threading.Lock()
        atexit.unregister(one.close)


def open_destination(where: object, capacity: int, max_bytes: int | None, keep: int) -> Destination:
    """`memory`, a path that ends in `.jsonl` or `.parquet`, or a Destination itself.

    Raises:
        ArgumentError: Anything else.
        MissingDependencyError: It needs a package that is not installed.
    """
    from layerzero.runtime.log_files import JsonLines, Parquet

    if where == "memory":
        return Memory(capacity)
    if isinstance(where, str | os.PathLike):
        path = os.fspath(where)
        if str(path).endswith((".jsonl", ".ndjson")):
            return JsonLines(str(path), max_bytes, keep)
        if str(path).endswith(".parquet"):
            return Parquet(str(path), max_bytes)
        raise ArgumentError(
            f"argument `destination`: wanted memory, opentelemetry, a .jsonl or a .parquet file, given {where!r}"
        )
    if all(hasattr(where, name) for name in ("write", "add", "close")):
        return cast(Destination, where)
    raise ArgumentError(f"argument `destination`: wanted a path or a Destination, given {type(where).__name__}")

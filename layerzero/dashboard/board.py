"""All sources, read by two threads of its own -> what the pages ask for, as plain data.

A source is a decision log or a metrics endpoint; experiments are read when somebody asks. One that fails says so on
the page and is tried again; it takes no other with it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from layerzero.dashboard.attention import look, looks_of_calls, looks_of_endpoint, looks_of_report
from layerzero.dashboard.metrics import Scrape, ScrapeError, scrape
from layerzero.dashboard.tail import Tail
from layerzero.dashboard.tally import SPANS, Asked, Epoch, Group, Kept, Tally
from layerzero.errors import LayerZeroError
from layerzero.experiments.sharing import read_report, running
from layerzero.runtime.export import ExportError, SnapshotStore
from layerzero.runtime.log_files import beside
from layerzero.runtime.log_reader import read_counts

log = logging.getLogger("layerzero")

LOOK = 0.5  # seconds between two looks at the logs
ASK = 5.0  # at counts, folders and metrics endpoints
MOST_LOGS = 64
MOST_COUNT_BYTES = 32 * 1024**2
MOST_SHOWN = 200  # records of one answer
_SUFFIXES = (".jsonl", ".ndjson", ".parquet")

Json = dict[str, Any]


@dataclass
class Log:
    """One decision log, and what is known of how it is read."""

    name: str
    tail: Tail
    records: int = 0
    unreadable: int = 0
    problem: str | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=5))  # what was wrong with the last bad ones
    counts: dict[str, int] | None = None
    asked: float = float("-inf")

    @property
    def store(self) -> SnapshotStore:
        return SnapshotStore(beside(self.tail.path))


@dataclass
class Endpoint:
    """One metrics endpoint, as it answered last."""

    address: str
    found: Scrape | None = None
    problem: str | None = None


class Board:
    """Reads until it is closed.

    Attributes:
        version: Rises with each change that a page may show.
        closed: Set when it ends.
    """

    def __init__(
        self, logs: Sequence[Path] = (), metrics: Sequence[str] = (), experiments: Sequence[Path] = ()
    ) -> None:
        self.version = 0
        self.closed = threading.Event()
        self._paths, self._experiments = list(logs), list(experiments)
        self._lock = threading.Lock()
        self._tally = Tally()
        self._logs: dict[Path, Log] = {}
        self._endpoints = [Endpoint(address) for address in metrics]
        self._environments: dict[tuple[str, str], Json] = {}  # by log and snapshot
        self._threads: list[threading.Thread] = []
        self._listed = float("-inf")

    def start(self) -> None:
        """Begin to read."""
        for loop, pause in ((self.look, LOOK), (self.ask, ASK)):
            thread = threading.Thread(target=self._run, args=(loop, pause), name="layerzero-dashboard", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        self.closed.set()
        for thread in self._threads:
            thread.join(5.0)
        for one in self._logs.values():
            one.tail.close()

    def _run(self, work: Any, pause: float) -> None:
        while not self.closed.is_set():
            try:
                more = work()
            except Exception:  # the thread must outlive a source that nobody thought of
                log.exception("dashboard: a source could not be read")
                more = False
            self.closed.wait(0.0 if more else pause)

    # ------------------------------------------------------------ reading

    def look(self) -> bool:
        """Read what is new in every log; whether there is more to read at once."""
        now = time.monotonic()
        if now - self._listed >= ASK:
            self._listed = now
            self._list()
        more = False
        for one in list(self._logs.values()):
            try:
                entries, problem = one.tail.read(), None
            except (OSError, LayerZeroError) as error:
                entries, problem = [], str(error)
            with self._lock:
                changed = bool(entries) or problem != one.problem
                one.problem = problem
                for entry in entries:
                    wrong = entry.problem
                    if entry.record is not None:
                        wrong = self._tally.add(one.name, entry.record, time.time())
                    if wrong is None:
                        one.records += 1
                    else:
                        one.unreadable += 1
                        one.lines.append(wrong)
            more = more or one.tail.more
            if not one.tail.more and now - one.asked >= ASK:
                one.asked = now
                changed = self._count(one) or changed
            if changed:
                self._environments_of(one)
                self.version += 1
        return more

    def _list(self) -> None:
        """The logs that the paths stand for; a folder is looked at anew, as processes come and go."""
        for path in self._paths:
            try:
                inside = sorted(one for one in path.iterdir() if one.suffix in _SUFFIXES) if path.is_dir() else [path]
            except OSError:  # which reading it will tell
                inside = [path]
            for file in inside:
                if file not in self._logs and len(self._logs) < MOST_LOGS:
                    with self._lock:
                        self._logs[file] = Log(str(file), Tail(file))
                        self.version += 1

    def _count(self, one: Log) -> bool:
        """Add the calls of regions that have a record; when the first of them were, nobody knows."""
        try:
            files = list(beside(one.tail.path).glob("counts-*.json"))
            if sum(file.stat().st_size for file in files) > MOST_COUNT_BYTES:
                raise ValueError(f"the counts of {one.name} are larger than {MOST_COUNT_BYTES // 1024**2} MiB")
            found = read_counts(one.tail.path)
        except (OSError, ValueError) as error:
            with self._lock:
                one.problem = f"how often a region was decided again cannot be read: {error}"
            return True
        before = one.counts or {}
        more = {id: count - before.get(id, 0) for id, count in found.items() if count > before.get(id, 0)}
        with self._lock:
            self._tally.again(one.name, more, None if one.counts is None else time.time())
        one.counts = found
        return bool(more)

    def _environments_of(self, one: Log) -> None:
        """What each epoch's snapshot says of breakers and stopped arms, read once."""
        with self._lock:
            snapshots = {epoch.snapshot for epoch in self._tally.epochs.get(one.name, {}).values()}
            for gone in [key for key in self._environments if key[0] == one.name and key[1] not in snapshots]:
                del self._environments[gone]
        for snapshot in snapshots:
            key = one.name, snapshot
            if key in self._environments:
                continue
            try:
                environment, _ = one.store.environment(snapshot)
                arms = sorted(f"{name}.{arm}" for name, arm in environment.stopped_arms)
            except ExportError:  # not written yet, or not kept; the page says that nothing is known
                continue
            with self._lock:
                self._environments[key] = {"open_breakers": dict(environment.open_breakers), "stopped_arms": arms}

    def ask(self) -> bool:
        """Ask every endpoint."""
        for one in self._endpoints:
            try:
                found, problem = scrape(one.address), None
            except ScrapeError as error:
                found, problem = None, str(error)
            with self._lock:
                one.found, one.problem = found, problem
                if found is not None:
                    self._take(one.address, found)
                self.version += 1
        return False

    def _take(self, source: str, found: Scrape) -> None:
        totals: dict[Group, tuple[float, float]] = {}
        for labels, value in found.of("decisions_total"):
            group = Group(source, labels.get("operation", ""), labels.get("kernel", ""), "")
            calls, degraded = totals.get(group, (0.0, 0.0))
            totals[group] = calls + value, degraded + (value if labels.get("degraded") == "true" else 0.0)
        for labels, value in found.of("decision_errors_total"):
            group = Group(source, labels.get("operation", ""), "", "")
            totals[group] = totals.get(group, (0.0, 0.0))[0] + value, 0.0
        for group, (calls, degraded) in totals.items():
            self._tally.counted(group, calls, degraded, time.time())

    # ------------------------------------------------------------ what the pages ask for

    def now(self) -> Json:
        """Sources, what is in force in each, and what wants to be looked at."""
        experiments = self.experiments()["processes"]
        with self._lock:
            sources = [*map(self._log_json, self._logs.values()), *map(_endpoint_json, self._endpoints)]
            attention = [
                *(item for one in self._logs.values() for item in self._looks(one)),
                *(item for one in self._endpoints for item in looks_of_endpoint(one.address, one.problem, one.found)),
                *looks_of_calls(self._tally.totals),
                *(item for one in experiments for item in one["attention"]),
            ]
            return {
                "version": self.version,
                "time": time.time(),
                "sources": sources,
                "attention": sorted(attention, key=lambda one: one["severity"] != "bad"),
                "timeline": self._tally.timeline("30m", "kernel", Asked(self._sources("")), time.time()),
            }

    def decisions(self, words: Mapping[str, str], span: str, by: str) -> Json:
        """The timeline, the groups and the last decisions of what is asked for: `source`, `operation`, `kernel`,
        `arms`, and `only` as for Tally.records."""
        only = words.get("only", "")
        with self._lock:
            asked = Asked(self._sources(words.get("source", "")), *map(words.get, Group._fields[1:]))
            groups = [
                {**group._asdict(), **asdict(count)} for group, count in self._tally.totals.items() if group in asked
            ]
            records = self._tally.records(asked, only)
            shown = [_kept_json(kept) for kept, _ in zip(records, range(MOST_SHOWN), strict=False)]
            names = {word: sorted({getattr(group, word) for group in self._tally.totals}) for word in Group._fields}
            return {
                "version": self.version,
                "names": names,
                "spans": list(SPANS),
                "timeline": self._tally.timeline(span, by, asked, time.time()),
                "groups": sorted(groups, key=lambda one: -one["calls"]),
                "records": shown,
            }

    def record(self, number: int) -> tuple[Kept, Path] | None:
        """A kept record, and the folder of its snapshots."""
        with self._lock:
            kept = self._tally.record(number)
            found = None if kept is None else self._named(kept.group.source)
        return None if kept is None or found is None else (kept, found.store.folder)

    def policies(self) -> Json:
        """By source: the policy in force, and the epochs, the newest first."""
        with self._lock:
            found = [self._policy(one) for one in self._logs.values() if one.name in self._tally.epochs]
            told = [
                {"source": one.address, "in_force": list(one.found.policies())}
                for one in self._endpoints
                if one.found is not None
            ]
        return {"version": self.version, "logs": found, "metrics": told}

    def store_of(self, source: str) -> Path | None:
        """The folder of the snapshots of a log."""
        with self._lock:
            found = self._named(source)
        return None if found is None else found.store.folder

    def breakers(self) -> Json:
        """Open ones with the reason, the states that endpoints tell, and what was open from epoch to epoch."""
        with self._lock:
            told = [
                {"source": one.address, "kernels": list(one.found.breakers())}
                for one in self._endpoints
                if one.found is not None
            ]
            logs = [
                {
                    "source": one.name,
                    "open": self._in_force(one.name).get("open_breakers"),
                    "moves": list(reversed(list(self._moves(one.name)))),
                }
                for one in self._logs.values()
                if one.name in self._tally.epochs
            ]
        return {"version": self.version, "metrics": told, "logs": logs}

    def experiments(self) -> Json:
        """The reports that processes share, as `lz experiment status` shows them."""
        found: list[Json] = []
        try:
            files = [*self._experiments, *running()]
        except OSError as error:
            files = list(self._experiments)
            found.append(_no_report("", str(error)))
        for file in dict.fromkeys(files):
            try:
                report = read_report(file)
                age = max(time.time() - file.stat().st_mtime, 0.0)
                stale = age > 5 * float(report["every"]) + 5
                looks = list(looks_of_report(str(file), report))
                found.append({"file": str(file), "age": age, "stale": stale, "report": report, "attention": looks})
            except (OSError, LayerZeroError) as error:
                found.append(_no_report(str(file), str(error)))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                found.append(_no_report(str(file), f"`{file}` is not a report on experiments: {error!r}"))
        return {"version": self.version, "processes": found}

    # ------------------------------------------------------------ parts; the lock is held

    def _sources(self, source: str) -> frozenset[str]:
        """One, or all of a kind: a process that has a log and an endpoint would count twice."""
        if source:
            return frozenset((source,))
        logs = frozenset(one.name for one in self._logs.values() if one.records)
        return logs or frozenset(one.address for one in self._endpoints)

    def _named(self, source: str) -> Log | None:
        return next((one for one in self._logs.values() if one.name == source), None)

    def _log_json(self, one: Log) -> Json:
        epochs = self._tally.epochs.get(one.name)
        newest = _newest(epochs.values()) if epochs else None
        return {
            "source": one.name,
            "kind": "decision log",
            "there": one.tail.path.exists(),
            "records": one.records,
            "unreadable": one.unreadable,
            "lines": list(one.lines),
            "left_out": one.tail.left_out,
            "missed": one.tail.missed,
            "unplaced": self._tally.unplaced[one.name],
            "problem": one.problem,
            "last": None if newest is None else newest.last,
            "in_force": [] if newest is None else [{**newest.policy, "epoch": newest.number}],
        }

    def _looks(self, one: Log) -> Iterator[Json]:
        """What wants to be looked at in a log and in the snapshot that it saw last."""
        environment = self._in_force(one.name)
        for kernel, why in environment.get("open_breakers", {}).items():
            yield look("bad", f"the breaker of {kernel} is open: {why}", "breakers", one.name)
        for arm in environment.get("stopped_arms", ()):
            yield look("bad", f"a guard has stopped arm {arm}", "experiments", one.name)
        if one.problem:
            yield look("bad", one.problem, "now", one.name)
        elif not one.tail.path.exists():
            yield look("warn", "the log is not there yet", "now", one.name)
        if one.unreadable:
            yield look("warn", f"{one.unreadable} records could not be read", "now", one.name)

    def _in_force(self, source: str) -> Json:
        epochs = self._tally.epochs.get(source)
        return self._environments.get((source, _newest(epochs.values()).snapshot), {}) if epochs else {}

    def _policy(self, one: Log) -> Json:
        epochs = sorted(self._tally.epochs[one.name].values(), key=lambda epoch: epoch.first)
        shown = []
        for place, epoch in enumerate(epochs):
            before = epochs[place - 1].snapshot if place else None
            shown.append({**asdict(epoch), "before": before, "here": epoch.snapshot in one.store})
        newest = _newest(epochs)
        return {
            "source": one.name,
            "in_force": {**newest.policy, "epoch": newest.number, "snapshot": newest.snapshot, "last": newest.last},
            "epochs": shown[::-1],
        }

    def _moves(self, source: str) -> Iterator[Json]:
        """Breakers that differ from one epoch to the next."""
        before: Json = {}
        for epoch in sorted(self._tally.epochs[source].values(), key=lambda one: one.first):
            environment = self._environments.get((source, epoch.snapshot))
            if environment is None:
                continue
            after = environment["open_breakers"]
            for kernel in sorted(before.keys() ^ after.keys()):
                state = "open" if kernel in after else "closed"
                why = after.get(kernel) or before.get(kernel)
                yield {"kernel": kernel, "state": state, "why": why, "epoch": epoch.number, "time": epoch.first}
            before = after


def _newest(epochs: Iterable[Epoch]) -> Epoch:
    return max(epochs, key=lambda epoch: epoch.last)


def _endpoint_json(one: Endpoint) -> Json:
    found = one.found
    return {
        "source": one.address,
        "kind": "metrics",
        "there": found is not None,
        "problem": one.problem,
        "in_force": [] if found is None else list(found.policies()),
    }


def _no_report(file: str, why: str) -> Json:
    return {"file": file, "problem": why, "attention": [look("warn", why, "experiments", file)]}


def _kept_json(kept: Kept) -> Json:
    record = kept.record
    return {
        "number": kept.number,
        "time": kept.time,
        **kept.group._asdict(),
        "calls": kept.calls,
        "score": record["score"],
        "degraded": record["degraded"],
        "error": record["error"] or record.get("raised"),
        "locked_by": record["locked_by"],
        "ordered_by": record["ordered_by"],
        "epoch": record["epoch"],
        "request_id": record["request_id"],
        "seconds": record.get("seconds"),
        "values": record["values"],
    }

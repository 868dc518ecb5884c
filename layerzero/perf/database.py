"""Measurements <-> a SQLite file. Many processes may write at once; what a dead one left half done is a crash."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from layerzero.check.expressions import Value
from layerzero.errors import LayerZeroError
from layerzero.perf.measure import Failed, Timing

VERSION = 1
WAIT_SECONDS = 60.0  # for another process's transaction, which takes milliseconds


@dataclass(frozen=True, slots=True)
class MachineInfo:
    """What a measurement depends on: `MachineInfo({"device": "cuda", "sm": 90}, {"torch": "2.11.0"})`."""

    device: Mapping[str, Value]
    versions: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of both: another driver or package version is another machine."""
        parts = {"device": dict(self.device), "versions": dict(self.versions)}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Key:
    """Which call: `Key("attention.decode", {"batch": 8, "kv_len": 4096, ...})`."""

    operation: str
    context: Mapping[str, Value]

    @property
    def text(self) -> str:
        return json.dumps(dict(self.context), sort_keys=True)


class Database:
    """Measurements of one machine, in a file that other machines' may share.

    Raises:
        LayerZeroError: The file is no database, or a newer version wrote it.
    """

    def __init__(self, path: str | Path, machine: MachineInfo) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            self._machine = self._open(machine)
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise LayerZeroError(f"{self.path}: no database of measurements: {error}") from error

    def _open(self, machine: MachineInfo) -> int:
        found = int(self._connection.execute("pragma user_version").fetchone()[0])
        if found not in (0, VERSION):
            self._connection.close()
            raise LayerZeroError(f"{self.path}: written by a newer version (schema {found}, known: {VERSION})")
        # Readers never wait for a writer, and a crash of the process loses nothing that was committed.
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = normal")
        self._connection.execute("pragma foreign_keys = on")
        with self._transaction():
            for statement in (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8").split(";\n"):
                self._connection.execute(statement)
            self._connection.execute(f"pragma user_version = {VERSION}")
            self._connection.execute(
                "insert into machine (digest, device, versions, first_seen) values (?, ?, ?, ?) on conflict do nothing",
                (machine.digest, _json(machine.device), _json(machine.versions), _now()),
            )
        row = self._connection.execute("select id from machine where digest = ?", (machine.digest,)).fetchone()
        return int(row[0])

    def start(self, key: Key, kernel: str) -> None:
        """Say that a kernel is about to be called: if the process dies, the next one finds a crash."""
        self._put(key, kernel, "running", None, None)

    def put(self, key: Key, kernel: str, found: Timing | Failed) -> None:
        """Record what came out; an older record of the same call gives way."""
        if isinstance(found, Failed):
            self._put(key, kernel, "failed", None, found.text)
        else:
            self._put(key, kernel, "ok", found, None)

    def forget(self, key: Key, kernel: str) -> None:
        """As if it had never been measured."""
        with self._transaction():
            self._connection.execute(
                "delete from measurement where machine = ? and operation = ? and context = ? and kernel = ?",
                (self._machine, key.operation, key.text, kernel),
            )

    def find(self, key: Key) -> dict[str, Timing | Failed]:
        """What is known of a call on this machine, by kernel; what a living process still measures is left out."""
        rows = self._connection.execute(
            "select kernel, status, process, median_us, spread_us, device_us, host_us, repeats, error "
            "from measurement where machine = ? and operation = ? and context = ?",
            (self._machine, key.operation, key.text),
        )
        found: dict[str, Timing | Failed] = {}
        for kernel, status, process, median, spread, device, host, repeats, error in rows:
            if status == "ok":
                found[kernel] = Timing(median, spread, device, host, repeats)
            elif status == "failed":
                found[kernel] = Failed(error)
            elif process != os.getpid() and not _alive(process):
                found[kernel] = Failed("the process that called it ended")
        return found

    def prune(self, max_rows: int = 200_000, older_than: str | None = None) -> int:
        """Forget the oldest measurements past `max_rows`, and those from before an ISO time; how many went.

        A machine without measurements goes too, but for this one.
        """
        with self._transaction():
            gone = 0
            if older_than is not None:
                done = self._connection.execute("delete from measurement where measured_at < ?", (older_than,))
                gone += done.rowcount
            done = self._connection.execute(
                "delete from measurement where id in "
                "(select id from measurement order by measured_at desc, id desc limit -1 offset ?)",
                (max_rows,),
            )
            gone += done.rowcount
            self._connection.execute(
                "delete from machine where id <> ? and id not in (select machine from measurement)", (self._machine,)
            )
        return gone

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, key: Key, kernel: str, status: str, timing: Timing | None, error: str | None) -> None:
        numbers = (
            (None,) * 5
            if timing is None
            else (timing.median_us, timing.spread_us, timing.device_us, timing.host_us, timing.repeats)
        )
        with self._transaction():
            self._connection.execute(
                "insert or replace into measurement (machine, operation, context, kernel, status, process, "
                "median_us, spread_us, device_us, host_us, repeats, error, measured_at) "
                "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(self._machine, key.operation, key.text, kernel, status, os.getpid()),
                    *numbers,
                    error,
                    _now(),
                ),
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # `immediate` takes the writer's place at once: two that read first and write later could both have to give up.
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.execute("rollback")
            raise
        self._connection.execute("commit")


def _json(values: Mapping[str, object]) -> str:
    return json.dumps(dict(values), sort_keys=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class Measured:
    """One row for somebody who looks: `machine` counts from 0 in the order of `machines`; of a kernel that failed or
    did not end, `median_us` is None and `error` says why."""

    machine: int
    operation: str
    context: Mapping[str, Value]
    kernel: str
    median_us: float | None
    spread_us: float | None
    error: str | None
    at: str


def measured(path: str | Path, operation: str, limit: int = 20_000) -> list[Measured]:
    """What a file holds of one operation, of all machines, the newest `limit` rows; nothing is written.

    Raises:
        FileNotFoundError: There is no such file.
        LayerZeroError: It is no database of measurements.
    """
    columns = "machine, operation, context, kernel, status, median_us, spread_us, error, measured_at"
    query = f"select {columns} from measurement where operation = ? order by measured_at desc, id desc limit ?"
    numbers = {id: place for place, (id,) in enumerate(_rows(path, "select id from machine order by id"))}
    return [
        Measured(
            numbers[machine], name, json.loads(context), kernel, median, spread,
            error if status != "running" else "was begun and has not ended", at,
        )
        for machine, name, context, kernel, status, median, spread, error, at in _rows(path, query, operation, limit)
    ]  # fmt: skip


def operations(path: str | Path) -> list[str]:
    """The operations that a file holds measurements of. Raises as `measured`."""
    return [name for (name,) in _rows(path, "select distinct operation from measurement order by operation")]


def _rows(path: str | Path, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such database: {path}")
    connection = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_SECONDS)
    try:
        return connection.execute(query, arguments).fetchall()
    except sqlite3.DatabaseError as error:
        raise LayerZeroError(f"{path}: no database of measurements: {error}") from error
    finally:
        connection.close()


def machines(path: str | Path) -> list[MachineInfo]:
    """The machines that a file holds measurements of, the oldest first. Raises as `measured`."""
    rows = _rows(path, "select device, versions from machine order by id")
    return [MachineInfo(json.loads(device), json.loads(versions)) for device, versions in rows]

"""Where decision records go: a ring in memory, JSON lines, Parquet. All are called by the log's writer thread alone."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from layerzero.errors import MissingDependencyError
from layerzero.runtime.record import Record, number, plain
from layerzero.runtime.whole_file import replace_file

MAX_RECORD_BYTES = 1024 * 1024
COUNTS = "lz.counts/1"
_COUNTS_EVERY = 5.0  # seconds
_MOST_COUNTS = 1_000_000
_ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
_ROWS = 10_000  # of a Parquet row group


class RecordsLostError(OSError):
    """Some records of a batch could not be written. `lost` is how many."""

    def __init__(self, lost: int, why: str) -> None:
        super().__init__(why)
        self.lost = lost


class Destination(Protocol):
    """Takes records. Every method may raise OSError, which loses the batch and nothing else."""

    name: str

    def write(self, records: Sequence[Record]) -> None:
        """Take a batch.

        Raises:
            RecordsLostError: Only part of it was taken.
            OSError: Nothing of it was taken.
        """
        ...

    def add(self, counts: Mapping[str, int]) -> None:
        """Further calls of regions that have a record already, by the record's id."""
        ...

    def close(self) -> None: ...


class Memory:
    """The last records, oldest first. `count` of a record is kept up to date."""

    name = "memory"

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._ring: OrderedDict[int, Record] = OrderedDict()
        self._by_id: dict[str, Record] = {}
        self._next = 0

    @property
    def records(self) -> list[Record]:
        return list(self._ring.values())

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            self._ring[self._next] = record
            self._next += 1
            if record["id"] is not None:
                self._by_id[record["id"]] = record
            if len(self._ring) > self._capacity:
                _, oldest = self._ring.popitem(last=False)
                if self._by_id.get(oldest["id"]) is oldest:
                    del self._by_id[oldest["id"]]

    def add(self, counts: Mapping[str, int]) -> None:
        for id, count in counts.items():
            if id in self._by_id:
                self._by_id[id]["count"] += count

    def close(self) -> None:
        pass


class CountsFile:
    """How often each logged region was decided after its record: one small file for each process, replaced whole."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"counts-{os.getpid()}-{time.time_ns():x}.json"
        self._counts: Counter[str] = Counter()
        self._due = 0.0

    def add(self, counts: Mapping[str, int]) -> None:
        self._counts.update(counts)
        if len(self._counts) > _MOST_COUNTS:
            lost = sum(count for _, count in self._counts.most_common()[_MOST_COUNTS:])
            self._counts = Counter(dict(self._counts.most_common(_MOST_COUNTS)))
            raise RecordsLostError(lost, f"more than {_MOST_COUNTS} regions are counted")
        if time.monotonic() >= self._due:
            self.save()

    def save(self) -> None:
        if self._counts:
            self._due = time.monotonic() + _COUNTS_EVERY
            body = json.dumps({"schema": COUNTS, "counts": self._counts}, separators=(",", ":"))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, body.encode("ascii"))


class JsonLines:
    """One JSON object per line, ASCII only, appended with one `write` per batch. Past `max_bytes` the file is renamed
    to `NAME.1` (the one before to `NAME.2`, ... up to `keep`) and begun anew."""

    def __init__(self, path: str | Path, max_bytes: int | None = None, keep: int = 5) -> None:
        self.path = Path(path)
        self.name = str(path)
        self._max_bytes, self._keep = max_bytes, keep
        self._file: int | None = None
        self._torn = False  # a line was begun and not ended
        self._counts = CountsFile(beside(self.path))

    def write(self, records: Sequence[Record]) -> None:
        lines = [_ENCODE(record).encode("ascii") + b"\n" for record in records]
        kept = [line for line in lines if len(line) <= MAX_RECORD_BYTES]
        file = self._open()
        if self._max_bytes is not None and self._rotate(file, sum(map(len, kept))):
            file = self._open()
        data = memoryview((b"\n" if self._torn else b"") + b"".join(kept))
        done = 0
        try:
            while done < len(data):
                done += os.write(file, data[done:])
        except OSError as error:
            whole = bytes(data[int(self._torn) : done]).count(b"\n")
            self._torn = (self._torn and done == 0) or (done > 0 and data[done - 1] != 0x0A)
            self._close()
            raise RecordsLostError(len(records) - whole, error.strerror or str(error)) from error
        self._torn = False
        if len(kept) < len(lines):
            raise RecordsLostError(len(lines) - len(kept), f"a record is larger than {MAX_RECORD_BYTES // 1024} KiB")

    def add(self, counts: Mapping[str, int]) -> None:
        self._counts.add(counts)

    def close(self) -> None:
        self._close()
        self._counts.save()

    def _open(self) -> int:
        """The file, opened again where somebody else has moved or removed it."""
        if self._file is not None and not self._is_there(self._file):
            self._close()
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
            self._torn = self._torn or self._ends_torn()
        return self._file

    def _is_there(self, file: int) -> bool:
        try:
            named, opened = os.stat(self.path), os.fstat(file)
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def _ends_torn(self) -> bool:
        """Whether the file, left by a process that was killed, ends within a line."""
        try:
            with open(self.path, "rb") as file:
                if not os.path.isfile(self.path) or file.seek(0, os.SEEK_END) == 0:
                    return False
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except OSError:
            return False

    def _rotate(self, file: int, coming: int) -> bool:
        assert self._max_bytes is not None
        size = os.fstat(file).st_size
        if size == 0 or size + coming <= self._max_bytes:
            return False
        self._close()
        for place in range(self._keep - 1, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{place}")
            if older.exists():
                os.replace(older, self.path.with_name(f"{self.path.name}.{place + 1}"))
        if self._keep > 0:
            os.replace(self.path, self.path.with_name(f"{self.path.name}.1"))
        else:
            self.path.unlink()
        self._torn = False
        return True

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Parquet:
    """Row groups of a Parquet file. It is readable once it is closed, so it is written as `NAME.part` and renamed
    then; past `max_bytes` the next file, `STEM.1.parquet` and so on, is begun. Nothing is overwritten.

    Raises:
        MissingDependencyError: pyarrow is not installed.
    """

    def __init__(self, path: str | Path, max_bytes: int | None = None) -> None:
        self._arrow, self._parquet = parquet_module()
        self.path = Path(path)
        self.name = str(path)
        self._max_bytes = max_bytes
        self._schema = parquet_schema(self._arrow)
        self._writer: Any = None
        self._part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        self._rows: list[Record] = []
        self._written = 0
        self._counts = CountsFile(beside(self.path))

    def write(self, records: Sequence[Record]) -> None:
        if self._writer is None:
            self._begin()  # now rather than with the first row group, so that a folder that cannot be written shows
        self._rows.extend(records)
        if len(self._rows) >= _ROWS:
            self._flush()
        if self._max_bytes is not None and self._part.stat().st_size >= self._max_bytes:
            self._finish()

    def add(self, counts: Mapping[str, int]) -> None:
        self._counts.add(counts)

    def close(self) -> None:
        try:
            self._finish()
        finally:
            self._counts.save()

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = self._parquet.ParquetWriter(self._part, self._schema, compression="zstd")
        self._written = 0

    def _flush(self) -> None:
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        table = self._arrow.Table.from_pylist([to_row(record) for record in rows], schema=self._schema)
        try:
            self._writer.write_table(table)
        except OSError as error:
            self._abandon()
            raise RecordsLostError(len(rows) + self._written, str(error)) from error
        self._written += len(rows)

    def _finish(self) -> None:
        if self._writer is None:
            return
        self._flush()
        try:
            self._writer.close()
            if self._written:
                os.replace(self._part, self._free_name())
            else:
                self._part.unlink()
            self._writer = None
        except OSError as error:
            lost = self._written
            self._abandon()
            raise RecordsLostError(lost, str(error)) from error

    def _abandon(self) -> None:
        """Without its end the file cannot be read: what stands in it is lost."""
        self._writer, self._written = None, 0
        self._part.unlink(missing_ok=True)

    def _free_name(self) -> Path:
        number, path = 0, self.path
        while path.exists():
            number += 1
            path = self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")
        return path


def beside(log: Path) -> Path:
    """`decisions.jsonl.snapshots`: the folder of what a log's records refer to."""
    return log.with_name(f"{log.name}.snapshots")


def parquet_module() -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet.

    Raises:
        MissingDependencyError: They are not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError("Parquet needs pyarrow: pip install 'layerzero[log]'") from error
    return pyarrow, pyarrow.parquet


_TEXT_COLUMNS = ("schema", "operation", "kernel", "error", "raised", "environment", "snapshot", "request_id", "id")
_LIST_COLUMNS = ("recovered_from", "locked_by", "ordered_by")


def parquet_schema(arrow: Any) -> Any:
    """The columns: those of a record; `values` and `arms` as JSON text, the policy in three columns."""
    return arrow.schema(
        [
            ("time", arrow.timestamp("us", tz="UTC")),
            *((name, arrow.string()) for name in (*_TEXT_COLUMNS, "values", "arms")),
            *((name, arrow.list_(arrow.string())) for name in _LIST_COLUMNS),
            *((name, arrow.float64()) for name in ("score", "seconds", "count")),
            ("degraded", arrow.bool_()),
            ("epoch", arrow.int64()),
            *((name, arrow.string()) for name in ("policy_name", "policy_version", "policy_digest")),
        ]
    )


def to_row(record: Record) -> dict[str, Any]:
    """A record as a row of `parquet_schema`."""
    policy = record["policy"]
    return {
        **{name: _text(record[name]) for name in _TEXT_COLUMNS},
        **{name: [_text(one) for one in record[name]] for name in _LIST_COLUMNS},
        "time": datetime.fromisoformat(record["time"]),
        "values": json.dumps(record["values"], separators=(",", ":")),
        "arms": json.dumps(record["arms"], separators=(",", ":")),
        "score": number(record["score"]),
        "seconds": record["seconds"],
        "count": record["count"],
        "degraded": record["degraded"],
        "epoch": record["epoch"],
        "policy_name": _text(policy["name"]),
        "policy_version": _text(policy["version"]),
        "policy_digest": policy["digest"],
    }


def from_row(row: Mapping[str, Any]) -> Record:
    """The record of a row.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: It is no such row.
    """
    return {
        **{name: row[name] for name in (*_TEXT_COLUMNS, *_LIST_COLUMNS)},
        "time": row["time"].strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "values": json.loads(row["values"]),
        "arms": json.loads(row["arms"]),
        "score": None if row["score"] is None else plain(row["score"]),
        **{name: row[name] for name in ("seconds", "count", "degraded", "epoch")},
        "policy": {"name": row["policy_name"], "version": row["policy_version"], "digest": row["policy_digest"]},
    }


def _text(text: str | None) -> str | None:
    """A lone surrogate, which a request can bring, has no UTF-8; it is written as an escape."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")

"""A decision log -> its records, one at a time, whatever stands between them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from layerzero.runtime.log_files import COUNTS, MAX_RECORD_BYTES, beside, from_row, parquet_module
from layerzero.runtime.record import Record, problem_of

_PARQUET = b"PAR1"
_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """Line `number` (from 1; of a Parquet file: row): its record, or what is wrong with it."""

    file: str
    number: int
    record: Record | None
    problem: str | None = None


def read_log(path: Path) -> Iterator[Entry]:
    """The entries of a JSON lines or Parquet file, which its first bytes tell apart.

    Raises:
        OSError: The file cannot be read.
        MissingDependencyError: It is Parquet, and pyarrow is not installed.
    """
    if is_parquet(path):
        yield from read_rows(str(path))
        return
    with open(path, "rb") as file:
        yield from read_lines(str(path), file)


def is_parquet(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


class Lines(Protocol):
    """What lines are read from: `readline` of a binary file."""

    def readline(self, limit: int, /) -> bytes: ...


def read_lines(name: str, stream: Lines, first: int = 1) -> Iterator[Entry]:
    """The entries of JSON lines as they arrive, numbered from `first`; blank lines are left out."""
    number = first - 1
    while data := stream.readline(MAX_RECORD_BYTES + 2):
        number += 1
        if len(data) > MAX_RECORD_BYTES and not data.endswith(b"\n"):
            while (rest := stream.readline(MAX_RECORD_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield Entry(name, number, None, f"the line is longer than {MAX_RECORD_BYTES // 1024} KiB")
        elif data.strip():
            yield _line(name, number, data)


def read_counts(log: Path) -> dict[str, int]:
    """How often the regions of a `distinct` log were decided again, by the id of their record.

    Raises:
        OSError: A file of counts cannot be read.
        ValueError: A file of counts is damaged.
    """
    found: dict[str, int] = {}
    for path in sorted(beside(log).glob("counts-*.json")):
        data = json.loads(path.read_bytes())
        if not isinstance(data, dict) or data.get("schema") != COUNTS or not isinstance(data.get("counts"), dict):
            raise ValueError(f"{path} is not of schema {COUNTS}")
        for id, count in data["counts"].items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 0:
                raise ValueError(f"{path}: the count of `{id}` is not a number of calls")
            found[id] = found.get(id, 0) + count
    return found


def _line(name: str, number: int, data: bytes) -> Entry:
    try:
        found = json.loads(data)
    except RecursionError:
        return Entry(name, number, None, "the line is nested too deeply")
    except ValueError as error:  # of JSON and of UTF-8
        return Entry(name, number, None, f"not JSON: {error}")
    return _checked(name, number, found)


def _checked(name: str, number: int, found: Any) -> Entry:
    problem = problem_of(found)
    return Entry(name, number, None if problem else found, problem)


def read_rows(name: str, groups: Iterable[int] | None = None, first: int = 1) -> Iterator[Entry]:
    """The entries of a Parquet file, or of some of its row groups, numbered from `first`."""
    arrow, parquet = parquet_module()
    try:
        file = parquet.ParquetFile(name)
    except arrow.ArrowInvalid as error:
        yield Entry(name, 1, None, f"not a whole Parquet file: {error}")
        return
    number = first - 1
    with file:
        for batch in file.iter_batches(batch_size=_ROWS, row_groups=None if groups is None else list(groups)):
            for row in batch.to_pylist():
                number += 1
                yield read_row(name, number, row)


def read_row(name: str, number: int, row: Mapping[str, Any]) -> Entry:
    """The entry of a row of Parquet."""
    try:
        record = from_row(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Entry(name, number, None, f"not a record: {type(error).__name__}: {error}")
    return _checked(name, number, record)

"""A Parquet log -> entries that each stand for all records alike, found by Polars: each is decided once.

Records are alike when they differ in their moment (within a day), their request and their duration alone: nothing of
that reads a replay. The entry is that of the first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from layerzero.errors import ArgumentError, MissingDependencyError
from layerzero.runtime.changes import MOST_PROBLEMS
from layerzero.runtime.log_files import parquet_module, parquet_schema
from layerzero.runtime.log_reader import Entry, is_parquet, read_row, read_rows

_OWN = ("time", "request_id", "seconds")


def read_groups(path: Path) -> Iterator[tuple[Entry, int]]:
    """The entries in the order of their first records, and how many records each stands for.

    Raises:
        OSError: The file cannot be read.
        MissingDependencyError: polars or pyarrow is not installed.
        ArgumentError: It is no Parquet file, or has other columns than those of a log.
    """
    polars = _polars()
    arrow, parquet = parquet_module()
    if not is_parquet(path):
        raise ArgumentError(f"{path}: only Parquet logs are grouped; leave `--polars` out")
    wanted = parquet_schema(arrow)
    try:
        schema = parquet.read_schema(path)
    except arrow.ArrowInvalid:
        yield from ((entry, 1) for entry in read_rows(str(path)))  # which says what is wrong
        return
    if not schema.equals(wanted):
        raise ArgumentError(f"{path}: its columns are not those of a decision log; leave `--polars` out")
    day = polars.col("time").dt.date().alias("day")
    alike = [name for name in wanted.names if name not in _OWN]
    rows = polars.scan_parquet(path, glob=False).with_row_index("number", offset=1)
    rows = rows.with_columns(day, polars.col("time").dt.replace_time_zone(None))
    own = (polars.col(name).first() for name in _OWN)
    found = rows.group_by([*alike, "day"]).agg(*own, polars.col("number").head(MOST_PROBLEMS), polars.len())
    unreadable: list[Entry] = []
    lost = 0
    for row in found.sort(polars.col("number").list.first()).collect().iter_rows(named=True):
        numbers: list[int] = row["number"]
        entry = read_row(str(path), numbers[0], row)
        if entry.record is not None:
            yield entry, row["len"]
        else:
            unreadable += (replace(entry, number=number) for number in numbers)
            lost += row["len"]
    listed = sorted(unreadable, key=lambda entry: entry.number)[:MOST_PROBLEMS]
    yield from ((entry, 1) for entry in listed)
    if lost > len(listed):
        yield listed[0], lost - len(listed)  # only their number matters: the list is full


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise MissingDependencyError("grouping needs polars: pip install 'layerzero[large]'") from error
    return polars

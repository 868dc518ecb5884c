"""A decision log -> parts that can be read apart, on any machine that sees the file, each knowing its line numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from layerzero.runtime.log_files import parquet_module
from layerzero.runtime.log_reader import Entry, is_parquet, read_lines, read_log, read_rows

PART_BYTES = 16 * 2**20
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Part:
    """`Part("d.jsonl", 1001, 52_000, 104_000)`: its lines from number 1001 on, which are the bytes 52 000 to 104 000.

    Of a Parquet file the row groups from `start` to before `stop`. Where `stop` is None, the whole file.
    """

    file: str
    first: int
    start: int
    stop: int | None


def parts(path: Path, size: int = PART_BYTES) -> Iterator[Part]:
    """The parts of a log of about that many bytes, in order.

    Raises:
        OSError: The file cannot be read.
        MissingDependencyError: It is Parquet, and pyarrow is not installed.
    """
    yield from _row_groups(path, size) if is_parquet(path) else _lines(path, size)


def read_part(part: Part) -> Iterator[Entry]:
    """The entries that `read_log` gives of these lines."""
    if part.stop is None:
        yield from read_log(Path(part.file))
    elif is_parquet(Path(part.file)):
        yield from read_rows(part.file, range(part.start, part.stop), part.first)
    else:
        with open(part.file, "rb") as file:
            file.seek(part.start)
            yield from read_lines(part.file, _Upto(file, part.stop - part.start), part.first)


class _Upto:
    """Reads lines of a file, up to a number of bytes."""

    def __init__(self, file: BinaryIO, left: int) -> None:
        self._file, self._left = file, left

    def readline(self, limit: int, /) -> bytes:
        data = self._file.readline(min(limit, self._left))
        self._left -= len(data)
        return data


def _lines(path: Path, size: int) -> Iterator[Part]:
    start = end = 0
    first = number = 1
    with open(path, "rb") as file:
        while block := file.read(min(size, _BLOCK)):
            number += block.count(b"\n")
            end += len(block)
            newline = block.rfind(b"\n")
            if newline >= 0 and end - start >= size:
                stop = end - len(block) + newline + 1
                yield Part(str(path), first, start, stop)
                start, first = stop, number
    if end > start:
        yield Part(str(path), first, start, end)


def _row_groups(path: Path, size: int) -> Iterator[Part]:
    arrow, parquet = parquet_module()
    try:
        found = parquet.read_metadata(path)
    except arrow.ArrowInvalid:
        yield Part(str(path), 1, 0, None)  # whoever reads it says what is wrong
        return
    start, first, rows, held = 0, 1, 0, 0
    for group in range(found.num_row_groups):
        rows += found.row_group(group).num_rows
        held += found.row_group(group).total_byte_size
        if held >= size or group + 1 == found.num_row_groups:
            yield Part(str(path), first, start, group + 1)
            start, first, rows, held = group + 1, first + rows, 0, 0

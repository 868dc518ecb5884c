"""A decision log on disk -> the entries that are new since the last look, a bounded piece at a time.

The file may grow, be absent, be cut off, or be renamed to `NAME.1` and begun anew while it is read. Of a large one only
the end is read to begin with; `left_out` says how much was not.
"""

from __future__ import annotations

import io
import os
import stat
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from layerzero.runtime.log_files import MAX_RECORD_BYTES
from layerzero.runtime.log_reader import Entry, read_lines, read_log

FIRST = 32 * 1024**2  # bytes at the end of a log that are read to begin with
PIECE = 2 * 1024**2
ROWS = 4_000  # of a Parquet file in one look
_ROTATED = 64  # `NAME.1` .. `NAME.64` are looked for
_PARQUET = b"PAR1"


class Tail:
    """One log.

    Attributes:
        left_out: Bytes before the part that was read to begin with.
        missed: How often the file was renamed out of sight before its end was read.
        more: Whether there may be something left for another look at once.
    """

    def __init__(self, path: Path, first: int = FIRST) -> None:
        self.path = path
        self.left_out = self.missed = 0
        self.more = False
        self._first = first
        self._files: deque[BinaryIO] = deque()  # to be read one after the other; the last one grows
        self._begun = b""  # a line without its end
        self._skipping = False  # in a line that is too long
        self._rows: Iterator[Entry] | None = None
        self._parquet: tuple[int, int] | None = None  # modification time and size of the one that was read

    def read(self) -> list[Entry]:
        """What is new; empty where the file is absent.

        Raises:
            OSError: The file cannot be read.
            MissingDependencyError: It is Parquet, and pyarrow is not installed.
        """
        self.more = False
        if not self._files and not self._open():
            return self._read_rows()
        data = self._piece()
        self.more = bool(data)
        return list(read_lines(str(self.path), io.BytesIO(self._whole_lines(data))))

    def close(self) -> None:
        while self._files:
            self._files.popleft().close()

    # ------------------------------------------------------------ JSON lines

    def _open(self) -> bool:
        """Open the end of the log, rotated files included; False where there is no file of lines."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(found.st_mode):
            raise OSError(f"{self.path} is not a file")
        newest = _opened(self.path)
        if newest.read(len(_PARQUET)) == _PARQUET:
            newest.close()
            return False
        files, left = [newest], self._first - os.fstat(newest.fileno()).st_size
        for older in self._rotated():
            if left <= 0:
                self.left_out += older.stat().st_size
                continue
            files.append(_opened(older))
            left -= os.fstat(files[-1].fileno()).st_size
        for file in files:
            file.seek(0)
        if left < 0:
            files[-1].seek(-left)
            self.left_out += -left
            self._skipping = True  # to the end of the line that it falls into
        self._files.extend(reversed(files))
        return True

    def _piece(self) -> bytes:
        while True:
            file = self._files[0]
            data = file.read(PIECE)
            if data:
                return data
            if len(self._files) > 1:
                self._files.popleft().close()
                self._begun, self._skipping = b"", False  # a line that its writer did not end
            elif not self._turned_over(file):
                return b""

    def _turned_over(self, file: BinaryIO) -> bool:
        """Whether there is something to read after the end of the newest file that is open."""
        opened = os.fstat(file.fileno())
        if opened.st_size < file.tell():  # cut off in place
            file.seek(0)
            self._begun, self._skipping = b"", False
            return opened.st_size > 0
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return False
        if (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino):
            return False
        between: list[Path] = []
        for older in self._rotated():
            found = older.stat()
            if (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino):
                break
            between.append(older)
        else:
            self.missed += 1
            between = []
        self._files.extend(_opened(path) for path in (*reversed(between), self.path))
        return True

    def _rotated(self) -> Iterator[Path]:
        """`NAME.1`, `NAME.2`, ...: the newest first."""
        for number in range(1, _ROTATED + 1):
            path = self.path.with_name(f"{self.path.name}.{number}")
            if not path.is_file():
                return
            yield path

    def _whole_lines(self, data: bytes) -> bytes:
        if self._skipping:
            _, end, data = data.partition(b"\n")
            if not end:
                return b""
            self._skipping = False
        lines, end, rest = data.rpartition(b"\n")
        if not end:
            self._begun += rest
            lines = b""
        else:
            lines, self._begun = self._begun + lines + end, rest
        if len(self._begun) > MAX_RECORD_BYTES:
            lines += self._begun + b"\n"  # one entry, which says that it is too long
            self._begun, self._skipping = b"", True
        return lines

    # ------------------------------------------------------------ Parquet

    def _read_rows(self) -> list[Entry]:
        """Such a file is whole once it is there; another one under its name is read anew."""
        if self._rows is None:
            try:
                found = os.stat(self.path)
            except FileNotFoundError:
                return []
            if (found.st_mtime_ns, found.st_size) == self._parquet:
                return []
            self._parquet = found.st_mtime_ns, found.st_size
            self._rows = read_log(self.path)
        rows = list(islice(self._rows, ROWS))
        self.more = len(rows) == ROWS
        if not self.more:
            self._rows = None
        return rows


def _opened(path: Path) -> BinaryIO:
    """Open for as long as the tail is: what was renamed can be read to its end."""
    return open(path, "rb")

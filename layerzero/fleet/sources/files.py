"""`file:///srv/policies/prod.lzb`: a release in a file, on a disk that machines share or where something copies it to;
`file://./prod.lzb` is one in the current folder.

    prod.lzb                    the release
    prod.lzb.holds/DIGEST.json  what holds a candidate up
    prod.lzb.nodes/NODE.json    the report of a node

Each file is replaced as a whole. The web server of `lz fleet serve` keeps its releases in the same way.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from layerzero.errors import ArgumentError
from layerzero.fleet.bundle import MAX_RELEASE_BYTES
from layerzero.fleet.source import (
    KEPT_SECONDS,
    MAX_REPORT_BYTES,
    MAX_REPORTS,
    AbsentError,
    ChangedError,
    Fetched,
    Hold,
    SourceError,
    shown,
)
from layerzero.runtime.whole_file import replace_file

LOOK_EVERY = 0.25  # seconds
SETTLED = 2.0  # seconds after which another content has another time of change, on any file system


def open_url(url: str) -> FileSource:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost", ".") or not path.startswith("/") or path.endswith("/"):
        raise ArgumentError(f"`{shown(url)}` names no file of this machine: wanted file:///folder/prod.lzb")
    return FileSource(Path(f".{path}" if parts.netloc == "." else path))


class FileSource:
    """Implements Source."""

    how = "polling of a file"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.holds = path.with_name(f"{path.name}.holds")
        self.nodes = path.with_name(f"{path.name}.nodes")
        self._unchanged: tuple[tuple[int, ...], str] | None = None  # what a file looked like that had this mark

    def fetch(self, mark: str | None, wait: float) -> Fetched:
        until = time.monotonic() + wait
        while True:
            before = self._stat()  # first, so that what changes while it is read is a change
            if mark is None or self._unchanged != (before, mark):
                data = self._read()
                found = _mark(data)
                # A file that was written just now may be written again within the same tick of its clock.
                self._unchanged = (before, found) if abs(time.time() - max(before[-2:]) / 1e9) > SETTLED else None
                if found != mark:
                    return Fetched(data, found)
            if time.monotonic() >= until:
                return Fetched(None, mark)
            time.sleep(LOOK_EVERY)

    def _read(self) -> bytes:
        with _failing(self.path), self.path.open("rb") as stream:
            data = stream.read(MAX_RELEASE_BYTES + 1)
        if len(data) > MAX_RELEASE_BYTES:
            raise SourceError(f"{self.path} has more than {MAX_RELEASE_BYTES} bytes, the limit of a release")
        return data

    def _stat(self) -> tuple[int, ...]:
        with _failing(self.path):
            found = self.path.stat()
            if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for without end
                raise SourceError(f"{self.path} is not a file")
            return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def push(self, data: bytes, mark: str | None) -> None:
        with _failing(self.path), self._alone():
            if (_mark(self._read()) if self.path.exists() else None) != mark:
                raise ChangedError(str(self.path))
            replace_file(self.path, data)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two pushes at once must not both find the same release before them."""
        with self.path.with_name(f"{self.path.name}.lock").open("ab") as lock:
            if os.name == "posix":
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def held(self, digest: str) -> Hold | None:
        file = self.holds / f"{digest}.json"
        with _failing(file), suppress(FileNotFoundError), file.open("rb") as stream:
            return Hold.from_bytes(stream.read(MAX_REPORT_BYTES))
        return None

    def hold(self, digest: str, hold: Hold) -> None:
        with _failing(self.holds):
            self.holds.mkdir(exist_ok=True)
            if not (self.holds / f"{digest}.json").exists():
                replace_file(self.holds / f"{digest}.json", hold.to_bytes())

    def resume(self, digest: str) -> None:
        with _failing(self.holds):
            (self.holds / f"{digest}.json").unlink(missing_ok=True)

    def report(self, node: str, data: bytes) -> None:
        with _failing(self.nodes):
            self.nodes.mkdir(exist_ok=True)
            replace_file(self.nodes / f"{node}.json", data)

    def reports(self) -> Iterator[bytes]:
        with _failing(self.nodes):
            for number, file in enumerate(sorted(self.nodes.glob("*.json"))):
                if number == MAX_REPORTS:
                    return
                with suppress(FileNotFoundError):
                    if time.time() - file.stat().st_mtime > KEPT_SECONDS:
                        file.unlink()
                        continue
                    with file.open("rb") as stream:
                        yield stream.read(MAX_REPORT_BYTES)

    def close(self) -> None:
        pass


def _mark(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = AbsentError if isinstance(error, FileNotFoundError) else SourceError
        raise kind(f"{error.filename or path}: {(error.strerror or str(error)).lower()}") from error

"""A report for other processes: a JSON file that the serving process writes, and a request to resume an arm beside it.

The file is replaced as a whole, so a reader sees one report or the next. `lz experiment status` reads it; `lz
experiment resume` writes `FILE.resume`, which the serving process obeys and removes. Whoever may write to the folder
may resume arms; the default folder is the user's own.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from layerzero.errors import LayerZeroError
from layerzero.experiments.report import SCHEMA, need_scipy
from layerzero.runtime.whole_file import replace_file

log = logging.getLogger("layerzero")

_MOST_BYTES = 4_000_000


class Sharing:
    """Writes a report every so often, and obeys what others ask, in a thread of its own."""

    def __init__(
        self, path: Path, every: float, data: Callable[[], dict[str, Any]], resume: Callable[[str], None]
    ) -> None:
        need_scipy()
        self.path = path
        self._every = every
        self._data = data
        self._resume = resume
        self._ended = threading.Event()
        self.write()
        self._thread = threading.Thread(target=self._run, name="layerzero-experiments-file", daemon=True)
        self._thread.start()

    def write(self) -> None:
        """Put the present report in place of the one before.

        Raises:
            OSError: The folder cannot be written, or the disk is full; the report before stays.
        """
        data = {**self._data(), "process": os.getpid(), "every": self._every}
        replace_file(self.path, json.dumps(data).encode("ascii"), 0o600)

    def close(self, remove: bool = True) -> None:
        """End, and take the file away."""
        self._ended.set()
        self._thread.join()
        if remove:
            self.path.unlink(missing_ok=True)

    def _run(self) -> None:
        said: str | None = None
        while not self._ended.wait(self._every):
            try:
                self._obey()
                self.write()
                said = None
            except (OSError, LayerZeroError) as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("experiments: `%s` cannot be kept up to date: %s", self.path, error)

    def _obey(self) -> None:
        asked = resume_file(self.path)
        if not asked.is_file():
            return
        names = asked.read_text(encoding="utf-8").split()
        asked.unlink()
        for name in names:
            try:
                self._resume(name)
            except LayerZeroError as error:
                log.warning("experiments: asked through `%s`: %s", asked, error)


def resume_file(path: Path) -> Path:
    """Where others ask for arms to be resumed, one name a line."""
    return path.with_name(path.name + ".resume")


def own_folder() -> Path:
    """The folder of this user's running processes, made where it is missing.

    Raises:
        PermissionError: Somebody else made a folder of that name.
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(base) / f"layerzero-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        raise PermissionError(13, "belongs to somebody else", str(folder))
    return folder


def own_file() -> Path:
    """Where this process shares its report unless told otherwise."""
    return own_folder() / f"experiments-{os.getpid()}.json"


def running() -> list[Path]:
    """The files of this user's processes that still run; those of processes that died are removed."""
    found = []
    for path in sorted(own_folder().glob("experiments-*.json")):
        try:
            os.kill(int(path.stem.partition("-")[2]), 0)
        except (ProcessLookupError, ValueError):
            path.unlink(missing_ok=True)
            continue
        except PermissionError:
            pass  # it runs, under another name
        found.append(path)
    return found


def read_report(path: Path) -> dict[str, Any]:
    """A report that a process wrote.

    Raises:
        OSError: It cannot be read.
        LayerZeroError: It is no such report.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise LayerZeroError(f"`{path}` is larger than {_MOST_BYTES} bytes: not a report on experiments")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LayerZeroError(f"`{path}` is not a report on experiments: {error}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise LayerZeroError(f"`{path}` is not a report on experiments: no schema {SCHEMA}")
    return data

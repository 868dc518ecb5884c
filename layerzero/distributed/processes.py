"""Whether the process of a rank has ended: known at once on the same machine, and not at all from elsewhere."""

from __future__ import annotations

import os
import select
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def own() -> Json:
    """What another process wants to know of this one; empty where the system has no file descriptors of processes."""
    with suppress(OSError):
        return {"machine": _machine(), "pid": os.getpid(), "started": _started(os.getpid())}
    return {}


class Watched:
    """A process, from what it tells of itself; `ended` is False for ever where it runs on another machine."""

    def __init__(self, told: Json) -> None:
        self._descriptor: int | None = None
        self._gone = False
        with suppress(OSError):
            if told and told["machine"] == _machine():
                self._open(told["pid"], told["started"])

    def _open(self, pid: int, started: str) -> None:
        try:
            self._descriptor = os.pidfd_open(pid)
            weakref.finalize(self, os.close, self._descriptor)
            self._gone = _started(pid) != started  # another process has the number by now
        except (ProcessLookupError, FileNotFoundError):
            self._gone = True

    @property
    def ended(self) -> bool:
        if self._descriptor is not None and not self._gone:
            look = select.poll()
            look.register(self._descriptor, select.POLLIN)
            self._gone = bool(look.poll(0))
        return self._gone


def _machine() -> str:
    """One start of one kernel, and one space of process numbers in it (a container has its own)."""
    if not hasattr(os, "pidfd_open"):
        raise OSError("no file descriptors of processes")
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> str:
    """When, in ticks since the machine began: with the number, it names a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]

"""A child process that answers one question at a time, and is ended where an answer takes too long.

It is spawned, never forked: a copy of a process that holds CUDA contexts and threads is no place to work in.
"""

from __future__ import annotations

import io
import json
import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, BinaryIO, cast

from layerzero.runtime.frames import ClosedError, receive, send

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; main(*json.loads(sys.argv[2]))"
)

NO_MEMORY = 12
"""The exit code of a child that had no memory left for an answer."""


class ChildLostError(Exception):
    """The child gave no answer and has ended. `overdue` says that it was ended for taking too long, `broke` that it
    ended as it does that finds no memory left to say so."""

    def __init__(self, overdue: bool, code: int) -> None:
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        super().__init__(f"ended {how}")
        self.overdue = overdue
        self.broke = code == NO_MEMORY or -code in (signal.SIGSEGV, signal.SIGABRT)


class Child:
    """Runs `main(memory, parent)` of a module, which answers with frames over its pipes.

    Args:
        memory: Bytes of address space that it may take; 0 is no limit.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, module: str, memory: int) -> None:
        paths = json.dumps([path or os.getcwd() for path in sys.path])
        program = os.fsdecode(multiprocessing.spawn.get_executable() or sys.executable)
        command = [program, "-c", _START.format(module=module), paths, json.dumps([memory, os.getpid()])]
        self._process = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._questions = cast(BinaryIO, self._process.stdin)
        self._answers = io.BufferedReader(cast(Any, self._process.stdout))
        self._overdue = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def ask(self, question: Any, blobs: Sequence[bytes], seconds: float) -> tuple[bytes, list[bytes]]:
        """The answer, as `frames.receive` has it.

        Raises:
            ChildLostError: The child has ended, or was ended after so many seconds.
        """
        timer = threading.Timer(seconds, self._overtime)
        timer.daemon = True
        timer.start()
        try:
            send(self._questions, question, blobs)
            return receive(self._answers)
        except (OSError, ClosedError, ValueError) as error:
            raise self.end() from error
        finally:
            timer.cancel()

    def kill(self) -> None:
        """Have it end; who asks it hears of that."""
        self._process.kill()

    def end(self) -> ChildLostError:
        """End it; how it ended."""
        self._process.kill()
        self._process.wait()
        for stream in (self._questions, self._answers):
            with suppress(OSError):  # what it had not taken is of no use any more
                stream.close()
        return ChildLostError(self._overdue, self._process.returncode)

    def _overtime(self) -> None:
        self._overdue = True
        self.kill()

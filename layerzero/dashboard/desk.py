"""A question about policies -> its answer from a child process, which is ended where it takes too long or too much.

So a hostile policy in the playground, or one that takes minutes to compare, costs a child and not the pages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any, cast

from layerzero.errors import LayerZeroError
from layerzero.runtime.frames import ClosedError, from_pieces, receive, send

SECONDS = 15.0
MEMORY = 2 * 1024**3  # bytes of address space
WAITING = 8  # questions that may wait for the one before
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from layerzero.dashboard.answering import main; main(*json.loads(sys.argv[2]))"
)

Json = dict[str, Any]


class DeskError(LayerZeroError):
    """There is no answer; the message says which limit was passed."""


class Desk:
    """One child, started with the first question; questions of several threads wait for each other."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds, self.memory = seconds, memory
        self._asking = threading.Lock()
        self._places = threading.BoundedSemaphore(WAITING)
        self._process: subprocess.Popen[bytes] | None = None
        self._overdue = False

    def ask(self, question: Json) -> Json:
        """The answer.

        Raises:
            DeskError: The limit of time or memory was passed, or too many wait.
        """
        if not self._places.acquire(blocking=False):
            raise DeskError("too many questions at once; ask again")
        try:
            with self._asking:
                return self._ask(question)
        finally:
            self._places.release()

    def close(self) -> None:
        """End the child."""
        process = self._process
        if process is not None:
            process.kill()
            with self._asking:
                self._end(process)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _ask(self, question: Json) -> Json:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        self._overdue = False
        timer = threading.Timer(self.seconds, self._overtime, [process])
        timer.daemon = True
        timer.start()
        try:
            send(cast(Any, process.stdin), question)
            text, _ = receive(cast(Any, process.stdout))
        except (OSError, ClosedError, ValueError) as error:
            self._end(process)
            if self._overdue:
                raise DeskError(f"this takes longer than {self.seconds:g} s, which is the limit") from error
            raise DeskError("the process that answers ended while it worked on this") from error
        finally:
            timer.cancel()
        answer = cast(Json, from_pieces(text))
        if answer.get("error") == "memory":
            self._end(process)
            raise DeskError(f"this takes more than {self.memory // 1024**2} MiB, which is the limit")
        return answer

    def _overtime(self, process: subprocess.Popen[bytes]) -> None:
        self._overdue = True
        process.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None:
            if self._process.poll() is None:
                return self._process
            self._end(self._process)
        paths = json.dumps([path or os.getcwd() for path in sys.path])
        limits = json.dumps([self.memory, os.getpid()])
        command = [sys.executable, "-c", _START, paths, limits]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise DeskError(f"the process that answers cannot be started: {error}") from error
        return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue  # what it had not taken is of no use any more
        self._process = None

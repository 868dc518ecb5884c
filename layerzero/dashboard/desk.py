"""A question about policies -> its answer from a child process, which is ended where it takes too long or too much.

So a hostile policy in the playground, or one that takes minutes to compare, costs a child and not the pages.
"""

from __future__ import annotations

import threading
from typing import Any, cast

from layerzero.errors import LayerZeroError
from layerzero.runtime.child import Child, ChildLostError
from layerzero.runtime.frames import from_pieces

SECONDS = 15.0
MEMORY = 2 * 1024**3  # bytes of address space
WAITING = 8  # questions that may wait for the one before

Json = dict[str, Any]


class DeskError(LayerZeroError):
    """There is no answer; the message says which limit was passed."""


class Desk:
    """One child, started with the first question; questions of several threads wait for each other."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.seconds, self.memory = seconds, memory
        self._asking = threading.Lock()
        self._places = threading.BoundedSemaphore(WAITING)
        self._child: Child | None = None

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
        child = self._child
        if child is not None:
            child.kill()
            with self._asking:
                self._end()

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def _ask(self, question: Json) -> Json:
        child = self._running()
        try:
            text, _ = child.ask(question, (), self.seconds)
        except ChildLostError as error:
            self._child = None
            if error.overdue:
                raise DeskError(f"this takes longer than {self.seconds:g} s, which is the limit") from error
            raise DeskError("the process that answers ended while it worked on this") from error
        answer = cast(Json, from_pieces(text))
        if answer.get("error") == "memory":
            self._end()
            raise DeskError(f"this takes more than {self.memory // 1024**2} MiB, which is the limit")
        return answer

    def _running(self) -> Child:
        if self._child is not None:
            if self._child.runs:
                return self._child
            self._end()
        try:
            self._child = Child("layerzero.dashboard.answering", self.memory)
        except OSError as error:
            raise DeskError(f"the process that answers cannot be started: {error}") from error
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = None

"""A child process that makes calls and may be lost: asked one probe at a time, each within a time."""

from __future__ import annotations

import json
import math
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from layerzero.check.program import Program
from layerzero.errors import LayerZeroError
from layerzero.facts.plan import Probe
from layerzero.semantics.environment import Environment

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from layerzero.facts.child import main; main()"
_FIRST = 300.0  # seconds to import torch and the packages of kernels, on a busy machine
_FIRST_CALL = 5  # of a kernel in a process: times the patience with another one, for it may compile
_NOT_RUN: Mapping[str, Any] = {"seen": "not run", "text": "the budget was spent", "off": None}


def pickled(program: Program, environment: Environment) -> bytes:
    """What a child process reads before the probes."""
    return pickle.dumps((program, environment))


class Child:
    """Answers probes; a process is started when the first is asked, and another one after each loss.

    `facts` are `pickled`; `threads` is how many the process may use.
    """

    def __init__(self, facts: bytes, threads: int) -> None:
        self._facts, self._threads = facts, threads
        self._called: set[str] = set()  # kernels, by the process that runs now
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def machine(self) -> Mapping[str, Any]:
        """Devices and versions, as the child sees them.

        Raises:
            LayerZeroError: It cannot call kernels.
        """
        found = self._start()
        if found is None or "problem" in found:
            self.close()
            raise LayerZeroError(str(found["problem"]) if found else "the child process did not start")
        return found

    def ask(self, probe: Probe, patience: float, left: float = math.inf) -> Mapping[str, Any]:
        """`{"seen": ..., "text": ..., "off": ...}`; no longer than `patience` and `left` seconds are waited."""
        if self._process is None and self._start(left) is None:
            if self._process is not None and self._process.poll() is None:
                self.close()
                return _NOT_RUN
            return {"seen": "crashed", "text": "the child process did not start", "off": None}
        assert self._process is not None and self._process.stdin is not None
        request = {"kernel": probe.kernel, "operation": probe.operation, "given": dict(probe.given)}
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            return {"seen": "crashed", "text": self._end(), "off": None}
        seconds = patience if probe.kernel in self._called else patience * _FIRST_CALL
        self._called.add(probe.kernel)
        answer = self._receive(min(seconds, left))
        if answer is None and self._process.poll() is None:
            self.close()
            if left < seconds:
                return _NOT_RUN
            return {"seen": "no answer", "text": f"no answer within {seconds:.0f} s", "off": None}
        if answer is None:
            return {"seen": "crashed", "text": self._end(), "off": None}
        if answer.pop("lost"):
            self.close()
            return {"seen": "crashed", "text": f"the device context was lost: {answer['text']}", "off": None}
        return answer

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def _start(self, left: float = math.inf) -> dict[str, Any] | None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._called.clear()
        environment = {
            **os.environ,
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "PYTHONFAULTHANDLER": "",
            "OMP_NUM_THREADS": str(self._threads),
            "MAX_JOBS": os.environ.get("MAX_JOBS", str(self._threads)),  # compilers that a library starts
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
        )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(self._facts)
            self._process.stdin.flush()
        except OSError:
            return None
        return self._receive(min(_FIRST, left))

    def _receive(self, seconds: float) -> dict[str, Any] | None:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return None
        if not line:
            assert self._process is not None
            self._process.wait()
            return None
        return cast("dict[str, Any]", json.loads(line))

    def _end(self) -> str:
        """Clear away a process that has ended, and say how it did: its signal and its last words."""
        assert self._process is not None
        code = self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was not sent has nobody to read it
                    stream.close()
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()
        self._log.close()
        self._process = None
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the process ended: {how}{f'; {words[-1][:200]}' if words else ''}"


def _read(stream: Any, lines: queue.SimpleQueue[bytes]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(b"")

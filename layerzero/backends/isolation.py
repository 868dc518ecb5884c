"""Adapters -> why each does not load, tried in a child process: what ends or hangs that process is only a reason.

One child tries them one after the other and notes each in a file. Where it ends or stands still, the adapter that it
was at is the culprit, and another child goes on behind it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SECONDS = 60.0  # for one adapter; a cold start of a large package over a network takes a good part of that
_LOOK = 0.02

_CHILD = """
import json, sys
paths, notes, sys.path[:] = json.loads(sys.argv[1])
from layerzero.backends.probe import load_adapter
with open(notes, "a", encoding="utf-8") as file:
    for path in paths:
        try:
            found = load_adapter(path)
            reason = found if isinstance(found, str) else None
        except BaseException as error:
            reason = f"`{path.partition(':')[0]}` does not import: {type(error).__name__}: {error}"
        print(json.dumps(reason), file=file, flush=True)
"""


def tried_apart(paths: Sequence[str], seconds: float = SECONDS) -> dict[str, str | None]:
    """`{"layerzero.backends.quack:rope": None, "...v2:paged": "... does not import: it ended the process (SIGSEGV)"}`.

    None is an adapter that loads. Nothing is imported in this process. An embedded interpreter, which knows no
    executable to start, tries nothing.
    """
    answers: dict[str, str | None] = {}
    left = list(paths) if sys.executable else []
    while left:
        reasons, end = _one_child(left, seconds)
        answers |= zip(left, reasons, strict=False)
        left = left[len(reasons) :]
        if left:
            answers[left[0]] = f"`{left[0].partition(':')[0]}` does not import: {end}"
            # The same module would do the same again.
            module = left[0].partition(":")[0]
            answers |= {path: answers[left[0]] for path in left if path.partition(":")[0] == module}
            left = [path for path in left if path not in answers]
    return answers


def _one_child(paths: Sequence[str], seconds: float) -> tuple[list[str | None], str]:
    """The answers that a child came to, and how it ended if those are not all."""
    with tempfile.TemporaryDirectory(prefix="layerzero-probe-") as folder:
        notes = Path(folder) / "notes"
        notes.touch()
        arguments = json.dumps([list(paths), str(notes), sys.path])
        quiet = subprocess.DEVNULL
        with subprocess.Popen(
            [sys.executable, "-c", _CHILD, arguments], stdin=quiet, stdout=quiet, stderr=quiet
        ) as child:
            end = _watch(child, notes, seconds)
        lines = notes.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], end


def _watch(child: subprocess.Popen[bytes], notes: Path, seconds: float) -> str:
    """Wait for a child; one that notes nothing for too long is ended."""
    noted, since = 0, time.monotonic()
    while True:
        try:
            return _ended(child.wait(timeout=_LOOK))
        except subprocess.TimeoutExpired:
            pass
        size = notes.stat().st_size
        if size != noted:
            noted, since = size, time.monotonic()
        if time.monotonic() - since > seconds:
            child.kill()
            return f"it did not come to an end within {seconds:g} s"


def _ended(status: int) -> str:
    names = {-one.value: one.name for one in signal.Signals}
    return f"it ended the process ({names.get(status, f'exit status {status}')})"

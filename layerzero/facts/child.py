"""The child process of `lz facts verify`: pickled facts, then probes as lines of JSON -> observations as lines of JSON.

What libraries print goes to standard error. The process ends where its device context is lost, and with the one that
started it, also in the midst of a call.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

from layerzero.check.program import Program
from layerzero.semantics.environment import Environment


def main() -> None:
    """Answer until nothing more is asked."""
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the memory of a process that dies is of no use
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Trusted: it comes through the pipe of the process that started this one.
    program, environment = pickle.load(sys.stdin.buffer)
    _reply(replies, _machine())
    for line in sys.stdin.buffer:
        _reply(replies, _answer(program, environment, json.loads(line)))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _reply(replies: Any, data: dict[str, Any]) -> None:
    replies.write(json.dumps(data) + "\n")
    replies.flush()


def _machine() -> dict[str, Any]:
    """What the report says of the machine, or why nothing can be called."""
    try:
        import torch
    except ImportError as error:
        return {"problem": f"calling kernels wants torch: {error}"}
    from layerzero.operations.device import present_devices

    devices = {json.dumps(dict(device), sort_keys=True): dict(device) for device in present_devices()}
    facts = {
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.version.cuda is not None:
        facts["cuda"] = torch.version.cuda
    return {"devices": list(devices.values()), "machine": facts}


def _answer(program: Program, environment: Environment, request: dict[str, Any]) -> dict[str, Any]:
    from layerzero.facts.trial import observe

    kernel = program.kernels[request["kernel"]]
    found = asdict(observe(program, environment, kernel, request["operation"], request["given"]))
    return {**found, "lost": request["given"].get("device") in ("cuda", "hip") and _context_lost()}


def _context_lost() -> bool:
    """After an illegal access every use of the device fails, in this process."""
    import torch

    try:
        torch.zeros(1, device="cuda").add(1).item()
    except RuntimeError:
        return True
    return False

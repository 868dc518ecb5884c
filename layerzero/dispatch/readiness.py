"""Whether this process can serve what was planned without loading or compiling anything: what is cold, and why not."""

from __future__ import annotations

from layerzero.backends.probe import import_failure, installed_version
from layerzero.dispatch.warmup import Warmth
from layerzero.errors import PolicyError
from layerzero.runtime.engine import Engine


def issues_of(engine: Engine, warmth: Warmth) -> list[str]:
    """What a request would meet: no policy, no torch, a kernel that is cold, a planned call that no kernel serves."""
    try:
        engine.current()
    except PolicyError as error:
        return [f"no policy is in force: {str(error).splitlines()[0]}"]
    return [*_torch(), *warmth.cold()]


def _torch() -> list[str]:
    if installed_version("torch") is None:
        return ["torch is not installed: no operation can be called"]
    failure = import_failure("torch")
    return [] if failure is None else [f"torch does not import: {failure}"]

"""`lz.configure(URL, trust=...)` and `lz watch URL` -> the follower of a source."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from layerzero.errors import ArgumentError
from layerzero.fleet.bundle import NAME
from layerzero.fleet.errors_risen import FailureCounts
from layerzero.fleet.follower import Follower, Options
from layerzero.fleet.kept import KeptBundles
from layerzero.fleet.keys import Trust
from layerzero.fleet.source import open_source, settled, shown
from layerzero.runtime.engine import Engine
from layerzero.runtime.failures import Failure

NODE = "LAYERZERO_NODE"


def join(
    engine: Engine,
    url: str,
    trust: str | Path | Iterable[str | Path] | None,
    node: str | None = None,
    keep_last_good: bool | str | Path | None = None,
    on_failure: Callable[[Failure], None] | None = None,
    interval: float = 1.0,
    *,
    reports: bool = True,
    failures: Callable[[], int] | None = None,
) -> Follower:
    """A follower of the source at an address; nothing is asked of it yet.

    Args:
        trust: Public keys, as Trust.load takes them.
        node: The name of this node; None is LAYERZERO_NODE, else the host's name.
        keep_last_good: False keeps nothing on disk, so that a start neither has a bundle where the source is away, nor
            knows an older one for a replay.
        reports: Whether the source hears of this node.
        failures: How many calls of kernels have failed since the process began.

    Raises:
        ArgumentError: An argument is wrong.
        FileNotFoundError: There is no such key.
        MissingDependencyError: The source, or signatures, want a package of the extra `fleet`.
    """
    if trust is None:
        raise ArgumentError(f"a policy from {shown(url)} wants argument `trust`: the public keys that may sign it")
    name = node or os.environ.get(NODE) or re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:128]
    if not NAME.fullmatch(name):
        raise ArgumentError(f"argument `node`: wanted letters, digits and `._-`, at most 128, given {name!r}")
    url, paths = settled(url), [trust] if isinstance(trust, str | Path) else list(trust)
    trusted = partial(Trust.load, [os.path.abspath(one) for one in paths])
    open_source(url).close()  # an address that is none is said now
    folder = Path(keep_last_good) if isinstance(keep_last_good, str | Path) else None
    keep = KeptBundles(url, name, folder) if keep_last_good is not False else None
    counts = None if failures is None else FailureCounts(failures)
    return Follower(engine, url, trusted, Options(name, interval, reports), keep, counts, on_failure)

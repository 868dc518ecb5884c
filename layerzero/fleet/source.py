"""Where a release comes from and where nodes report. One fetch returns the whole release, or that nothing has changed.

A source is not trusted: what it gives is checked by the bundle's signature, and it can do no more than hold a fleet at
the release that it has. Its methods wait, so only threads of the fleet call them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast
from urllib.parse import quote, urlsplit, urlunsplit

from layerzero.errors import ArgumentError, LayerZeroError
from layerzero.syntax.visible import visible

MOST_SECONDS = 5.0  # for a connection, and for the next part of an answer
MAX_REPORT_BYTES = 64 * 1024
MAX_REPORTS = 10_000
KEPT_SECONDS = 24 * 3600  # for which the report of a silent node stays

_HOMES = {
    "file": "files",
    "http": "web",
    "https": "web",
    "redis": "redis_server",
    "rediss": "redis_server",
    "etcd": "etcd",
    "etcds": "etcd",
}


class SourceError(LayerZeroError):
    """A source cannot be reached, or its answer is none."""


class AbsentError(SourceError):
    """The source answers, and holds no release."""


class ChangedError(SourceError):
    """A push found another release than the one that it was to replace."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} holds another release by now: look at it, and push again")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch found.

    Attributes:
        data: The bytes of the release; None where it is what `mark` was given for.
        mark: Names this version of the release to the source that gave it (an ETag, a revision).
    """

    data: bytes | None
    mark: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nobody may begin to run a candidate: `breaker of `x.y on cuda` opened`, said by node-3."""

    node: str
    reason: str

    def to_bytes(self) -> bytes:
        return json.dumps({"node": self.node, "reason": self.reason[:2000]}).encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Hold:
        """Whatever a source gives counts as a hold; one that cannot be read says so."""
        with suppress(ValueError, TypeError, KeyError, RecursionError):
            found = json.loads(data[:MAX_REPORT_BYTES])
            return cls(visible(str(found["node"]))[:128], visible(str(found["reason"]))[:2000])
        return cls("?", "a hold that cannot be read")


class Source(Protocol):
    """A place that holds one release, the holds of its candidates, and the reports of nodes.

    Every method raises SourceError where the place cannot be reached or refuses, `fetch` AbsentError where it holds no
    release. One thread uses a source at a time,
    but for `close`.
    """

    how: str  # for people: "long poll of HTTP"

    def fetch(self, mark: str | None, wait: float) -> Fetched:
        """The release; where it is still that of `mark`, after `wait` seconds at most (a source that cannot wait
        answers at once)."""
        ...

    def push(self, data: bytes, mark: str | None) -> None:
        """Put a release in the place of the one of `mark`, or where there is none (None).

        Raises:
            ChangedError: It is another one by now.
        """
        ...

    def held(self, digest: str) -> Hold | None:
        """What holds up a candidate."""
        ...

    def hold(self, digest: str, hold: Hold) -> None:
        """Hold a candidate up; the first reason stays."""
        ...

    def resume(self, digest: str) -> None:
        """Hold it up no more."""
        ...

    def report(self, node: str, data: bytes) -> None:
        """Put a node's report in the place of the one before."""
        ...

    def reports(self) -> Iterator[bytes]:
        """The reports of all nodes, in no order; MAX_REPORTS at most."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def open_source(url: str) -> Source:
    """The source at an address. Nothing is asked of it yet.

    Raises:
        ArgumentError: The address is none.
        MissingDependencyError: The package that talks to it is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme not in _HOMES:
        wanted = ", ".join(f"{one}://" for one in _HOMES)
        raise ArgumentError(f"no source of policies: `{shown(url)}`; wanted {wanted}")
    module = import_module(f"layerzero.fleet.sources.{_HOMES[scheme]}")
    try:
        return cast(Source, module.open_url(url))
    except ArgumentError:
        raise
    except ValueError as error:
        raise ArgumentError(f"`{shown(url)}` is no address: {error}") from error


def settled(url: str) -> str:
    """The same address, wherever the program changes its folder to."""
    start = "file://./"
    return f"file://{quote(os.getcwd())}/{url.removeprefix(start)}" if url.startswith(start) else url


def shown(url: str) -> str:
    """An address as messages and status show it: without user and password."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return visible(re.sub(r"//.*@", "//", url))
    query = "..." if parts.query else ""  # may hold a password as well
    return visible(urlunsplit((parts.scheme, host, parts.path, query, "")))


def key_path(url: str) -> str:
    """The path of an address as a key of a store: `etcd://host:2379/fleet/prod` -> `fleet/prod`.

    Raises:
        ArgumentError: There is none, or it has other signs than letters, digits and `._-/`.
    """
    path = urlsplit(url).path.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", path):
        raise ArgumentError(f"`{shown(url)}` names no key: wanted a path of letters, digits and `._-`, as in /prod")
    return path

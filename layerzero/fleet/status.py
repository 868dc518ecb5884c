"""What a node tells of itself: to `lz.status()`, and as a report that its source keeps for `lz fleet status`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from layerzero.fleet.bundle import TIME, Bundle
from layerzero.fleet.rollout import in_share
from layerzero.fleet.source import MAX_REPORT_BYTES
from layerzero.runtime.failures import Failure, WatchStatus
from layerzero.syntax.visible import visible

SCHEMA = "lz.node/1"
MOST_DIAGNOSTICS = 20
MOST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Running:
    """A bundle from a node's side: `prod 8 (4f2a...), for 5 % of the nodes, this one among them`."""

    name: str
    version: int
    digest: str
    share: float  # percent
    for_this_node: bool

    @classmethod
    def of(cls, bundle: Bundle, node: str) -> Running:
        manifest = bundle.manifest
        return cls(manifest.name, manifest.version, bundle.digest, bundle.share / 100, in_share(bundle, node))


@dataclass(frozen=True, slots=True)
class FleetStatus(WatchStatus):
    """What `lz.status().watching` shows of a policy that comes from a source.

    Attributes:
        node: The name of this node; it decides which candidates are for it.
        active: The bundle in force; None where a start found only another policy.
        rollout: The candidate that the source offers to a share of the nodes.
        held: Why no further node begins to run the candidate.
        reached: When the source answered last.
        reporting: What is wrong with reports to the source; None where they arrive, or none are made.
    """

    node: str = ""
    active: Running | None = None
    rollout: Running | None = None
    held: str | None = None
    reached: datetime | None = None
    reporting: str | None = None


def report_of(status: FleetStatus, policy: str, open_breakers: Mapping[str, str]) -> dict[str, Any]:
    """The report that a source keeps of a node, but for the time."""
    return {
        "schema": SCHEMA,
        "node": status.node,
        "state": status.state,
        "policy": policy,
        "active": _data(status.active),
        "candidate": _data(status.rollout),
        "held": _short(status.held),
        "diagnostics": _diagnostics(status.failure),
        "open_breakers": {_short(name): _short(why) for name, why in sorted(open_breakers.items())[:MOST_DIAGNOSTICS]},
    }


def report_bytes(report: Mapping[str, Any], now: datetime) -> bytes:
    return json.dumps({**report, "at": now.strftime(TIME)}).encode("ascii")


def _data(bundle: Running | None) -> dict[str, Any] | None:
    if bundle is None:
        return None
    return {"name": bundle.name, "version": bundle.version, "digest": bundle.digest, "share": bundle.share}


def _diagnostics(failure: Failure | None) -> list[dict[str, str | None]]:
    if failure is None:
        return []
    found = [{"code": one.code, "message": _short(one.message), "at": str(one.span)} for one in failure.diagnostics]
    return found[:MOST_DIAGNOSTICS] or [{"code": None, "message": _short(failure.message), "at": None}]


def _short(text: str | None) -> str | None:
    return None if text is None else text[:MOST_CHARACTERS]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A report as it is read back: anybody may have written it, so everything in it is text to be shown, no more."""

    node: str
    at: str
    state: str
    active: str
    candidate: str
    held: str
    diagnostics: tuple[str, ...]
    open_breakers: tuple[str, ...]
    data: Mapping[str, Any] = field(repr=False)

    def silent(self, now: datetime, seconds: float) -> bool:
        """Whether nothing was heard of the node for a while, by its own clock."""
        with suppress(ValueError):
            return (now - datetime.strptime(self.at, TIME).replace(tzinfo=UTC)).total_seconds() > seconds
        return True

    @classmethod
    def from_bytes(cls, report: bytes) -> NodeReport | None:
        """None where it is none."""
        with suppress(ValueError, TypeError, LookupError, AttributeError, RecursionError):
            data = json.loads(report[:MAX_REPORT_BYTES])
            if data["schema"] == SCHEMA:
                return cls(
                    node=_text(data["node"]),
                    at=_text(data["at"]),
                    state=_text(data["state"]),
                    active=_bundle(data["active"]),
                    candidate=_bundle(data["candidate"]),
                    held=_text(data["held"] or ""),
                    diagnostics=tuple(_finding(one) for one in data["diagnostics"][:MOST_DIAGNOSTICS]),
                    open_breakers=tuple(_text(f"{k}: {v}") for k, v in data["open_breakers"].items())[
                        :MOST_DIAGNOSTICS
                    ],
                    data=data,
                )
        return None


def _text(value: object) -> str:
    return visible(str(value))[: 2 * MOST_CHARACTERS]


def _bundle(data: Mapping[str, Any] | None) -> str:
    if data is None:
        return "-"
    share = "" if data["share"] == 100 else f" at {float(data['share']):g} %"
    return _text(f"{data['name']} {int(data['version'])} ({str(data['digest'])[:12]}){share}")


def _finding(one: Mapping[str, Any]) -> str:
    at, code = one["at"], one["code"]
    return _text(f"{f'{at}: ' if at else ''}{f'[{code}] ' if code else ''}{one['message']}")

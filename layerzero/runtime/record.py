"""A call that ran -> one record of the decision log, and back: schema `lz.record/1`, JSON's types only.

A record holds the inputs of a decision and its outcome; with the snapshot that its `snapshot` names (see export) the
whole proof can be rebuilt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from packaging.version import Version

from layerzero.check.expressions import Value
from layerzero.runtime.decision import Decision
from layerzero.semantics.context import WrittenVersion
from layerzero.semantics.proof import Outcome

SCHEMA = "lz.record/1"

Record = dict[str, Any]


class Called(Protocol):
    """What a sink of the dispatcher is told: see layerzero.dispatch.trace.CallRecord."""

    @property
    def decision(self) -> Decision: ...

    @property
    def seconds(self) -> float: ...

    @property
    def error(self) -> Exception | None: ...


class Seen(NamedTuple):
    """A call as the calling thread noted it. `calls` is how many it stands for, `id` that of its region."""

    time_ns: int
    called: Called
    request_id: object
    calls: float = 1
    id: str | None = None


def to_record(seen: Seen, environment: str, snapshot: str) -> Record:
    """The record of a call.

    Args:
        seen: The call.
        environment: The digest of the environment that it was decided in.
        snapshot: The digest under which the snapshot is exported.
    """
    decision, error = seen.called.decision, seen.called.error
    identity = decision.policy
    return {
        "schema": SCHEMA,
        "time": spell_time(seen.time_ns),
        "operation": str(decision.scope),
        "values": {name: plain(value) for name, value in decision.values.items()},
        "arms": dict(decision.arms),
        "kernel": decision.kernel,
        "score": None if decision.score is None else plain(decision.score),
        "degraded": decision.degraded,
        "error": decision.error,
        "raised": None if error is None else type(error).__name__,
        "recovered_from": list(decision.recovered_from),
        "locked_by": list(decision.locked_by),
        "ordered_by": list(decision.ordered_by),
        "epoch": decision.epoch,
        "policy": {"name": identity.name, "version": identity.version, "digest": identity.digest},
        "environment": environment,
        "snapshot": snapshot,
        "request_id": None if seen.request_id is None else str(seen.request_id),
        "seconds": seen.called.seconds,
        "count": seen.calls,
        "id": seen.id,
    }


def spell_time(time_ns: int) -> str:
    """`2027-03-01T12:00:00.000000Z`"""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{_spell_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=4)
def _spell_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def plain(value: Value) -> bool | int | float | str:
    """A value as JSON has it; versions as written, numbers that JSON lacks as "NaN", "Infinity", "-Infinity"."""
    if isinstance(value, WrittenVersion):
        return value.written
    if isinstance(value, Version):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def number(raw: object) -> float | None:
    """A score as `plain` wrote it."""
    return None if raw is None else float(raw)  # type: ignore[arg-type]


def agrees(record: Mapping[str, Any], outcome: Outcome) -> bool:
    """Whether a record tells of this outcome."""
    return (
        record["kernel"] == outcome.kernel
        and number(record["score"]) == outcome.score
        and record["degraded"] == (outcome.degraded or bool(record["recovered_from"]))
        and list(record["locked_by"]) == list(outcome.locked_by)
        and list(record["ordered_by"]) == list(outcome.ordered_by)
        and record["error"] == outcome.error
    )


# ---------------------------------------------------------------- reading

_TEXT = (lambda value: isinstance(value, str), "text")
_OR_TEXT = (lambda value: value is None or isinstance(value, str), "text or null")
_TEXTS = (lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value), "a list of texts")
_SHAPE: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "time": _TEXT,
    "operation": _TEXT,
    "values": (
        lambda value: (
            isinstance(value, dict) and all(isinstance(one, bool | int | float | str) for one in value.values())
        ),
        "an object of values",
    ),
    "arms": (
        lambda value: isinstance(value, dict) and all(isinstance(one, str) for one in value.values()),
        "an object of texts",
    ),
    "kernel": _OR_TEXT,
    "score": (lambda value: value is None or _is_number(value), "a number or null"),
    "degraded": (lambda value: isinstance(value, bool), "a bool"),
    "error": _OR_TEXT,
    "recovered_from": _TEXTS,
    "locked_by": _TEXTS,
    "ordered_by": _TEXTS,
    "epoch": (lambda value: isinstance(value, int) and not isinstance(value, bool), "an int"),
    "policy": (
        lambda value: isinstance(value, dict) and isinstance(value.get("digest"), str),
        "an object with a digest",
    ),
    "environment": _TEXT,
    "snapshot": _TEXT,
    "request_id": _OR_TEXT,
    "count": (lambda value: _is_number(value) and 0 < float(value) < math.inf, "a number above 0"),
    "id": _OR_TEXT,
}


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return value in ("NaN", "Infinity", "-Infinity")
    return isinstance(value, int | float) and not isinstance(value, bool)


def problem_of(found: object) -> str | None:
    """What keeps a JSON value from being a record of this schema; None for one."""
    if not isinstance(found, dict):
        return "a record is a JSON object"
    if found.get("schema") != SCHEMA:
        return f"`schema` is not {SCHEMA}"
    for name, (fits, wanted) in _SHAPE.items():
        if name not in found:
            return f"`{name}` is missing"
        if not fits(found[name]):
            return f"`{name}` is not {wanted}"
    return None

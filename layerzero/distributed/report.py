"""A snapshot on one rank -> what it decides by, as flat texts; those of all ranks -> what differs, and where."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import layerzero
from layerzero.check.program import Scope
from layerzero.dispatch.plan import Plan
from layerzero.distributed.board import spelt
from layerzero.errors import ContextError
from layerzero.runtime.building import content_digest
from layerzero.runtime.snapshot import Snapshot

Report = dict[str, Any]
"""{"policy": "production version 7 (4f1d...)", "files": {name: digest}, "facts": {what: value}, "state": {...},
"decisions": {call: kernel}}; or {"error": why this rank cannot}"""

_MOST = 12  # differences that are listed
_OWN = "rank"  # the only field of a call that no two ranks share


def report_of(snapshot: Snapshot, place: Mapping[str, Any], plans: Iterable[Plan]) -> Report:
    """What this rank decides by: policy, packages and devices, and its decisions for planned calls."""
    identity, environment = snapshot.identity, snapshot.environment
    version = "" if identity.version is None else f" version {identity.version}"
    facts = {"LayerZero": layerzero.__version__}
    facts |= {f"package `{name}`": version for name, version in environment.packages.items()}
    facts |= {f"import of `{name}`": f"broken ({why})" for name, why in environment.broken.items()}
    facts |= {f"kernel `{name}`": f"not callable ({why})" for name, why in environment.no_adapter.items()}
    facts["devices"] = ", ".join(sorted({" ".join(map(_text, one.values())).strip() for one in snapshot.devices}))
    facts |= {f"field `{name}`": str(value) for name, value in place.items() if name != _OWN}
    if snapshot.vocabulary.expiries:
        ended = [day for day in snapshot.vocabulary.expiries if day <= environment.today]
        facts["rules ended by `until`"] = str(len(ended))
    state = {f"breaker of `{name}`": "open" for name in environment.open_breakers}
    state |= {f"arm `{'.'.join(arm)}`": "stopped" for arm in environment.stopped_arms}
    return {
        "policy": f"`{identity.name}`{version} ({identity.digest[:12]})",
        "digest": identity.digest,
        "files": {text.source.name: content_digest(text.source.text)[:12] for text in _texts(snapshot)},
        "facts": facts,
        "state": state,
        "decisions": dict(_decisions(snapshot, plans)),
    }


def differences(reports: Mapping[int, Report]) -> tuple[list[str], list[str]]:
    """What keeps the ranks from agreeing, and what is to be said only: one line each.

    What a rank found out while it served (a breaker, an arm that a guard ended) does not keep it from a new policy,
    which may be the remedy, and neither does what it decides otherwise for that.
    """
    errors = [f"{spelt([rank])}: {one['error']}" for rank, one in reports.items() if "error" in one]
    if errors:
        return errors, []
    if len({one["digest"] for one in reports.values()}) > 1:
        errors += _differing("policy", {rank: {"": one["policy"]} for rank, one in reports.items()})
        errors += _differing("file", {rank: one["files"] for rank, one in reports.items()})
    errors += _differing("", {rank: one["facts"] for rank, one in reports.items()}, absent="absent")
    said = _differing("", {rank: one["state"] for rank, one in reports.items()}, absent="not so")
    decided = _differing("decision for", {rank: one["decisions"] for rank, one in reports.items()}, absent=None)
    return (errors, said + decided) if said else (errors + decided, said)


def listed(lines: Sequence[str]) -> str:
    """The lines below each other, the first dozen."""
    more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return "".join(f"\n  {line}" for line in [*lines[:_MOST], *more])


def _differing(kind: str, values: Mapping[int, Mapping[str, str]], absent: str | None = "absent") -> list[str]:
    """`package `flash-attn`: 2.8.3 on rank 2, 2.8.2 on ranks 0, 1, 3`; with `absent` None, what a rank does not have
    is no difference."""
    lines = []
    for name in sorted({name for one in values.values() for name in one}):
        by_value: dict[str, list[int]] = {}
        for rank, one in values.items():
            value = one.get(name, absent)
            if value is not None:
                by_value.setdefault(value, []).append(rank)
        if len(by_value) > 1:
            fewest_first = sorted(by_value.items(), key=lambda one: (len(one[1]), one[1]))
            each = ", ".join(f"{value} on {spelt(ranks)}" for value, ranks in fewest_first)
            lines.append(f"{f'{kind} {name}'.strip()}: {each}")
    return lines


def _texts(snapshot: Snapshot) -> Sequence[Any]:
    """What the program was checked from, as far as that is known without checking it again."""
    return snapshot.own_texts or (snapshot.built.texts if snapshot.built is not None else ())


def _decisions(snapshot: Snapshot, plans: Iterable[Plan]) -> Iterable[tuple[str, str]]:
    scopes = {str(scope): scope for scope in snapshot.vocabulary.views}
    for plan in plans:
        scope = scopes.get(plan.operation) or Scope(plan.operation)
        if scope.operation not in snapshot.vocabulary.needed:
            continue
        for call in plan.calls:
            context = {name: value for name, value in sorted(call.context.items()) if name != _OWN}
            key = hashlib.sha256(json.dumps(context, default=str).encode()).hexdigest()[:8]
            try:
                kernel = snapshot.decide(scope, call.context).kernel or "no kernel"
            except ContextError as error:
                kernel = f"error ({error})"
            yield f"{plan.operation} {call.shape} [{key}]", kernel


def _text(value: object) -> str:
    return "" if value is None else str(value)

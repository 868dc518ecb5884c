"""Proof -> the object that `lz decide` prints, one stable schema: `lz.decision/1`."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

from packaging.version import Version

from layerzero.check.expressions import Value
from layerzero.check.program import Program
from layerzero.semantics.proof import Proof, Reason

SCHEMA = "lz.decision/1"

Json = dict[str, object]


def decision_json(program: Program, proof: Proof) -> Json:
    """`{"schema": "lz.decision/1", "kernel": "acme.decode", "score": 850.0, ...}`, keys always all there."""
    return {
        "schema": SCHEMA,
        "kernel": proof.kernel,
        "score": None if proof.score is None else json_value(proof.score),
        "degraded": proof.degraded,
        "locked_by": list(proof.locked_by),
        "ordered_by": list(proof.ordered_by),
        "arm": dict(sorted(proof.arms.items())) or None,
        "policy": _policy(program),
        "rejected": {name: [reason_json(one) for one in reasons] for name, reasons in sorted(proof.rejected.items())},
        "outranked": {kernel: json_value(score) for kernel, score in sorted(proof.outranked.items())},
        "assumed": list(proof.assumed),
        "error": None if proof.error is None else {"code": proof.error.code, "message": proof.error.message},
    }


def error_json(program: Program, code: str, message: str) -> Json:
    """The same object for a context that could not be read: no kernel, an error."""
    return {
        "schema": SCHEMA,
        "kernel": None,
        "score": None,
        "degraded": False,
        "locked_by": [],
        "ordered_by": [],
        "arm": None,
        "policy": _policy(program),
        "rejected": {},
        "outranked": {},
        "assumed": [],
        "error": {"code": code, "message": message},
    }


def reason_json(reason: Reason) -> Json:
    """Always `kind`, `text`, `got`, `at`; `because`, `rule`, `feature`, `missing` where there is something to say."""
    found: Json = {"kind": reason.kind, "text": reason.text, "got": values_json(reason.got), "at": reason.at}
    for key, value in (("because", reason.because), ("rule", reason.rule), ("feature", reason.feature)):
        if value is not None:
            found[key] = value
    if reason.missing:
        found["missing"] = list(reason.missing)
    return found


def values_json(values: Mapping[str, Value | None]) -> Json:
    return {name: None if value is None else json_value(value) for name, value in values.items()}


def json_value(value: Value) -> bool | int | float | str:
    """Versions as text. JSON has no infinities: a score past the doubles is the largest double, NaN is text."""
    if isinstance(value, Version):
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, float) and math.isinf(value):
        return math.copysign(sys.float_info.max, value)
    return value


def _policy(program: Program) -> Json:
    return {"name": program.name or None, "version": program.version, "digest": program.digest}

"""A key's value -> the arm of each experiment that it is in: hashing alone, no state, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from layerzero.check.expressions import Value
from layerzero.check.program import Experiment, Program
from layerzero.semantics.context import WrittenVersion
from layerzero.semantics.environment import Environment

BUCKETS = 10_000


def enrol(program: Program, values: Mapping[str, Value], given_fields: Collection[str] | None = None) -> dict[str, str]:
    """`{experiment: arm}` of the experiments that a context is enrolled in.

    Args:
        values: canonical values. Pass those that were given: a default or an asserted view enrols nobody.
        given_fields: where `values` is a completed context, the names of the fields that were given.
    """
    arms: dict[str, str] = {}
    for name, experiment in sorted(program.experiments.items()):
        key = experiment.key
        if key in values and (given_fields is None or key in given_fields):
            arm = arm_of(experiment, values[key])
            if arm is not None:
                arms[name] = arm
    return arms


def stopped_notes(program: Program, environment: Environment, given: Mapping[str, Value]) -> list[str]:
    """What to say of a context whose arm a guard has ended."""
    notes = []
    for name, arm in sorted(environment.stopped_arms):
        experiment = program.experiments.get(name)
        key = None if experiment is None else given.get(experiment.key)
        if experiment is None or key is None or arm_of(experiment, key) != arm:
            continue
        why = environment.stop_reasons.get((name, arm))
        goes_on = "control" if any(one.name == "control" for one in experiment.arms) else "one that is not enrolled"
        notes.append(f"arm `{arm}` of `{name}` was stopped{f' by {why}' if why else ''}: the call goes on as {goes_on}")
    return notes


def arm_of(experiment: Experiment, value: Value) -> str | None:
    """The arm that one value of the key is in; None for one that is not enrolled."""
    text = spell_key(value)
    if bucket(experiment.salt, "share", text) >= experiment.share:
        return None
    place, upper = bucket(experiment.salt, "arm", text), 0
    for arm in experiment.arms:
        upper += arm.buckets
        if place < upper:
            return arm.name
    return None


def bucket(salt: str, kind: str, value: str) -> int:
    """0..9999: the first 8 bytes, big-endian, of SHA-256 over `salt NUL kind NUL value`."""
    # A lone surrogate, which JSON can write, has no UTF-8; it still is a key like any other.
    digest = hashlib.sha256(f"{salt}\0{kind}\0{value}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


def spell_key(value: Value) -> str:
    """JSON's spelling of numbers (the shortest that reads back the same, `1.0` for 1.0) and booleans; else the text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, WrittenVersion):
        return value.written
    return str(value)

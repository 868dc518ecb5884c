"""Condition that reads packages which nobody gave -> the proposition that only their versions keep it unknown.

That is: it is unknown now, and known under every version. Versions matter only by how they compare with those that
the condition names, so one stand-in for each of these and for each gap between them is every version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from packaging.version import InvalidVersion, Version

from layerzero.check.expressions import AttributeValue, Constant, Expression, InstalledVersion, Value, walk
from layerzero.compiler.specialise import Specialiser
from layerzero.compiler.terms import FALSE, TRUE, UNKNOWN, Id
from layerzero.compiler.versions import AnyVersion, Between

MOST_COMBINATIONS = 10_000
"""Beyond this many combinations a condition stays unknown: never less safe."""
MOST_COINS = 6


def unknown_only_by_package(condition: Expression, asked: Specialiser) -> Id:
    pool = asked.pool
    read = sorted({part.package for part in walk(condition) if isinstance(part, InstalledVersion)})
    absent = [name for name in read if name not in asked.versions]
    if not absent:
        return pool.false
    known = [pool.truth(asked.term(condition), UNKNOWN)]
    stand_ins = _stand_ins(condition, asked, len(absent))
    if len(stand_ins) ** len(absent) > MOST_COMBINATIONS:
        return pool.false
    for chosen in product(stand_ins, repeat=len(absent)):
        for variant in _variants(condition, asked, dict(zip(absent, chosen, strict=True))):
            known.append(pool.truth(variant, TRUE | FALSE))
            if known[-1] == pool.false:
                return pool.false
    return pool.all_of(tuple(known))


def _variants(condition: Expression, asked: Specialiser, versions: Mapping[str, AnyVersion]) -> Iterator[Id]:
    """The condition under one choice of versions, however its stand-ins compare with fields."""
    first = asked.with_versions(versions, {})
    term = first.term(condition)
    coins = sorted(first.tossed)
    if not coins:
        yield term
    elif len(coins) > MOST_COINS:
        yield asked.pool.unknown
    else:
        for sides in product((True, False), repeat=len(coins)):
            yield asked.with_versions(versions, dict(zip(coins, sides, strict=True))).term(condition)


def _stand_ins(condition: Expression, asked: Specialiser, count: int) -> list[AnyVersion]:
    """Every version that the condition names, and `count` different ones in each gap."""
    found: set[Version] = set()
    for part in walk(condition):
        match part:
            case Constant(value=value):
                found |= _as_versions(value)
            case AttributeValue(name=name):
                found |= _as_versions(asked.attributes.get(name))
            case InstalledVersion(package=package) if package in asked.versions:
                version = asked.versions[package]
                found |= {version} if isinstance(version, Version) else set()
            case _:
                pass
    known = sorted(found)
    return [*known, *(Between(low, rank) for low in (None, *known) for rank in range(count))]


def _as_versions(value: Value | None) -> set[Version]:
    if isinstance(value, str):
        try:
            return {Version(value)}
        except InvalidVersion:
            return set()
    return {value} if isinstance(value, Version) else set()

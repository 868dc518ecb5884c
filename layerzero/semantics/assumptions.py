"""A condition that is unknown, offline -> whether only a package's version keeps it so.

Offline, a package that nobody gave is assumed. A condition is *unknown only because of a package* when every version
gives it a known value. Versions matter only by how they compare with the versions that the condition compares them
with, so one stand-in for each of those and for each gap between them is every version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import total_ordering
from itertools import product
from typing import Any, cast

from packaging.version import Version

from layerzero.check.expressions import AttributeValue, Constant, Expression, FieldValue, InstalledVersion, walk
from layerzero.semantics.evaluate import Lookups, holds, packages_read
from layerzero.semantics.values import UNKNOWN, version

MOST_COMBINATIONS = 10_000
"""Beyond this many combinations of versions a condition counts as unknown: slower to decide, never less safe."""


@total_ordering
@dataclass(frozen=True, slots=True)
class _Between:
    """Some version above `low` and below every known version that is above `low`; `rank` tells several apart."""

    low: Version | None
    rank: int

    def __lt__(self, other: object) -> bool:
        if isinstance(other, Version):
            return self.low is None or self.low < other
        if not isinstance(other, _Between):
            return NotImplemented
        if self.low == other.low:
            return self.rank < other.rank
        return self.low is None or (other.low is not None and self.low < other.low)


def unknown_only_by_package(condition: Expression, lookups: Lookups) -> bool:
    """Whether an unknown condition is known under every version of the packages that are not given."""
    assumed = assumed_packages(condition, lookups)
    if not assumed:
        return False
    stand_ins = _stand_ins(condition, lookups, len(assumed))
    if len(stand_ins) ** len(assumed) > MOST_COMBINATIONS:
        return False
    return all(
        holds(condition, replace(lookups, packages={**lookups.packages, **choice})) is not UNKNOWN
        for choice in _choices(assumed, stand_ins)
    )


def assumed_packages(condition: Expression, lookups: Lookups) -> tuple[str, ...]:
    """The packages that a condition reads and nobody gave."""
    return tuple(name for name in packages_read(condition) if name not in lookups.packages)


def _choices(packages: tuple[str, ...], stand_ins: list[Version]) -> Iterator[Mapping[str, Version]]:
    for versions in product(stand_ins, repeat=len(packages)):
        yield dict(zip(packages, versions, strict=True))


def _stand_ins(condition: Expression, lookups: Lookups, count: int) -> list[Version]:
    """Every version that the condition may compare with, and `count` different ones in each gap."""
    known = sorted(_versions_in(condition, lookups))
    gaps = [_Between(low, rank) for low in (None, *known) for rank in range(count)]
    # A stand-in only ever meets comparisons, which it answers as a Version would.
    return cast("list[Version]", [*known, *gaps])


def _versions_in(condition: Expression, lookups: Lookups) -> set[Version]:
    found: set[Any] = set()
    for part in walk(condition):
        match part:
            case Constant(value=value):
                found.add(value)
            case FieldValue(name=name):
                found.add(lookups.fields.get(name))
            case AttributeValue(name=name):
                found.add(lookups.attributes.get(name))
            case InstalledVersion(package=package):
                found.add(lookups.packages.get(package))
            case _:
                pass
    texts = {version(value) for value in found if isinstance(value, str)}
    return {value for value in found | texts if isinstance(value, Version)}

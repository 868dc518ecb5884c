"""A version that nobody named: stands in for all those in one gap between the versions that a condition names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import total_ordering

from packaging.version import Version


@total_ordering
@dataclass(frozen=True, slots=True)
class Between:
    """Above `low` (None: below all), below every named version that is above `low`; `rank` tells several apart."""

    low: Version | None
    rank: int

    def __lt__(self, other: object) -> bool:
        if isinstance(other, Version):
            return self.low is None or self.low < other
        if not isinstance(other, Between):
            return NotImplemented
        if self.low == other.low:
            return self.rank < other.rank
        return self.low is None or (other.low is not None and self.low < other.low)


AnyVersion = Version | Between

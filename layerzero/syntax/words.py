"""The words that a name may not be, unless it stands in backquotes."""

from __future__ import annotations

RESERVED = frozenset("and or not in like if else when true false null has min max package kernel".split())

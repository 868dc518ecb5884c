"""Words that cannot be names as they stand, unless backquotes are around them."""

from __future__ import annotations

RESERVED = frozenset("and or not in like if else when true false null has min max package kernel".split())

# What may follow a condition, and so wins over a name directly after an open `..`.
AFTER_OPEN_RANGE = frozenset(
    """policy import field attribute operation extend backend alias context device define quarantine lock allow deny
    boost order experiment test require supports set source priority adapter needs optional view feature fallback as
    because owner until given whenever expect arm guard""".split()
)

"""Plain data -> what any page may show.

Pages only ever make text nodes of texts, and the content-security policy forbids the rest; here the characters are
spelt out that act in a text node too, as control and bidirectional ones do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def shown(data: Any) -> Any:
    """The same data with odd characters spelt out, and in numbers that JavaScript has."""
    match data:
        case str():
            return data if data.isprintable() else "".join(map(_character, data))
        case Mapping():
            return {shown(str(name)): shown(value) for name, value in data.items()}
        case list() | tuple():
            return [shown(value) for value in data]
        case bool() | None:
            return data
        case int():
            return data if abs(data) <= 2**53 else str(data)
        case float():
            return data if math.isfinite(data) else str(data)
        case _:
            return shown(str(data))


def _character(one: str) -> str:
    return one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode("ascii")

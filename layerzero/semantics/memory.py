"""What the interpreter found out about a kernel, a rule or a condition, for the next call that asks the same.

An answer depends on the values of the few fields that are read for it, and on the program and the environment, which
are fixed for a memory. So answers are kept by these values, and a proof is the same with a memory as without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from layerzero.check.expressions import Expression, Value, fields_of

T = TypeVar("T")
Read = Callable[[], Iterable[list[Expression]]]
"""Conditions; what is evaluated as one stands in one list."""
MOST = 100_000
_PLAIN = frozenset({bool, int, str, type(None)})


@dataclass
class Memory:
    """Of one program in one environment; for one thread."""

    _reads: dict[Any, tuple[str, ...]] = field(default_factory=dict)
    _found: dict[Any, Any] = field(default_factory=dict)

    def recall(self, key: Any, values: Mapping[str, Value], read: Read, find: Callable[[], T]) -> T:
        """What `find` says, asked once for each combination of what is seen by the conditions of `read`.

        Args:
            key: What is asked; what it names by id must be part of the program.
        """
        whole = (key, *self.seen(key, values, read))
        found: T | None = self._found.get(whole)
        if found is None:
            if len(self._found) >= MOST:
                self._found.clear()
            found = self._found[whole] = find()
        return found

    def seen(self, key: Any, values: Mapping[str, Value], read: Read) -> Iterable[object]:
        """The values of all fields that are read."""
        names = self._reads.get(key)
        if names is None:
            fields = [fields_of(part) for parts in read() for part in parts]
            names = self._reads[key] = tuple(sorted(frozenset().union(*fields)))
        # -0.0 equals 0.0, and 1.0 the version 1.0.0, but they are shown as they are written.
        return [value if value.__class__ in _PLAIN else _exact(value) for value in map(values.get, names)]


def _exact(value: object) -> tuple[str, str]:
    return type(value).__name__, str(value)

"""Many contexts of one program -> scopes and values, as `read_context` gives them, several times as fast.

What every context needs (which field a key means, its members, its range) is looked up once. A context with anything
unusual in it is handed to `read_context`, which alone knows what is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from layerzero.check.expressions import Type, Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ContextError
from layerzero.semantics.context import read_context, read_device
from layerzero.semantics.values import HIGHEST, LOWEST

_Check = tuple[str, type, Mapping[Any, str] | None, Any, Any]
"""Field, the type of a plain value, an enum's members by every name, lowest and highest number."""


class ContextReader:
    """`reader({"operation": "attention.decode", "dtype": "float16", ...})`; `device` as in `read_context`."""

    def __init__(self, program: Program, device: str | None = None) -> None:
        self.program, self.device = program, device
        self._under: Mapping[str, Value] | None = None if device is None else read_device(program, device)
        self._scopes: dict[str, Scope] = {}
        self._checks: dict[str, _Check] = {}
        for key in (*program.fields, *program.aliases.fields):
            name = program.aliases.fields.get(key, key)
            check = _check(name, program.fields[name].type, program.aliases.members)
            if check is not None:
                self._checks[key] = check

    def __call__(self, mapping: Mapping[str, object]) -> tuple[Scope, dict[str, Value]]:
        """The scope and the canonical values.

        Raises:
            ContextError: As `read_context`.
        """
        quick = self.quick(mapping)
        return read_context(self.program, mapping, self.device) if quick is None else quick

    def quick(self, mapping: Mapping[str, Any]) -> tuple[Scope, dict[str, Value]] | None:
        """The same for a context of plain values in their ranges; None for any other."""
        word = mapping.get("operation")
        scope = (self._scopes.get(word) or self._new_scope(word)) if type(word) is str else None
        if scope is None:
            return None
        values: dict[str, Any] = {}
        checks = self._checks
        left = len(mapping) - 1
        for key, raw in mapping.items():
            check = checks.get(key)
            if check is None:
                if key == "operation":
                    continue
                return None
            name, kind, members, low, high = check
            if raw is None:
                left -= 1
            elif type(raw) is not kind:
                return None
            elif members is not None:
                member = members.get(raw)
                if member is None:
                    return None
                values[name] = member
            elif low is None or low <= raw <= high:
                values[name] = raw
            else:
                return None
        if len(values) != left:
            return None  # two keys of one field
        return scope, values if self._under is None else {**self._under, **values}

    def _new_scope(self, word: str) -> Scope | None:
        try:
            scope = read_context(self.program, {"operation": word})[0]
        except ContextError:
            return None
        self._scopes[word] = scope
        return scope


def _check(name: str, type: Type, aliases: Mapping[str, str]) -> _Check | None:
    """None for fields whose values want more than a comparison."""
    match type.kind:
        case "bool":
            return name, bool, None, None, None
        case "string":
            return name, str, None, None, None
        case "enum":
            members = {member: member for member in type.members}
            others = {alias: of for alias, of in aliases.items() if of in members and alias not in members}
            return name, str, members | others, None, None
        case "int" | "float" if not type.high_open:
            whole = type.kind == "int"
            lowest, highest = (LOWEST, HIGHEST) if whole else (-sys.float_info.max, sys.float_info.max)
            low = lowest if type.low is None else max(type.low, lowest)
            high = highest if type.high is None else min(type.high, highest)
            return name, int if whole else float, None, low, high
        case _:
            return None

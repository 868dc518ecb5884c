"""The digest of the canonical program: places, comments, order of statements and tests leave it as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from typing import Any

from packaging.version import Version

from layerzero.check.program import Kernel, Program, Rule

_LEFT_OUT = frozenset({"span", "tests", "texts"})
# Lists in which order carries no meaning.
_UNORDERED = frozenset({"rules", "requirements", "supports", "packages", "sources"})


def program_digest(program: Program) -> str:
    """SHA-256 in hexadecimal of the canonical program."""
    return hashlib.sha256(canonical_json(program).encode()).hexdigest()


def operation_digest(program: Program, operation: str) -> str:
    """SHA-256 of all that can change a decision of one operation: equal digests, equal decisions."""
    kernels = program.kernels_for(operation)
    own = {kernel.id for kernel in kernels}
    parts = {
        "strict": program.strict,
        "fields": _plain(program.fields),
        "operation": _plain(program.operations[operation]),
        "fallback": list(program.operations[operation].fallback),
        "kernels": [_plain(kernel) for kernel in kernels],
        # A rule that is written for the operation counts even where it matches none of its kernels.
        "rules": sorted(
            (
                {
                    **_plain(rule),
                    "name": rule.name,
                    "targets": [sorted(target.kernels & own) for target in rule.targets],
                }
                for rule in program.rules
                if rule.concerns(operation)
            ),
            key=_dump,
        ),
    }
    return hashlib.sha256(_dump(parts).encode()).hexdigest()


def canonical_json(program: Program) -> str:
    """The program as JSON with sorted keys; equal texts mean equal programs."""
    return _dump(_plain(program))


def _dump(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}  # 1.0 and 1 are different constants
    if isinstance(value, Version | date):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return _plain_dataclass(value)
    raise TypeError(f"no canonical form for {type(value).__name__}")


def _plain_dataclass(value: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"is": type(value).__name__}
    for part in fields(value):
        if part.name in _LEFT_OUT:
            continue
        plain = _plain(getattr(value, part.name))
        reorder = part.name in _UNORDERED and isinstance(value, Kernel | Program)
        data[part.name] = sorted(plain, key=_dump) if reorder else plain
    if isinstance(value, Rule) and not value.named:
        data["name"] = ""  # file:line
    return data

"""The digest of the canonical program: places, comments, order of statements and tests leave it as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from typing import Any

from packaging.version import Version

from layerzero.check.program import Kernel, Operation, Program, Rule

Plain = Any  # of JSON's types

_LEFT_OUT = frozenset({"span", "tests", "texts"})
# Lists in which order carries no meaning.
_UNORDERED = frozenset({"rules", "requirements", "supports", "packages", "sources"})
_PARTS: dict[type, tuple[str, ...]] = {}  # the fields of each class of a program that count
_FACTS: dict[int, tuple[object, Plain]] = {}
_MOST_FACTS = 4096


def program_digest(program: Program) -> str:
    """SHA-256 in hexadecimal of the canonical program."""
    return hashlib.sha256(canonical_json(program).encode()).hexdigest()


def operation_digests(program: Program) -> dict[str, str]:
    """SHA-256 of all that can change a decision of each operation: equal digests, equal decisions."""
    fields = _plain(program.fields)
    kernels = {name: _plain(kernel) for name, kernel in program.kernels.items()}
    rules = [_plain(rule) for rule in program.rules]
    return {name: _operation_digest(program, name, fields, kernels, rules) for name in program.operations}


def _operation_digest(
    program: Program, operation: str, fields: Plain, plain_kernels: Mapping[str, Plain], plain_rules: Sequence[Plain]
) -> str:
    kernels = program.kernels_for(operation)
    own = {kernel.id for kernel in kernels}
    parts = {
        "strict": program.strict,
        "fields": fields,
        "operation": _plain(program.operations[operation]),
        "fallback": list(program.operations[operation].fallback),
        "kernels": [plain_kernels[kernel.id] for kernel in kernels],
        # A rule that is written for the operation counts even where it matches none of its kernels.
        "rules": sorted(
            (
                {
                    **plain,
                    "name": rule.name,
                    "targets": [sorted(target.kernels & own) for target in rule.targets],
                }
                for rule, plain in zip(program.rules, plain_rules, strict=True)
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


def _plain(value: Any) -> Plain:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is Kernel or kind is Operation:
        return _plain_fact(value)
    if kind in _PARTS:
        return _plain_dataclass(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bool | int | str):
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


def _plain_fact(fact: Kernel | Operation) -> Plain:
    """Programs of one process share the shipped facts (see checker._facts): each is written once."""
    kept = _FACTS.get(id(fact))
    if kept is None:
        if len(_FACTS) >= _MOST_FACTS:
            _FACTS.clear()
        kept = _FACTS[id(fact)] = (fact, _plain_dataclass(fact))  # holds the fact, so that its id stays its own
    return kept[1]


def _plain_dataclass(value: Any) -> dict[str, Any]:
    if type(value) not in _PARTS:
        _PARTS[type(value)] = tuple(part.name for part in fields(value) if part.name not in _LEFT_OUT)
    data: dict[str, Any] = {"is": type(value).__name__}
    for name in _PARTS[type(value)]:
        plain = _plain(getattr(value, name))
        reorder = name in _UNORDERED and isinstance(value, Kernel | Program)
        data[name] = sorted(plain, key=_dump) if reorder else plain
    if isinstance(value, Rule) and not value.named:
        data["name"] = ""  # file:line
    return data

"""The digest of the canonical program: places, comments, order of statements and tests leave it as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from json.encoder import encode_basestring as _quoted
from typing import Any

from packaging.version import Version

from layerzero.check.expressions import Type
from layerzero.check.program import Kernel, Operation, Program, Rule

_LEFT_OUT = frozenset({"span", "tests", "texts"})
# Lists in which order carries no meaning.
_UNORDERED = frozenset({"rules", "requirements", "supports", "packages", "sources"})
_PARTS: dict[type, tuple[str, ...]] = {}  # the fields of each class of a program that count
_PLAIN: dict[type, tuple[tuple[str, str], ...]] = {}  # of those without a word of their own: before a part, its name
_KEPT: dict[int, tuple[object, str]] = {}
_MOST_KEPT = 4096


def program_digest(program: Program) -> str:
    """SHA-256 in hexadecimal of the canonical program."""
    return hashlib.sha256(canonical_json(program).encode()).hexdigest()


def operation_digests(program: Program) -> dict[str, str]:
    """SHA-256 of all that can change a decision of each operation: equal digests, equal decisions."""
    fields = _text(program.fields)
    kernels = {name: _text(kernel) for name, kernel in program.kernels.items()}
    rules = [_texts_of(rule) for rule in program.rules]
    return {name: _operation_digest(program, name, fields, kernels, rules) for name in program.operations}


def _operation_digest(
    program: Program,
    operation: str,
    fields: str,
    kernel_texts: Mapping[str, str],
    rule_texts: Sequence[Mapping[str, str]],
) -> str:
    kernels = program.kernels_for(operation)
    own = {kernel.id for kernel in kernels}
    # A rule that is written for the operation counts even where it matches none of its kernels.
    rules = [
        _object({**texts, "name": _quoted(rule.name), "targets": _targets(rule, own)})
        for rule, texts in zip(program.rules, rule_texts, strict=True)
        if rule.concerns(operation)
    ]
    parts = {
        "strict": _text(program.strict),
        "fields": fields,
        "operation": _text(program.operations[operation]),
        "fallback": _text(program.operations[operation].fallback),
        "kernels": _list(kernel_texts[kernel.id] for kernel in kernels),
        "rules": _list(sorted(rules)),
    }
    return hashlib.sha256(_object(parts).encode()).hexdigest()


def _targets(rule: Rule, own: set[str]) -> str:
    return _list(_text(sorted(target.kernels & own)) for target in rule.targets)


def canonical_json(program: Program) -> str:
    """The program as JSON with sorted keys; equal texts mean equal programs."""
    return _text(program)


# Texts are put together directly: a large policy has millions of values, and plain data in between would cost twice.


def _text(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return _quoted(value)
    if kind is tuple or kind is list:
        return _list(map(_text, value))
    if kind is Kernel or kind is Operation or kind is Type:
        return _kept(value)
    pieces = _PLAIN.get(kind)
    if pieces is not None:
        return "".join([before + _text(getattr(value, name)) if name else before for before, name in pieces])
    if kind in _PARTS:
        return _object(_texts_of(value))
    if kind is bool or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, Enum):
        return _quoted(value.name)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return f'{{"float":"{value.hex()}"}}'  # 1.0 and 1 are different constants
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Version | date):
        return _quoted(str(value))
    if isinstance(value, Mapping):
        return _object({str(key): _text(item) for key, item in value.items()})
    if isinstance(value, frozenset):
        return _list(map(_text, sorted(value)))
    if is_dataclass(value):
        return _object(_texts_of(value))
    raise TypeError(f"no canonical form for {kind.__name__}")


def _list(texts: Iterable[str]) -> str:
    return f"[{','.join(texts)}]"


def _object(texts: Mapping[str, str]) -> str:
    return f"{{{','.join([f'{_quoted(name)}:{texts[name]}' for name in sorted(texts)])}}}"


def _kept(value: Kernel | Operation | Type) -> str:
    """Programs of one process share the shipped facts (see checker._facts), expressions the types of their fields:
    each is written once."""
    known = _KEPT.get(id(value))
    if known is None:
        if len(_KEPT) >= _MOST_KEPT:
            _KEPT.clear()
        known = _KEPT[id(value)] = (value, _object(_texts_of(value)))  # holds the value, so that its id stays its own
    return known[1]


def _texts_of(value: Any) -> dict[str, str]:
    kind = type(value)
    if kind not in _PARTS:
        _PARTS[kind] = tuple(part.name for part in fields(value) if part.name not in _LEFT_OUT)
        if kind not in (Kernel, Program, Rule):
            _PLAIN[kind] = _pieces(kind)
    texts = {"is": _quoted(kind.__name__)}
    unordered = isinstance(value, Kernel | Program)
    for name in _PARTS[kind]:
        part = getattr(value, name)
        if unordered and name in _UNORDERED:
            texts[name] = _list(sorted(map(_text, part)))
        else:
            texts[name] = _text(part)
    if isinstance(value, Rule) and not value.named:
        texts["name"] = '""'  # file:line
    return texts


def _pieces(kind: type) -> tuple[tuple[str, str], ...]:
    """What `_object` puts before each part of a class whose parts are all as they are, and the part's name."""
    pieces, before = [], "{"
    for name in sorted(("is", *_PARTS[kind])):
        before += f"{_quoted(name)}:"
        if name == "is":
            before += f"{_quoted(kind.__name__)},"
        else:
            pieces.append((before, name))
            before = ","
    return (*pieces, (f"{before.removesuffix(',')}}}", ""))

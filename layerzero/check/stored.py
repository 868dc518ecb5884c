"""A checked program -> plain data for JSON, and back: no parsing, no checking, no code.

Each object is a node: the number of its class, then its parts. A part that is no JSON value stands as a list: of one
number for a node before it, of three for a span. What is shared stays shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import date
from types import NoneType
from typing import Any

from packaging.version import Version

from layerzero.check import expressions as typed, program as checked
from layerzero.check.program import Layer, Program, Text
from layerzero.syntax.source import Span

_CLASSES: tuple[Any, ...] = (
    *(checked.Program, checked.Field, checked.Attribute, checked.Operation, checked.Scope, checked.Requirement),
    *(checked.Support, checked.PackageChoice, checked.PackageLine, checked.Kernel, checked.Target, checked.Rule),
    *(checked.Arm, checked.Guard, checked.Experiment, checked.Bundle, checked.Claim, checked.Given, checked.Whenever),
    *(checked.Test, checked.Aliases, typed.Type, typed.Constant, typed.FieldValue, typed.AttributeValue),
    *(typed.InstalledVersion, typed.HasField, typed.ArmIs, typed.Extremum, typed.Negate, typed.Arithmetic),
    *(typed.Conditional, typed.Comparison, typed.Interval, typed.Membership, typed.Like, typed.Not, typed.And),
    *(typed.Or, tuple, dict, frozenset, date, Version, Layer),
)
_NUMBERS = {kind: number for number, kind in enumerate(_CLASSES)}
_AS_THEY_ARE = frozenset({bool, int, float, str, NoneType})


def program_data(program: Program) -> list[Any]:
    """
    Raises:
        ValueError: Something in it is not kept: a span of no text of the program, an odd kind of value.
    """
    sources = {id(one.source): number for number, one in enumerate(program.texts)}
    whole = replace(program, texts=())
    nodes: list[list[Any]] = []
    numbers: dict[int, int] = {}

    def written(part: Any) -> Any:
        if type(part) is not Span:
            return part if type(part) in _AS_THEY_ARE else [numbers[id(part)]]
        number = sources.get(id(part.source))
        if number is None:
            raise ValueError(f"{part} is in no text of the program")
        return [number, part.start, part.end]

    waiting: list[Any] = [whole]
    while waiting:  # parts come before what they are parts of, so a deep expression needs no deep stack
        parts = _parts(waiting[-1])
        first = [one for one in parts if type(one) not in _AS_THEY_ARE and type(one) is not Span]
        first = [one for one in first if id(one) not in numbers]
        if first:
            waiting.extend(first)
            continue
        done = waiting.pop()
        if id(done) not in numbers:
            numbers[id(done)] = len(nodes)
            nodes.append([_NUMBERS[type(done)], *map(written, parts)])
    return nodes


def _parts(whole: Any) -> list[Any]:
    match whole:
        case tuple():
            return list(whole)
        case dict():
            return [part for item in whole.items() for part in item]
        case frozenset():
            return sorted(whole)
        case date():
            return [whole.toordinal()]
        case Layer():
            return [int(whole)]
        case Version() if type(whole) is Version:
            return [str(whole)]
        case _ if type(whole) in _NUMBERS:
            return [getattr(whole, one.name) for one in fields(whole)]
        case _:
            raise ValueError(f"a {type(whole).__name__} is not kept")


def program_from_data(nodes: Sequence[Any], texts: Sequence[Text]) -> Program:
    """What `program_data` gave, also after a trip through JSON; `texts` are those of the program."""
    sources = [one.source for one in texts]
    makers = [_maker(kind) for kind in _CLASSES]
    made: list[Any] = []
    for kind, *parts in nodes:
        for place, part in enumerate(parts):
            if part.__class__ is list:
                parts[place] = made[part[0]] if len(part) == 1 else Span(sources[part[0]], part[1], part[2])
        made.append(makers[kind](parts))
    whole: Program = made[-1]
    return replace(whole, texts=tuple(texts))


def _maker(kind: Any) -> Callable[[list[Any]], Any]:
    if kind in (tuple, frozenset):
        return lambda parts: kind(parts)
    if kind is dict:
        return lambda parts: dict(zip(parts[::2], parts[1::2], strict=True))
    if kind is date:
        return lambda parts: date.fromordinal(*parts)
    if kind in (Version, Layer):
        return lambda parts: kind(*parts)
    if not issubclass(kind, typed.Typed):
        return lambda parts: kind(*parts)
    return lambda parts: kind(*parts[1:], span=parts[0])  # the base class's field is the first

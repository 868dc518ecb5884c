"""`--over` items -> the region that they allow: `sm=80,90`, `head_dim=64..256`, an operation, view, context, device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from layerzero.check.expressions import Type, Value
from layerzero.check.program import Program, Scope
from layerzero.cli.given import fold, value as read_text
from layerzero.errors import ArgumentError, ContextError
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.sets import ValueSet, interval, matching, nothing_like
from layerzero.regions.space import Space
from layerzero.regions.terms import FieldDimension, full
from layerzero.semantics.context import read_scope, read_value
from layerzero.syntax.suggest import did_you_mean

_RANGE = re.compile(r"(?P<low>[^.]*(?:\.\d[^.]*)?)\.\.(?P<high>.*)")


@dataclass(frozen=True)
class Over:
    """What to look at: the scopes (none: every operation) and the sets of fields."""

    program: Program
    scopes: tuple[Scope, ...]
    fields: tuple[tuple[FieldDimension, ValueSet], ...]

    @property
    def operations(self) -> list[str] | None:
        return [scope.operation for scope in self.scopes] or None

    def within(self, *spaces: Space) -> Formula:
        """The region in an operation; a view holds where it does in one of the spaces, old and new."""
        scopes = [scope for scope in self.scopes if scope.operation == spaces[0].operation.name]
        views = [space.within(scopes) for space in spaces] if scopes else [f.TRUE]
        return f.all_of([f.any_of(views), *(f.literal(dimension, values) for dimension, values in self.fields)])


def read_over(program: Program, items: Sequence[str]) -> Over:
    """Check the items against a program.

    Raises:
        ArgumentError: An unknown name, or a value that its field does not take.
    """
    scopes: list[Scope] = []
    sets: dict[FieldDimension, ValueSet] = {}
    for item in items:
        name, separator, words = item.partition("=")
        if separator:
            dimension, values = _field(program, name.strip(), words)
            sets[dimension] = sets[dimension] & values if dimension in sets else values
            continue
        for word in filter(None, (part.strip() for part in item.split(","))):
            folded = _bare(program, word)
            scope = folded.pop("operation", None)
            if scope is not None:
                scopes.append(read_scope(program, scope))
            for key, held in folded.items():
                known = FieldDimension(key, program.fields[key].type)
                same = ValueSet(matching(known.type.kind, "==", held))
                sets[known] = sets[known] & same if known in sets else same
    return Over(program, tuple(scopes), tuple(sets.items()))


def _bare(program: Program, word: str) -> dict[str, object]:
    try:
        return dict(fold(program, [word]))
    except ContextError as error:
        raise ArgumentError(f"--over {word}: {error}") from None


def _field(program: Program, name: str, words: str) -> tuple[FieldDimension, ValueSet]:
    field = program.fields.get(program.aliases.fields.get(name, name))
    if field is None:
        hint = did_you_mean(name, [*program.fields, *program.aliases.fields])
        raise ArgumentError(f"--over {name}: unknown field{f'; {hint}' if hint else ''}")
    dimension = FieldDimension(field.name, field.type)
    found = ValueSet(nothing_like(full(dimension).known))
    for word in filter(None, (part.strip() for part in words.split(","))):
        found |= _set(program, field.type, word, name)
    if found.empty:
        raise ArgumentError(f"--over {name}: no values; write NAME=A,B or NAME=LOW..HIGH")
    return dimension, found & full(dimension)


def _set(program: Program, type: Type, word: str, name: str) -> ValueSet:
    if word == "null":
        return ValueSet(nothing_like(full(FieldDimension(name, type)).known), absent=True)
    span = _RANGE.fullmatch(word) if type.kind in ("int", "float") else None
    if span is None:
        return ValueSet(matching(type.kind, "==", _value(program, type, word, name)))
    low, high = (_value(program, type, text, name) if text.strip() else None for text in (span["low"], span["high"]))
    plain = interval("int" if type.kind == "int" else "float", low, high)
    if plain.empty:
        raise ArgumentError(f"--over {name}: the range {word} holds no value")
    return ValueSet(plain)


def _value(program: Program, type: Type, word: str, name: str) -> Value:
    try:
        return read_value(program.aliases.members, type, read_text(type, word, name), name)
    except ContextError as error:
        raise ArgumentError(f"--over {name}: {error}") from None

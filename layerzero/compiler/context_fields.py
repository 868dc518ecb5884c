"""Fields, defaults and what is fixed -> how each field gets its value when a decision is made.

Order of completion as in the language: the given value, else the default. The caller has filled in an asserted view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from layerzero.check.expressions import Type, Value
from layerzero.check.program import Field, Program
from layerzero.compiler.specialise import Specialiser
from layerzero.compiler.terms import Id, Pool
from layerzero.compiler.versions import Between
from layerzero.semantics.context import as_type
from layerzero.semantics.values import UNKNOWN, readable


@dataclass(frozen=True, slots=True)
class Load:
    """Where a decision gets a field from: the context unless `given` is false, then the term of its default."""

    name: str
    type: Type
    given: bool
    default: Id | None


@dataclass(frozen=True, slots=True)
class Fields:
    """`known` are the terms of the fields that no call can change, `loads` the others that a condition may read."""

    pool: Pool
    known: Mapping[str, Id]
    loads: Mapping[str, Load]

    def needed_by(self, names: frozenset[str]) -> tuple[Load, ...]:
        """The loads of some fields and of those that their defaults read, each after what it reads."""
        wanted, stack = set(), list(names)
        while stack:
            name = stack.pop()
            if name not in wanted and name in self.loads:
                wanted.add(name)
                default = self.loads[name].default
                if default is not None:
                    stack.extend(read[1] for read in self.pool.reads(default) if read[0] == "field")
        return tuple(load for name, load in self.loads.items() if name in wanted)


def arrange(program: Program, fixed: Mapping[str, Value | None], needs: tuple[str, ...] = ()) -> Fields:
    """Decide for every field whether it is known now; a default that reads only such fields is known too.

    A call without one of the fields in `needs` is refused before anything is asked, so they count as present.
    """
    present: set[str] = set()
    finite: set[str] = set()
    ranges = {name: (field.type.low, field.type.high) for name, field in program.fields.items()}
    may_be_nan = frozenset(name for name, field in program.fields.items() if not never_infinite(field.type))
    pool = Pool(ranges, present, finite, may_be_nan)
    known: dict[str, Id] = {}
    loads: dict[str, Load] = {}
    for field in program.fields_in_order:
        # A new specialiser for each: `known` and `present` grow, and one that has seen less remembers too much.
        default = None if field.default is None else Specialiser(pool, known, {}).term(field.default)
        default = _as_field(pool, default, field)
        value = fixed.get(field.name)
        if value is not None and readable(value) is UNKNOWN:
            known[field.name] = pool.unknown  # NaN and infinities are present, and unknown
            present.add(field.name)
        elif value is not None:
            known[field.name] = pool.constant(value)
        elif field.name in fixed and (default is None or pool.constant_value(default) is not None):
            known[field.name] = pool.unknown if default is None else default
        else:
            loads[field.name] = Load(field.name, field.type, field.name not in fixed, default)
            if field.name in needs or (default is not None and pool.constant_value(default) is not None):
                present.add(field.name)
                if never_infinite(field.type):
                    finite.add(field.name)
    return Fields(pool, known, loads)


def never_infinite(type: Type) -> bool:
    """Whether every value that a context may give is a number: NaN and infinities lie in no closed range."""
    return type.kind != "float" or (type.low is not None and type.high is not None)


def _as_field(pool: Pool, default: Id | None, field: Field) -> Id | None:
    """A default as its field can hold it: None where it is unknown or a constant outside the field's range."""
    if default is None or default == pool.unknown:
        return None
    value = pool.constant_value(default)
    if value is None or isinstance(value, Between):
        return default
    fitting = as_type(field.type, value)
    return None if fitting is None else pool.constant(fitting)

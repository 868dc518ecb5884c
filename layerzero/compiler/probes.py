"""Parts -> probes: the distinct questions about a call, and which parts survive each answer.

A part's proposition is a conjunction. Conjuncts that read one field go into that field's probe, which cuts its values
into classes; each other conjunct is a probe of its own, with the answers false and true. A part holds when it survives
the answer of every probe.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal as OneOf

from layerzero.compiler.lower import Part
from layerzero.compiler.terms import FALSE, TRUE, UNKNOWN, Id, Pool, Term, holds

ABSENT = None
_LOWEST, _HIGHEST = (-math.inf, 0), (math.inf, 0)
ProbeKind = OneOf["int", "float", "lookup", "formula"]
Key = tuple[Any, int]
"""A number and 0 for itself, 1 for just above it; or a string or bool and 0."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question. Slot i of `classes` is the class of one answer, `masks` has the parts that survive each class.

    int: slot i holds the values from `keys[i - 1]` to below `keys[i]`, the last slot an absent field.
    float: slots 2i and 2i + 1 hold what lies below `keys[i]` and the key itself, the last slot an absent field.
    lookup: slot i is the value `keys[i]`, then any other value, then an absent field or no arm.
    formula: false, true; `proposition` is the question.
    """

    kind: ProbeKind
    read: tuple[str, str]
    keys: tuple[Any, ...]
    classes: tuple[int, ...]
    masks: Sequence[int]
    proposition: Id = -1

    def constrained(self, everything: int) -> int:
        """The parts that some answer removes."""
        return everything & ~reduce(lambda one, other: one & other, self.masks)


@dataclass
class _Gathered:
    """The conjuncts that read one thing: proposition -> the parts that need it."""

    needs: dict[Id, int] = field(default_factory=dict)

    def add(self, proposition: Id, part: int) -> None:
        self.needs[proposition] = self.needs.get(proposition, 0) | 1 << part


def find_probes(pool: Pool, parts: tuple[Part, ...]) -> tuple[Probe, ...]:
    """Every probe that the parts need, those of fields first, by name."""
    by_read: dict[tuple[str, str], _Gathered] = {}
    formulas = _Gathered()
    for number, part in enumerate(parts):
        own: dict[tuple[str, str], list[Id]] = {}
        for conjunct in pool.conjuncts(part.proposition):
            read = _single_read(pool, conjunct)
            if read is None:
                formulas.add(conjunct, number)
            else:
                own.setdefault(read, []).append(conjunct)
        for read, conjuncts in own.items():
            needed = conjuncts[0] if len(conjuncts) == 1 else pool.all_of(tuple(conjuncts))
            by_read.setdefault(read, _Gathered()).add(needed, number)
    everything = (1 << len(parts)) - 1
    probes = [_field_probe(pool, read, by_read[read].needs, everything) for read in sorted(by_read)]
    for proposition, needing in formulas.needs.items():
        masks = (everything & ~needing, everything)
        probes.append(Probe("formula", ("formula", ""), (), (0, 1), masks, proposition))
    return tuple(probes)


def _single_read(pool: Pool, proposition: Id) -> tuple[str, str] | None:
    """What a conjunct reads, if it is one field and every atom compares that field with a constant."""
    reads = pool.reads(proposition)
    if len(reads) != 1:
        return None
    (read,) = reads
    simple = all(_simple(pool, pool.nodes[atom]) for atom in _atoms(pool, proposition))
    return (str(read[0]), str(read[1])) if simple else None


def _atoms(pool: Pool, proposition: Id) -> Iterator[Id]:
    seen, stack = set(), [proposition]
    while stack:
        term = stack.pop()
        if term in seen:
            continue
        seen.add(term)
        node = pool.nodes[term]
        if node[0] == "is":
            yield node[1]
        else:
            stack.extend(pool.parts(term))


def _simple(pool: Pool, atom: Term) -> bool:
    match atom[0]:
        case "field" | "arm":
            return True
        case "has":
            return atom[1] not in pool.may_be_nan
        case "compare":
            left, right = pool.nodes[atom[2]], pool.nodes[atom[3]]
            if left[0] == "field":
                return right[0] == "const" and "version" not in (left[2], right[1])
            return left[0] == "const" and right[0] == "field" and "version" not in (left[1], right[2])
        case _:
            return False


# ---------------------------------------------------------------- one field


def _field_probe(pool: Pool, read: tuple[str, str], needs: dict[Id, int], everything: int) -> Probe:
    kind = next((kind for kind in (_value_kind(pool, one) for one in needs) if kind != "presence"), "presence")
    if read[0] == "arm" or kind in ("bool", "string", "presence"):
        return _lookup_probe(pool, read, needs, everything)
    return _number_probe(pool, read, needs, everything, "int" if kind == "int" else "float")


def _value_kind(pool: Pool, proposition: Id) -> str:
    """The kind of the one field that is read; `presence` where only `has` reads it."""
    for atom in _atoms(pool, proposition):
        node = pool.nodes[atom]
        if node[0] == "field":
            return "bool"
        if node[0] == "compare":
            return pool.kind(next(side for side in node[2:] if pool.nodes[side][0] == "field"))
    return "presence"


def _keys(pool: Pool, proposition: Id) -> set[Any]:
    """The constants that a proposition compares its field with."""
    keys: set[Any] = set()
    for atom in _atoms(pool, proposition):
        node = pool.nodes[atom]
        if node[0] == "field":
            keys.add(True)
        elif node[0] == "arm":
            keys.add(node[2])
        elif node[0] == "compare":
            keys.update(pool.constant_value(side) for side in node[2:] if pool.nodes[side][0] == "const")
    return keys


def _lookup_probe(pool: Pool, read: tuple[str, str], needs: dict[Id, int], everything: int) -> Probe:
    asked = {proposition: _keys(pool, proposition) for proposition in needs}
    keys = sorted(set().union(*asked.values()))
    slots = dict.fromkeys([*keys, _OTHER, ABSENT], everything)
    for proposition, needing in needs.items():
        other = survives(pool, proposition, (_OTHER, 0))
        for key in slots:
            if key is ABSENT:
                alive = survives(pool, proposition, ABSENT)
            else:
                alive = survives(pool, proposition, (key, 0)) if key in asked[proposition] else other
            if not alive:
                slots[key] &= ~needing
    return _classify("lookup", read, tuple(keys), list(slots.values()))


_OTHER = object()


def _number_probe(pool: Pool, read: tuple[str, str], needs: dict[Id, int], everything: int, kind: ProbeKind) -> Probe:
    """Sweep over all starts; each proposition is looked at only where one of its own constants stands."""
    changes: dict[Key, list[tuple[int, bool]]] = {}
    absent = first = everything
    for proposition, needing in needs.items():
        if not survives(pool, proposition, ABSENT):
            absent &= ~needing
        for start, now in _turns(pool, proposition, kind):
            if start == _LOWEST:
                first = first if now else first & ~needing
            else:
                changes.setdefault(start, []).append((needing, now))
    steps, mask = [first], first
    starts = sorted(changes)
    for start in starts:
        for needing, now in changes[start]:
            mask = mask | needing if now else mask & ~needing
        steps.append(mask)
    if kind == "int":
        return _classify("int", read, tuple(start[0] for start in starts), [*steps, absent])
    return _float_probe(read, starts, steps, absent)


def _turns(pool: Pool, proposition: Id, kind: ProbeKind) -> list[tuple[Key, bool]]:
    """Whether the lowest numbers survive, and from where on that changes."""
    span = _span(pool, proposition)
    if span is not None:
        low, high = (_start(key, kind) for key in span)
        turns = [(low, True)] if low < high else []
        if turns and high != _HIGHEST:
            turns.append((high, False))
        return turns if turns and low == _LOWEST else [(_LOWEST, False), *turns]
    alive = survives(pool, proposition, _LOWEST)
    turns = [(_LOWEST, alive)]
    for start in sorted({_start((key, above), kind) for key in _keys(pool, proposition) for above in (0, 1)}):
        now = survives(pool, proposition, start)
        if now is not alive:
            turns.append((start, now))
            alive = now
    return turns


def _span(pool: Pool, proposition: Id) -> tuple[Key, Key] | None:
    """The first number that survives and the first after those, of a conjunction of plain bounds as most are."""
    low, high = _LOWEST, _HIGHEST
    for literal in pool.conjuncts(proposition):
        node = pool.nodes[literal]
        atom = pool.nodes[node[1]] if node[0] == "is" else node
        if atom[0] != "compare" or node[2] & (TRUE | FALSE) != TRUE:
            return None
        left, right = pool.nodes[atom[2]], pool.nodes[atom[3]]
        # A number itself comes before what lies just above it.
        if atom[1] == "==":
            number = right[2] if left[0] == "field" else left[2]
            low, high = max(low, (number, 0)), min(high, (number, 1))
        elif left[0] == "field":
            high = min(high, (right[2], int(atom[1] == "<=")))
        else:
            low = max(low, (left[2], int(atom[1] == "<")))
    return low, high


def _float_probe(read: tuple[str, str], starts: list[Key], steps: list[int], absent: int) -> Probe:
    """Two slots for every key: what lies below it, and the key itself."""
    keys = sorted({start[0] for start in starts})
    slots: list[int] = []
    at = 0
    for key in keys:
        slots.append(steps[at])
        if at < len(starts) and starts[at] == (key, 0):
            at += 1
        slots.append(steps[at])
        if at < len(starts) and starts[at] == (key, 1):
            at += 1
    return _classify("float", read, tuple(keys), [*slots, steps[at], absent])


def _start(key: Key, kind: ProbeKind) -> Key:
    """A key as the first value of its kind that is not below it."""
    number, above = key
    if kind != "int" or abs(number) == math.inf:
        return key
    return (math.floor(number) + 1 if above else math.ceil(number)), 0


def _classify(kind: ProbeKind, read: tuple[str, str], keys: tuple[Any, ...], slots: list[int]) -> Probe:
    numbers: dict[int, int] = {}
    classes = tuple(numbers.setdefault(mask, len(numbers)) for mask in slots)
    return Probe(kind, read, keys, classes, tuple(numbers))


# ---------------------------------------------------------------- evaluation on one value


def survives(pool: Pool, proposition: Id, value: Key | None) -> bool:
    """Whether a proposition over one field is true of a value, or of its absence."""
    node = pool.nodes[proposition]
    match node[0]:
        case "const":
            return bool(node[2])
        case "all":
            return all(survives(pool, part, value) for part in node[1:])
        case "any":
            return any(survives(pool, part, value) for part in node[1:])
        case _:
            return bool(_value_of(pool, pool.nodes[node[1]], value) & node[2])


def _value_of(pool: Pool, atom: Term, value: Key | None) -> int:
    """TRUE, FALSE or UNKNOWN."""
    if atom[0] == "has":
        return FALSE if value is ABSENT else TRUE
    if atom[0] == "arm":
        return TRUE if value is not ABSENT and value[0] == atom[2] else FALSE
    if value is ABSENT:
        return UNKNOWN
    if atom[0] == "field":
        return TRUE if value[0] is True else FALSE
    sides: list[Key] = [
        value if pool.nodes[side][0] == "field" else (pool.constant_value(side), 0) for side in atom[2:]
    ]
    left, right = sides
    if left[0] == right[0] or isinstance(left[0], str) or left[0] is _OTHER:
        return TRUE if holds(atom[1], left[1], right[1]) and left[0] == right[0] else FALSE
    return TRUE if holds(atom[1], left[0], right[0]) else FALSE

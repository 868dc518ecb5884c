"""Terms -> Python expressions over numbered locals and constants.

A value is an expression with guards: it may be evaluated where all of them hold, and is unknown elsewhere. What grows
long is put into a local first, so the text stays linear in the terms and never nests deeply.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.version import Version

from layerzero.compiler.terms import FALSE, MAX_INT, MIN_INT, TRUE, UNKNOWN, Id, Pool
from layerzero.syntax.glob import compile_glob

LONGEST = 240
"""Characters of an expression before it moves into a local."""

_OPERATORS = {"+": "+", "-": "-", "*": "*", "//": "//", "%": "%", "==": "==", "<": "<", "<=": "<="}
Guarded = tuple[tuple[str, ...], str]


class Constants:
    """The table that generated functions have as their globals: `K0`, `K1`, ..."""

    def __init__(self) -> None:
        self.table: dict[str, Any] = {"__builtins__": {"min": min, "max": max, "float": float}}
        self._names: dict[tuple[str, Any], str] = {}

    def named(self, value: Any) -> str:
        """The name of a constant. Equal strings and numbers of one type share theirs."""
        plain = isinstance(value, str | int) or (isinstance(value, float) and value != 0)
        key = (type(value).__name__, value) if plain else ("object", id(value))
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"K{len(self._names)}"
            self.table[name] = value  # also keeps the object alive, so that its id stays its own
        return name


@dataclass
class Block:
    """The expressions of one probe. `lines` are the statements that must run before them."""

    pool: Pool
    constants: Constants
    places: Mapping[Any, str]
    presence: Mapping[str, str]
    indent: str
    prefix: str
    lines: list[str] = field(default_factory=list)
    _values: dict[Id, Guarded] = field(default_factory=dict)
    _booleans: dict[Id, str] = field(default_factory=dict)
    _prepared: set[Id] = field(default_factory=set)
    _temporaries: int = 0

    # ------------------------------------------------------------ values

    def value(self, term: Id) -> Guarded:
        """A value that is not a condition, with its guards."""
        self._prepare(term)
        found = self._values.get(term)
        if found is None:
            found = self._value(term)
            if len(found[1]) + sum(map(len, found[0])) > LONGEST:
                found = self._in_local(found)
            self._values[term] = found
        return found

    def _prepare(self, term: Id) -> None:
        """What lies below goes first, so that a deep term needs no deep stack."""
        for part in self.pool.deepest_first(term, self._prepared):
            self._prepared.add(part)
            if part != term and self.pool.nodes[part][0] in ("arithmetic", "extremum", "negate"):
                self.value(part)
            elif part != term and self.pool.nodes[part][0] in ("all", "any"):
                self.boolean(part)
            elif self.pool.nodes[part][0] == "choose":
                self.boolean(self.pool.truth(self.pool.nodes[part][2], TRUE))
                self.boolean(self.pool.truth(self.pool.nodes[part][2], FALSE))
                if part != term:
                    self.value(part)

    def optional(self, term: Id) -> str:
        """An expression that gives the value, or None where it is unknown."""
        if self.pool.nodes[term][0] in ("compare", "like", "not", "and", "or", "either", "has", "arm"):
            return self._truth_value(term)
        guards, text = self.value(term)
        return f"({text} if {' and '.join(guards)} else None)" if guards else text

    def _truth_value(self, term: Id) -> str:
        yes = self.boolean(self.pool.truth(term, TRUE))
        no = self.boolean(self.pool.truth(term, FALSE))
        return f"(True if {yes} else False if {no} else None)"

    def _value(self, term: Id) -> Guarded:
        node = self.pool.nodes[term]
        match node[0]:
            case "const":
                return (), self.constants.named(Version(node[2]) if node[1] == "version" else node[2])
            case "unknown":
                return ("False",), "None"
            case "field":
                place = self.places["field", node[1]]
                return (() if self.pool.certain(term) else (f"{place} is not None",)), place
            case "negate":
                guards, text = self.value(node[2])
                return self._limited(term, node[1], guards, f"(-{text})")
            case "arithmetic":
                return self._arithmetic(term, node[1], node[2], node[3], node[4])
            case "extremum":
                return self._extremum(node[1], node[2], node[3:])
            case "choose":
                return self._choose(node[2], node[3], node[4])
            case other:
                raise ValueError(f"not a value in a compiled form: `{other}`")

    def _arithmetic(self, term: Id, kind: str, operator: str, left: Id, right: Id) -> Guarded:
        guards, one = self.value(left)
        more, other = self.value(right)
        guards = (*guards, *more)
        if operator in ("//", "%") and self._may_be_zero(right):
            if not other.isidentifier():
                local = self._new_local()
                guards, other = (*guards, f"({local} := {other}) != 0"), local
            else:
                guards = (*guards, f"{other} != 0")
        return self._limited(term, kind, guards, f"({one} {_OPERATORS[operator]} {other})")

    def _may_be_zero(self, term: Id) -> bool:
        value = self.pool.constant_value(term)
        if value is not None:
            return value == 0
        if self.pool.kind(term) != "int":
            return True
        low, high = self.pool.bounds(term)
        return low <= 0 <= high

    def _limited(self, term: Id, kind: str, guards: tuple[str, ...], text: str) -> Guarded:
        """Beyond 64 bits or the doubles is unknown; ranges of fields often show that this cannot be."""
        if kind == "int":
            low, high = self.pool.bounds(term)
            if low >= MIN_INT and high <= MAX_INT:
                return guards, text
        local, name = self._new_local(), self.constants.named
        if kind == "int":
            return (*guards, f"{name(MIN_INT)} <= ({local} := {text}) <= {name(MAX_INT)}"), local
        return (*guards, f"{name(-math.inf)} < ({local} := {text}) < {name(math.inf)}"), local

    def _extremum(self, kind: str, function: str, terms: tuple[Id, ...]) -> Guarded:
        parts = [self.value(part) for part in terms]
        guards = tuple(guard for part in parts for guard in part[0])
        texts = [part[1] for part in parts]
        text = f"{'min' if function == 'min' else 'max'}({', '.join(texts)})" if len(texts) > 1 else texts[0]
        return guards, f"float({text})" if kind == "float" else text

    def _choose(self, condition: Id, then: Id, otherwise: Id) -> Guarded:
        yes = self.boolean(self.pool.truth(condition, TRUE))
        no = self.boolean(self.pool.truth(condition, FALSE))
        text = f"({self.optional(then)} if {yes} else {self.optional(otherwise)} if {no} else None)"
        return self._in_local(((), text))

    def _in_local(self, value: Guarded) -> Guarded:
        local = self._new_local()
        guards, text = value
        whole = f"{text} if {' and '.join(guards)} else None" if guards else text
        self.lines.append(f"{self.indent}{local} = {whole}")
        return (f"{local} is not None",), local

    def _new_local(self) -> str:
        self._temporaries += 1
        return f"{self.prefix}{self._temporaries}"

    # ------------------------------------------------------------ propositions

    def boolean(self, proposition: Id) -> str:
        self._prepare(proposition)
        found = self._booleans.get(proposition)
        if found is None:
            found = self._boolean(proposition)
            if len(found) > LONGEST:
                local = self._new_local()
                self.lines.append(f"{self.indent}{local} = {found}")
                found = local
            self._booleans[proposition] = found
        return found

    def _boolean(self, proposition: Id) -> str:
        node = self.pool.nodes[proposition]
        match node[0]:
            case "const":
                return "True" if node[2] else "False"
            case "all" | "any":
                word = " and " if node[0] == "all" else " or "
                return f"({word.join(self.boolean(part) for part in node[1:])})"
            case "is":
                return self._literal(node[1], node[2])
            case other:
                raise ValueError(f"not a proposition in a compiled form: `{other}`")

    def _literal(self, atom: Id, allowed: int) -> str:
        node = self.pool.nodes[atom]
        if node[0] == "has":
            place = self.places["field", node[1]]
            present = self.presence.get(place, f"{place} is not None")
            return f"({present})" if allowed & TRUE else f"(not ({present}))"
        if node[0] == "arm":
            text = f"({self.places['arm', node[1]]} == {self.constants.named(node[2])})"
            return text if allowed & TRUE else f"(not {text})"
        guards, text = self._atom(atom)
        known = " and ".join(guards)
        if allowed == TRUE | FALSE:
            return f"({known or 'True'})"
        if allowed == UNKNOWN:
            return f"(not ({known or 'True'}))"
        if allowed in (TRUE, FALSE | UNKNOWN):
            whole = " and ".join((*guards, text))
        else:
            whole = " and ".join((*guards, f"not {text}"))
        return f"({whole})" if allowed in (TRUE, FALSE) else f"(not ({whole}))"

    def _atom(self, atom: Id) -> Guarded:
        node = self.pool.nodes[atom]
        match node[0]:
            case "field":
                return self.value(atom)
            case "compare":
                guards, left = self.value(node[2])
                more, right = self.value(node[3])
                return (*guards, *more), f"({left} {_OPERATORS[node[1]]} {right})"
            case "like":
                guards, text = self.value(node[1])
                return guards, f"({self.constants.named(compile_glob(node[2]).fullmatch)}({text}) is not None)"
            case other:
                raise ValueError(f"not a test in a compiled form: `{other}`")

"""Typed expressions -> terms: folded under what is fixed, each distinct one held once, plain data throughout.

A term is a tuple of its operator and the numbers of its parts in the pool, so equal terms are one term and a
walk over shared terms is linear. Conditions are three-valued terms; `truth` turns one into a two-valued
*proposition*: "it is true", "it is not false".
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from packaging.version import Version

from layerzero.compiler.versions import AnyVersion, Between

Term = tuple[Any, ...]
Id = int

TRUE, FALSE, UNKNOWN = 1, 2, 4
"""The three values of a condition, as bits: a proposition allows a set of them."""

_OF_TWO_VALUES = (0, TRUE, FALSE | UNKNOWN, 7)

MIN_INT, MAX_INT = -(2**63), 2**63 - 1
SHALLOW = 100
"""Conditions up to this deep are walked by recursion."""
Plain = bool | int | float | str
Bounds = tuple[int, int]


@dataclass
class Pool:
    """Every term of one compiled program, by number. `bounds` of a field: what its declared range promises."""

    ranges: Mapping[str, tuple[float | None, float | None]]
    present: AbstractSet[str] = frozenset()  # fields that are never absent
    known: AbstractSet[str] = frozenset()  # and of these, those that are never NaN or infinite
    may_be_nan: AbstractSet[str] = frozenset()  # given, and yet unknown
    nodes: list[Term] = field(default_factory=list)
    _numbers: dict[Term, Id] = field(default_factory=dict)
    _truths: dict[tuple[Id, int], Id] = field(default_factory=dict)
    _inverses: dict[Id, Id] = field(default_factory=dict)
    _settled: set[Id] = field(default_factory=set)  # whose parts have their truths
    _heights: dict[Id, int] = field(default_factory=dict)  # of conditions: how deep a recursion goes
    _bounds: dict[Id, Bounds] = field(default_factory=dict)
    _certain: dict[Id, bool] = field(default_factory=dict)
    _reads: dict[Id, frozenset[Term]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.true = self.add("const", "bool", True)
        self.false = self.add("const", "bool", False)
        self.unknown = self.add("unknown")

    def add(self, *term: Any) -> Id:
        # 1, 1.0 and True are one key in a dict: a constant's kind keeps them apart, the sign keeps -0.0 from being 0.0.
        key = (*term, "-") if term[0] == "const" and _negative_zero(term[2]) else term
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.nodes)
            self.nodes.append(term)
        return number

    # ------------------------------------------------------------ values

    def constant(self, value: Plain | AnyVersion) -> Id:
        if isinstance(value, Between):
            return self.add("const", "stand-in", value)  # only while compiling: comparisons fold it away
        if isinstance(value, Version):
            return self.add("const", "version", str(value))
        return self.add("const", {bool: "bool", int: "int", float: "float", str: "string"}[type(value)], value)

    def constant_value(self, term: Id) -> Plain | AnyVersion | None:
        """The value of a constant term; None for every other."""
        node = self.nodes[term]
        if node[0] != "const":
            return None
        value: Plain | AnyVersion = node[2]
        return Version(str(value)) if node[1] == "version" else value

    def kind(self, term: Id) -> str:
        """`int`, `float`, ... of a value term."""
        node = self.nodes[term]
        match node[0]:
            case "const" | "arithmetic" | "extremum" | "negate":
                return str(node[1])
            case "field" | "choose":
                return str(node[2] if node[0] == "field" else node[1])
            case _:
                return "unknown"

    def arithmetic(self, operator: str, kind: str, left: Id, right: Id) -> Id:
        if self.unknown in (left, right):
            return self.unknown
        one, other = self.constant_value(left), self.constant_value(right)
        if isinstance(one, int | float) and isinstance(other, int | float):
            return self._folded(kind, calculate(operator, one, other))
        if operator in ("//", "%") and other is not None and other == 0:
            return self.unknown
        return self.add("arithmetic", kind, operator, left, right)

    def negate_value(self, kind: str, operand: Id) -> Id:
        value = self.constant_value(operand)
        if operand == self.unknown:
            return operand
        if isinstance(value, int | float):
            return self._folded(kind, -value)
        return self.add("negate", kind, operand)

    def extremum(self, function: str, kind: str, parts: tuple[Id, ...]) -> Id:
        if self.unknown in parts:
            return self.unknown
        values = [self.constant_value(part) for part in parts]
        numbers = [value for value in values if isinstance(value, int | float)]
        if len(numbers) == len(parts):
            return self._folded(kind, min(numbers) if function == "min" else max(numbers))
        return self.add("extremum", kind, function, *parts)

    def choose(self, kind: str, condition: Id, then: Id, otherwise: Id) -> Id:
        if condition == self.true:
            return self._as_kind(kind, then)
        if condition == self.false:
            return self._as_kind(kind, otherwise)
        if condition == self.unknown:
            return condition
        return self.add("choose", kind, condition, self._as_kind(kind, then), self._as_kind(kind, otherwise))

    def _as_kind(self, kind: str, term: Id) -> Id:
        value = self.constant_value(term)
        if kind == "float" and type(value) is int:
            return self.constant(float(value))
        if kind == "float" and self.kind(term) == "int":
            return self.add("extremum", "float", "min", term)
        return term

    def _folded(self, kind: str, value: int | float | None) -> Id:
        value = within_limits(value if value is None or kind != "float" else as_double(value))
        return self.unknown if value is None else self.constant(value)

    # ------------------------------------------------------------ conditions

    def compare(self, operator: str, left: Id, right: Id) -> Id:
        """One pair of a comparison, as `==`, `<` or `<=`, or the negation of one."""
        if operator == "!=":
            return self.negation(self.compare("==", left, right))
        if operator in (">", ">="):
            return self.compare("<" if operator == ">" else "<=", right, left)
        if self.unknown in (left, right):
            return self.unknown
        one, other = self.constant_value(left), self.constant_value(right)
        if one is not None and other is not None:
            return self.true if holds(operator, one, other) else self.false
        return self.add("compare", operator, left, right)

    def equivalent(self, left: Id, right: Id) -> Id:
        """`==` of two conditions."""
        both = self.conjunction((left, right))
        return self.disjunction((both, self.conjunction((self.negation(left), self.negation(right)))))

    def negation(self, term: Id) -> Id:
        if term in (self.true, self.false, self.unknown):
            return {self.true: self.false, self.false: self.true, self.unknown: self.unknown}[term]
        node = self.nodes[term]
        return int(node[1]) if node[0] == "not" else self._add_condition("not", term)

    def conjunction(self, parts: tuple[Id, ...]) -> Id:
        return self._junction("and", parts, neutral=self.true, absorbing=self.false)

    def disjunction(self, parts: tuple[Id, ...]) -> Id:
        return self._junction("or", parts, neutral=self.false, absorbing=self.true)

    def alternative(self, condition: Id, then: Id, otherwise: Id) -> Id:
        """`X if C else Y` of conditions: unknown where C is."""
        if condition in (self.true, self.false, self.unknown):
            return {self.true: then, self.false: otherwise, self.unknown: self.unknown}[condition]
        return self._add_condition("either", condition, then, otherwise)

    def _junction(self, operator: str, parts: tuple[Id, ...], neutral: Id, absorbing: Id) -> Id:
        flat: dict[Id, None] = {}
        for part in parts:
            node = self.nodes[part]
            flat.update(dict.fromkeys(node[1:] if node[0] == operator else (part,)))
        flat.pop(neutral, None)
        if absorbing in flat:
            return absorbing
        if len(flat) < 2:
            return next(iter(flat), neutral)
        return self._add_condition(operator, *sorted(flat))

    def _add_condition(self, operator: str, *parts: Id) -> Id:
        number = self.add(operator, *parts)
        self._heights[number] = 1 + max(self._heights.get(part, 0) for part in parts)
        return number

    def deepest_first(self, term: Id, done: Container[Id]) -> list[Id]:
        """A term and all below it that is not `done`, parts before what they are parts of.

        Whoever works through this list finds all parts done, and so needs no deep stack for a deep condition.
        """
        found: dict[Id, None] = {}
        stack = [term]
        while stack:
            top = stack[-1]
            waiting = [part for part in self.parts(top) if part not in found and part not in done]
            if top in found or top in done:
                stack.pop()
            elif waiting:
                stack.extend(waiting)
            else:
                found[stack.pop()] = None
        return list(found)

    # ------------------------------------------------------------ propositions

    def truth(self, term: Id, allowed: int) -> Id:
        """The proposition that the condition has one of the `allowed` values."""
        if (term, allowed) not in self._truths and self._heights.get(term, 0) > SHALLOW:
            for part in self.deepest_first(term, self._settled):
                self._settled.add(part)
                if self.nodes[part][0] in ("not", "and", "or", "either"):
                    self._find_truth(part, TRUE)
                    self._find_truth(part, FALSE)
        return self._find_truth(term, allowed)

    def _find_truth(self, term: Id, allowed: int) -> Id:
        match allowed:
            case 7 | 0:
                return self.true if allowed else self.false
            case 6 | 5:
                return self.inverse(self._find_truth(term, 7 - allowed))
            case 3:
                return self.any_of((self._find_truth(term, TRUE), self._find_truth(term, FALSE)))
            case 4:
                return self.inverse(self._find_truth(term, TRUE | FALSE))
            case _:
                pass
        known = self._truths.get((term, allowed))
        if known is None:
            known = self._truths[term, allowed] = self._truth(term, allowed)
        return known

    def _truth(self, term: Id, allowed: int) -> Id:
        node, other = self.nodes[term], (TRUE | FALSE) ^ allowed
        if term in (self.true, self.false, self.unknown):
            return self.true if term == {TRUE: self.true, FALSE: self.false}[allowed] else self.false
        match node[0]:
            case "not":
                return self._find_truth(node[1], other)
            case "and" | "or":
                parts = tuple(self._find_truth(part, allowed) for part in node[1:])
                return self.all_of(parts) if (node[0] == "and") == (allowed == TRUE) else self.any_of(parts)
            case "either":
                yes = self.all_of((self._find_truth(node[1], TRUE), self._find_truth(node[2], allowed)))
                no = self.all_of((self._find_truth(node[1], FALSE), self._find_truth(node[3], allowed)))
                return self.any_of((yes, no))
            case _:
                return self._literal(term, allowed)

    def _literal(self, atom: Id, allowed: int) -> Id:
        """An atom that is never unknown has two values only, so that each proposition has one form."""
        if self.certain(atom):
            allowed = _OF_TWO_VALUES[allowed & 3]
        return self.true if allowed == 7 else self.false if allowed == 0 else self.add("is", atom, allowed)

    def inverse(self, proposition: Id) -> Id:
        if self.nodes[proposition][0] not in ("all", "any"):
            return self._inverse(proposition)
        for part in self.deepest_first(proposition, self._inverses):
            if self.nodes[part][0] in ("all", "any"):
                self._inverses[part] = self._inverse(part)
        return self._inverse(proposition)

    def _inverse(self, proposition: Id) -> Id:
        node = self.nodes[proposition]
        match node[0]:
            case "const":
                return self.false if node[2] else self.true
            case "is":
                return self._literal(node[1], 7 - node[2])
            case _:
                if proposition not in self._inverses:
                    parts = tuple(self._inverse(part) for part in node[1:])
                    self._inverses[proposition] = self.any_of(parts) if node[0] == "all" else self.all_of(parts)
                return self._inverses[proposition]

    def all_of(self, parts: tuple[Id, ...]) -> Id:
        return self._gather("all", parts)

    def any_of(self, parts: tuple[Id, ...]) -> Id:
        return self._gather("any", parts)

    def _gather(self, operator: str, parts: tuple[Id, ...]) -> Id:
        """Flat, sorted, one literal an atom: intersected under `all`, united under `any`."""
        neutral, absorbing = (self.true, self.false) if operator == "all" else (self.false, self.true)
        literals: dict[Id, int] = {}
        others: set[Id] = set()
        stack = list(parts)
        while stack:
            part = stack.pop()
            node = self.nodes[part]
            if node[0] == operator:
                stack.extend(node[1:])
            elif node[0] == "is":
                before = literals.get(node[1])
                if before is None:
                    literals[node[1]] = node[2]
                else:
                    literals[node[1]] = before & node[2] if operator == "all" else before | node[2]
            elif part != neutral:
                others.add(part)
        others |= {self._literal(atom, allowed) for atom, allowed in literals.items()}
        others.discard(neutral)
        if absorbing in others:
            return absorbing
        if len(others) < 2:
            return next(iter(others), neutral)
        return self.add(operator, *sorted(others))

    def conjuncts(self, proposition: Id) -> tuple[Id, ...]:
        if proposition == self.true:
            return ()
        node = self.nodes[proposition]
        return node[1:] if node[0] == "all" else (proposition,)

    # ------------------------------------------------------------ questions

    def reads(self, term: Id) -> frozenset[Term]:
        """What a term asks of a call: ("field", name) and ("arm", experiment)."""
        known = self._reads.get(term)
        if known is not None:
            return known
        for part in self.deepest_first(term, self._reads):
            node = self.nodes[part]
            if node[0] in ("field", "has"):
                self._reads[part] = frozenset({("field", node[1])})
            elif node[0] == "arm":
                self._reads[part] = frozenset({("arm", node[1])})
            else:
                found = [self._reads[below] for below in self.parts(part)]
                most = max(found, key=len, default=frozenset[Term]())  # most often it is the only one
                self._reads[part] = most if all(one <= most for one in found) else most.union(*found)
        return self._reads[term]

    def parts(self, term: Id) -> tuple[Id, ...]:
        """The numbers of a term's parts."""
        node = self.nodes[term]
        match node[0]:
            case "not" | "and" | "or" | "all" | "any" | "either":
                return node[1:]
            case "compare" | "negate" | "choose":
                return node[2:]
            case "arithmetic" | "extremum":
                return node[3:]
            case "like" | "is":
                return node[1:2]
            case _:
                return ()

    def certain(self, term: Id) -> bool:
        """Whether a value or condition is never unknown."""
        known = self._certain.get(term)
        if known is not None:
            return known
        for part in self.deepest_first(term, self._certain):
            node = self.nodes[part]
            match node[0]:
                case "const" | "has" | "arm":
                    self._certain[part] = True
                case "field":
                    self._certain[part] = node[1] in self.known
                case "compare" | "like" | "not" | "and" | "or" | "either":
                    self._certain[part] = all(self._certain[below] for below in self.parts(part))
                case _:
                    self._certain[part] = False
        return self._certain[term]

    def bounds(self, term: Id) -> Bounds:
        """Between which integers an int term lies if nothing in it overflows."""
        for part in self.deepest_first(term, self._bounds):
            # Conditions and doubles on the way have no use for bounds, and get those of any integer.
            whole = self.kind(part) == "int"
            self._bounds[part] = self._find_bounds(self.nodes[part]) if whole else (MIN_INT, MAX_INT)
        return self._bounds[term]

    def _find_bounds(self, node: Term) -> Bounds:
        match node[0]:
            case "const":
                return node[2], node[2]
            case "field":
                low, high = self.ranges.get(node[1], (None, None))
                return (MIN_INT if low is None else math.ceil(low)), (MAX_INT if high is None else math.floor(high))
            case "negate":
                low, high = self._bounds[node[2]]
                return -high, -low
            case "extremum":
                pairs = [self._bounds[part] for part in node[3:]]
                best = min if node[2] == "min" else max
                return best(low for low, _ in pairs), best(high for _, high in pairs)
            case "choose":
                (a, b), (c, d) = self._bounds[node[3]], self._bounds[node[4]]
                return min(a, c), max(b, d)
            case "arithmetic":
                (a, b), (c, d) = self._bounds[node[3]], self._bounds[node[4]]
                match node[2]:
                    case "+":
                        return a + c, b + d
                    case "-":
                        return a - d, b - c
                    case "*":
                        corners = [a * c, a * d, b * c, b * d]
                        return min(corners), max(corners)
                    case "//":
                        widest = max(abs(a), abs(b))
                        return -widest, widest
                    case _:
                        widest = max(abs(c), abs(d))
                        return -widest, widest
            case _:
                return MIN_INT, MAX_INT


def holds(operator: str, left: Any, right: Any) -> bool:
    """`==`, `<` or `<=` of two known values; ints and doubles compare by mathematical value, as in Python."""
    return bool(left == right if operator == "==" else left < right if operator == "<" else left <= right)


def calculate(operator: str, left: int | float, right: int | float) -> int | float | None:
    """Two numbers combined; None where the result is unknown."""
    if operator in ("//", "%") and right == 0:
        return None
    try:
        match operator:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "//":
                return left // right
            case _:
                return left % right
    except OverflowError:
        return None


def within_limits(value: int | float | None) -> int | float | None:
    """None for what does not fit: integers beyond 64 bits, infinities, NaN."""
    if isinstance(value, int):
        return value if MIN_INT <= value <= MAX_INT else None
    return value if value is not None and math.isfinite(value) else None


def as_double(value: float) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def _negative_zero(value: Any) -> bool:
    return type(value) is float and value == 0 and math.copysign(1, value) < 0

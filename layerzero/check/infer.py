"""Expressions of the tree -> typed expressions. Every fault is reported once; what stands above it stays silent.

The one rule that is not local: next to an enum a bare name is that enum's member if it has one. So the operands
of a comparison are looked at together: `expected` carries the enum of the neighbour down to the names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from layerzero.check import expressions as typed
from layerzero.check.expressions import BOOL, FLOAT, INT, STRING, VERSION, Expression, Type, type_of
from layerzero.check.names import Names
from layerzero.check.ranges import check_constant, check_interval, constant_of
from layerzero.check.report import Report
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Label
from layerzero.syntax.source import Span

MAX_EXPANDED = 20_000  # nodes of one condition after its defines are expanded
MAX_DEPTH = 100  # nesting of one condition after its defines are expanded; each level costs some four frames
_INT64 = range(-(2**63), 2**63)
_ORDERED = frozenset({"<", "<=", ">", ">="})


@dataclass
class Inference:
    """Types expressions of one program. Expansions of defines are shared, so doubling defines cost nothing twice."""

    names: Names
    _expanded: dict[tuple[str, Type | None], Expression | None] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _any_member: Type | None = None
    _depth: int = 0
    _sizes: dict[int, tuple[int, int, Expression]] = field(default_factory=dict)

    @property
    def report(self) -> Report:
        return self.names.report

    @property
    def expanded(self) -> frozenset[str]:
        """The defines that have been used so far, directly or in one another."""
        return frozenset(name for name, _ in self._expanded)

    def condition(self, node: nodes.Expression, kernel: bool = True) -> Expression | None:
        """A bool expression, or None with the reason reported. `kernel` says whether `kernel.X` has a meaning here."""
        found = self.expression(node)
        if found is None or not self._fits(found, node.span):
            return None
        if type_of(found).kind != "bool":
            kind = type_of(found)
            help = ""
            if isinstance(found, typed.FieldValue):
                help = f"compare it with a value, or ask `has({found.name})`"
            self.report.add("LZ302", f"`{node.span.text}` is not a condition", node.span, f"this is {_a(kind)}", help)
            return None
        if not kernel and not self.forbid_kernel(found):
            return None
        return found

    def forbid_kernel(self, found: Expression) -> bool:
        """Report each `kernel.X` where no kernel is being decided."""
        wrong = [part for part in typed.walk(found) if isinstance(part, typed.AttributeValue)]
        for part in wrong:
            self.report.add(
                "LZ212", f"`kernel.{part.name}` has no meaning here", part.span, "no kernel is decided here"
            )
        return not wrong

    def check_unused_defines(self) -> None:
        """Type the defines that nothing has used. A bare enum member gets its type from its use, so any may stand."""
        members = dict.fromkeys(member for kind in self.names.types.values() for member in kind.members)
        self._any_member = Type("enum", tuple(members))
        used = self.expanded
        for name, define in self.names.defines.items():
            if name not in used:
                value = define.value
                while isinstance(value, nodes.Parenthesized):
                    value = value.inner
                bare = isinstance(value, nodes.Name | nodes.Conditional)
                self._define(nodes.Name(name, span=define.name.span), self._any_member if bare else None)

    def value(self, node: nodes.Expression, wanted: Type, what: str) -> Expression | None:
        """An expression of the wanted type: a default, or the value of an assignment."""
        if isinstance(node, nodes.Literal) and node.value is None:
            self.report.add("LZ305", f"{what} cannot be null", node.span, help="leave it out to have it absent")
            return None
        found = self.expression(node, wanted if wanted.kind == "enum" else None)
        if found is None or not self._fits(found, node.span):
            return None
        found = self._as_version(found) if wanted.kind == "version" else found
        if found is None:
            return None
        kind = type_of(found)
        enums = wanted.kind == "enum" and kind.kind == "enum"
        if not (kind.kind == wanted.kind or enums or (kind.kind == "int" and wanted.kind == "float")):
            help = f"one of {', '.join(wanted.members)}" if wanted.kind == "enum" else ""
            self.report.add("LZ301", f"{what} wants {_a(wanted)}", node.span, f"this is {_a(kind)}", help)
            return None
        constant = constant_of(found)
        if constant is not None and not check_constant(self.report, constant, wanted, what, node.span):
            return None
        return found

    # ------------------------------------------------------------ the walk

    def expression(self, node: nodes.Expression, expected: Type | None = None) -> Expression | None:
        """The typed form of an expression; `expected` is the enum (or string type) that stands next to it."""
        if self._depth >= MAX_DEPTH:
            self.report.add("LZ003", f"the expression nests deeper than {MAX_DEPTH}, its defines expanded", node.span)
            return None
        self._depth += 1
        try:
            return self._expression(node, expected)
        finally:
            self._depth -= 1

    def _expression(self, node: nodes.Expression, expected: Type | None) -> Expression | None:
        match node:
            case nodes.Parenthesized():
                return self.expression(node.inner, expected)
            case nodes.Literal():
                return self._literal(node)
            case nodes.Name():
                return self._name(node, expected)
            case nodes.KernelAttribute():
                return self._attribute(node)
            case nodes.PackageVersion():
                return typed.InstalledVersion(canonicalize_name(node.package), span=node.span)
            case nodes.Has():
                return self._has(node)
            case nodes.Extremum():
                parts = [self._number(argument) for argument in node.arguments]
                known = [part for part in parts if part is not None]
                if len(known) < len(parts):
                    return None
                return typed.Extremum(node.function, tuple(known), _numeric(*known), span=node.span)
            case nodes.Negate():
                return self._negate(node)
            case nodes.Arithmetic():
                left, right = self._number(node.left), self._number(node.right)
                if left is None or right is None:
                    return None
                return typed.Arithmetic(node.operator, left, right, _numeric(left, right), span=node.span)
            case nodes.Conditional():
                return self._conditional(node, expected)
            case nodes.Comparison():
                return self._comparison(node)
            case nodes.Membership():
                return self._membership(node)
            case nodes.Like():
                operand = self.expression(node.operand)
                if operand is None:
                    return None
                if type_of(operand).kind != "string":
                    label = f"this is {_a(type_of(operand))}"
                    self.report.add("LZ301", "`like` wants a string on its left", node.operand.span, label)
                    return None
                return typed.Like(operand, node.pattern.value, node.negated, span=node.span)
            case nodes.Not():
                inner = self.condition(node.operand)
                return None if inner is None else typed.Not(inner, span=node.span)
            case nodes.And() | nodes.Or():
                operands = [self.condition(operand) for operand in node.operands]
                sound = tuple(operand for operand in operands if operand is not None)
                if len(sound) < len(operands):
                    return None
                return (typed.And if isinstance(node, nodes.And) else typed.Or)(sound, span=node.span)
            case _:
                assert_never(node)

    def _literal(self, node: nodes.Literal) -> Expression | None:
        match node.value:
            case None:
                self.report.add("LZ305", "`null` is not a value", node.span, help="`has(field)` asks for presence")
                return None
            case bool():
                return typed.Constant(node.value, BOOL, span=node.span)
            case int():
                return self._integer(node.value, node.span)
            case float():
                return typed.Constant(node.value, FLOAT, span=node.span)
            case str():
                return typed.Constant(node.value, STRING, span=node.span)

    def _integer(self, value: int, span: Span) -> Expression | None:
        if value not in _INT64:
            self.report.add("LZ101", "an integer does not fit in 64 bits", span)
            return None
        return typed.Constant(value, INT, span=span)

    def _negate(self, node: nodes.Negate) -> Expression | None:
        if isinstance(node.operand, nodes.Literal) and type(node.operand.value) is int:
            return self._integer(-node.operand.value, node.span)
        operand = self._number(node.operand)
        if operand is None:
            return None
        if isinstance(operand, typed.Constant) and isinstance(operand.value, float):
            return typed.Constant(-operand.value, FLOAT, span=node.span)
        return typed.Negate(operand, type_of(operand), span=node.span)

    def _name(self, node: nodes.Name, expected: Type | None) -> Expression | None:
        names = self.names
        if expected is not None and expected.kind == "enum":
            member = names.member(node.text, expected)
            if member is not None:
                return typed.Constant(member, expected, span=node.span)
        canonical = names.field_name(node.text)
        if canonical is not None:
            return typed.FieldValue(canonical, names.types[canonical], span=node.span)
        if node.text in names.defines:
            return self._define(node, expected)
        if expected is not None and expected.kind == "string":
            help = f'a string stands in quotes: "{node.text}"'
            names.report.add("LZ201", f"unknown field `{node.text}`", node.span, help=help)
            return None
        if expected is not None and expected is not self._any_member:
            known = [*expected.members, *names.fields, *names.defines]
            if len(expected.members) <= 8:
                names.report.unknown("LZ202", "member", node.text, expected.members, node.span, f" of {expected}")
            else:
                names.report.unknown("LZ202", "member", node.text, known, node.span, " of the enum beside it")
            return None
        known = [*names.fields, *names.defines, *names.field_aliases]
        self.report.unknown("LZ201", "field", node.text, known, node.span)
        return None

    def _define(self, node: nodes.Name, expected: Type | None) -> Expression | None:
        define, key = self.names.defines[node.text], (node.text, expected)
        if node.text in self._open:
            chain = " -> ".join([*self._open[self._open.index(node.text) :], node.text])
            self.report.add("LZ213", f"define `{node.text}` refers to itself: {chain}", define.name.span)
            return None
        if key not in self._expanded:
            self._open.append(node.text)
            found = self.expression(define.value, expected)
            self._open.pop()
            if found is not None and not self._fits(found, define.name.span):
                found = None
            self._expanded[key] = found
        return self._expanded[key]

    def _fits(self, found: Expression, span: Span) -> bool:
        """Whether an expression, defines expanded, stays within the limits."""
        size, depth, _ = self._measure(found)
        if size > MAX_EXPANDED or depth > MAX_DEPTH:
            what = (
                f"{size} terms, {MAX_EXPANDED} is the limit"
                if size > MAX_EXPANDED
                else f"nesting of {depth}, {MAX_DEPTH} is the limit"
            )
            self.report.add("LZ003", "the expression is too large once its defines are expanded", span, what)
            return False
        return True

    def _measure(self, found: Expression) -> tuple[int, int, Expression]:
        known = self._sizes.get(id(found))
        if known is None:
            parts = [self._measure(child) for child in typed.children(found)]
            known = (1 + sum(part[0] for part in parts), 1 + max((part[1] for part in parts), default=0), found)
            self._sizes[id(found)] = known  # holds the expression, so its id stays its own
        return known

    def _attribute(self, node: nodes.KernelAttribute) -> Expression | None:
        known = self.names.attribute_types.get(node.name)
        if known is None:
            self.report.unknown("LZ206", "attribute", node.name, self.names.attribute_types, node.span)
            return None
        return typed.AttributeValue(node.name, known, span=node.span)

    def _has(self, node: nodes.Has) -> Expression | None:
        canonical = self.names.field_name(node.field_name.text)
        if canonical is None:
            self.report.unknown("LZ201", "field", node.field_name.text, self.names.fields, node.field_name.span)
            return None
        return typed.HasField(canonical, span=node.span)

    def _number(self, node: nodes.Expression) -> Expression | None:
        found = self.expression(node)
        if found is not None and type_of(found).kind not in ("int", "float"):
            self.report.add("LZ301", "arithmetic wants numbers", node.span, f"this is {_a(type_of(found))}")
            return None
        return found

    def _conditional(self, node: nodes.Conditional, expected: Type | None) -> Expression | None:
        then, otherwise = self.expression(node.then, expected), self.expression(node.otherwise, expected)
        condition = self.condition(node.condition)
        if then is None or otherwise is None or condition is None:
            return None
        left, right = type_of(then), type_of(otherwise)
        if left.kind == right.kind:
            kind = _merged(left, right)
        elif {left.kind, right.kind} == {"int", "float"}:
            kind = FLOAT
        else:
            label = Label(node.then.span, f"this is {_a(left)}")
            self.report.add(
                "LZ301",
                "both sides of `if` and `else` want one type",
                node.otherwise.span,
                f"this is {_a(right)}",
                also=(label,),
            )
            return None
        return typed.Conditional(then, condition, otherwise, kind, span=node.span)

    # ------------------------------------------------------------ comparisons

    def _comparison(self, node: nodes.Comparison) -> Expression | None:
        plain = [self._plain_type(operand) for operand in node.operands]
        operands: list[Expression] = []
        for index, operand in enumerate(node.operands):
            beside = [plain[at] for at in (index - 1, index + 1) if 0 <= at < len(plain)]
            expected = next((kind for kind in beside if kind is not None and kind.kind in ("enum", "string")), None)
            found = self.expression(operand, expected)
            if found is not None:
                operands.append(found)
        if len(operands) < len(node.operands):
            return None
        if any(type_of(operand).kind == "version" for operand in operands):
            versions = [self._as_version(operand) for operand in operands]
            operands = [operand for operand in versions if operand is not None]
            if len(operands) < len(node.operands):
                return None
        for left, operator, right in zip(operands, node.operators, operands[1:], strict=False):
            if not self._comparable(left, operator, right, node):
                return None
        return typed.Comparison(tuple(operands), node.operators, span=node.span)

    def _comparable(self, left: Expression, operator: str, right: Expression, node: nodes.Comparison) -> bool:
        one, other = type_of(left), type_of(right)
        if not _alike(one, other):
            self._unlike(left, right)
            return False
        if operator in _ORDERED and one.kind in ("bool", "string", "enum"):
            help = "use `in {...}` or `==`" if one.kind == "enum" else ""
            self.report.add("LZ301", f"{_plural(one)} have no order", node.span, f"`{operator}` on {_a(one)}", help)
            return False
        if operator in ("==", "!="):
            for value, field_side in ((right, left), (left, right)):
                constant = constant_of(value)
                if not self._in_range_of(field_side, constant, value.span):
                    return False
        return True

    def _in_range_of(self, side: Expression, constant: typed.Value | None, span: Span) -> bool:
        """Whether a field can have this constant at all; reported where not."""
        if constant is None or not isinstance(side, typed.FieldValue):
            return True
        return check_constant(self.report, constant, side.type, f"`{side.name}`", span)

    def _unlike(self, left: Expression, right: Expression) -> None:
        one, other = type_of(left), type_of(right)
        help, where = "", right.span
        if one.kind == "enum" and isinstance(right, typed.Constant) and right.value in one.members:
            help = f"write `{right.value}` without quotes"
        elif one.kind == "enum":
            help = f"its members are {', '.join(one.members[:8])}" + (", ..." if len(one.members) > 8 else "")
        elif one.kind == "bool":
            help = "a bool stands alone: `causal`, `not causal`"
        subject = f"`{left.span.text}`"
        message = f"{subject} is {_a(one)}, compared with {_a(other)}"
        labels = []
        if isinstance(left, typed.FieldValue):
            labels.append(Label(self.names.fields[left.name].name.span, "the field is declared here"))
        self.report.add("LZ301", message, where, f"this is {_a(other)}", help, tuple(labels))

    def _membership(self, node: nodes.Membership) -> Expression | None:
        # `a in {x}` compares a with each item, so either side may be the enum that lends its members to the other.
        kind = self._plain_type(node.operand)
        among = [self._plain_type(item) for item in node.items if not isinstance(item, nodes.Range)]
        lent = next((other for other in among if other is not None and other.kind == "enum"), None)
        operand = self.expression(node.operand, lent if kind is None or kind.kind != "enum" else None)
        if operand is None:
            return None
        own = type_of(operand)
        items: list[Expression | typed.Interval] = []
        sound = True
        for item in node.items:
            found = self._interval(item, operand) if isinstance(item, nodes.Range) else self._item(item, operand, own)
            if found is None:
                sound = False
            else:
                items.append(found)
        return typed.Membership(operand, tuple(items), node.negated, span=node.span) if sound else None

    def _item(self, node: nodes.Expression, operand: Expression, own: Type) -> Expression | None:
        found = self.expression(node, own if own.kind in ("enum", "string") else None)
        if found is not None and own.kind == "version":
            found = self._as_version(found)
        if found is None:
            return None
        if not _alike(own, type_of(found)):
            self._unlike(operand, found)
            return None
        return found if self._in_range_of(operand, constant_of(found), node.span) else None

    def _interval(self, node: nodes.Range, operand: Expression) -> typed.Interval | None:
        own = type_of(operand)
        if own.kind not in ("int", "float"):
            self.report.add("LZ301", f"{_plural(own)} have no ranges", node.span, f"`{operand.span.text}` is {_a(own)}")
            return None
        low = None if node.low is None else self._number(node.low)
        high = None if node.high is None else self._number(node.high)
        if (low is None) != (node.low is None) or (high is None) != (node.high is None):
            return None
        interval = typed.Interval(low, high, node.high_open, span=node.span)
        return interval if check_interval(self.report, interval, operand) else None

    def _as_version(self, found: Expression) -> Expression | None:
        """A string constant next to a version becomes one."""
        if not (isinstance(found, typed.Constant) and isinstance(found.value, str) and found.type.kind == "string"):
            return found
        try:
            return typed.Constant(Version(found.value), VERSION, span=found.span)
        except InvalidVersion:
            self.report.add(
                "LZ306", f'"{found.value}" is not a version (PEP 440)', found.span, help='for example "2.7.1"'
            )
            return None

    def _plain_type(self, node: nodes.Expression, depth: int = 0) -> Type | None:
        """The type of an operand before its neighbours are looked at; None where it is not known yet."""
        if depth > MAX_DEPTH:
            return None
        match node:
            case nodes.Parenthesized():
                return self._plain_type(node.inner, depth + 1)
            case nodes.Name():
                canonical = self.names.field_name(node.text)
                if canonical is not None:
                    return self.names.types[canonical]
                define = self.names.defines.get(node.text)
                return None if define is None else self._plain_type(define.value, depth + 1)
            case nodes.KernelAttribute():
                return self.names.attribute_types.get(node.name)
            case nodes.Conditional():
                return self._plain_type(node.then, depth + 1) or self._plain_type(node.otherwise, depth + 1)
            case _:
                return None


def _alike(one: Type, other: Type) -> bool:
    numbers = ("int", "float")
    return one.kind == other.kind or (one.kind in numbers and other.kind in numbers)


def _numeric(*parts: Expression) -> Type:
    return FLOAT if any(type_of(part).kind == "float" for part in parts) else INT


def _merged(one: Type, other: Type) -> Type:
    """The type of a choice between two values of one kind."""
    if one.kind == "enum":
        return Type("enum", tuple(dict.fromkeys((*one.members, *other.members))))
    return Type(one.kind)


def _a(kind: Type) -> str:
    name = "an enum" if kind.kind == "enum" else f"a {kind.kind}"
    return "an int" if kind.kind == "int" else name


def _plural(kind: Type) -> str:
    return {"enum": "enums", "bool": "bools", "string": "strings", "version": "versions"}.get(
        kind.kind, f"{kind.kind}s"
    )

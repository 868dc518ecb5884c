"""Rules of the grammar -> nodes. One short function per rule; what a rule cannot say is checked here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from layerzero.syntax import nodes as n
from layerzero.syntax.automaton import BLANKS, Several, Token, TooLargeError
from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.glob import GlobError, check_glob
from layerzero.syntax.limits import INT_MAX, MAX_NESTING, MAX_NODES, MAX_PATTERN_CHARACTERS
from layerzero.syntax.source import Source, Span

_SUFFIXES = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


@dataclass(frozen=True, slots=True)
class _Clause:
    """`until 2027-03-01` before it finds its place in a rule."""

    kind: str
    value: Any
    span: Span


@dataclass
class Builder:
    """Makes the nodes of one source; `statements` and `diagnostics` grow as they are read."""

    source: Source
    statements: list[n.Statement] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    count: int = 0
    damaged: bool = False  # a line of the block being read has been left out, so what is missing may have been there
    _after: int = 0  # the end of the last statement
    _depths: dict[int, int] = field(default_factory=dict)
    _beyond: dict[int, Span] = field(default_factory=dict)  # 2**63, an int only behind a minus sign

    def make(self, rule: str, parts: list[Any], start: int, end: int) -> Any:
        """The value of one rule."""
        self.count += 1
        if self.count > MAX_NODES:
            raise TooLargeError(start, f"the file has more than {MAX_NODES} nodes")
        span = Span(self.source, start, end)
        made = _MAKERS[rule](self, parts, span)
        if isinstance(made, _DEEP):
            self._measure(made, parts)
        return made

    def error(self, code: str, message: str, span: Span, help: str = "", *labels: Label, label: str = "") -> None:
        self.diagnostics.append(Diagnostic(code, message, span, label=label, help=help, labels=labels))

    def statement(self, parts: list[Any], span: Span) -> Several:
        self.statements.extend(parts)
        self._after = span.end
        self.damaged = False
        self._depths.clear()
        for span in self._beyond.values():
            self._too_big(span)
        self._beyond.clear()
        return Several()

    def resume_at(self, position: int) -> int:
        """Where the first word stands after the statements that are complete."""
        self._depths.clear()
        after = max(position, self._after)
        found = BLANKS.match(self.source.text, after)
        return found.end() if found else after

    def _measure(self, made: Any, parts: list[Any]) -> None:
        """Expressions inside each other, counted as they are made: `not not x`, `a + b + c`, brackets."""
        depth = 1 + max((self._depths.get(id(part), 0) for part in parts), default=0)
        if depth > MAX_NESTING:
            raise TooLargeError(made.span.start, f"an expression nests deeper than {MAX_NESTING}")
        self._depths[id(made)] = depth

    # ------------------------------------------------------------------------------------------------ literals

    def number(self, token: Token, span: Span) -> n.Literal:
        spelled = str(token).replace("_", "")
        if token.kind == "INT":
            factor = _SUFFIXES.get(spelled[-2:], 1)
            digits = spelled if factor == 1 else spelled[:-2]
            value = int(digits) * factor if len(digits) <= 20 else INT_MAX + 2
            if value == INT_MAX + 1:
                made = n.Literal(value, str(token), span=span)
                self._beyond[id(made)] = span
                return made
            if value > INT_MAX:
                self._too_big(span)
                value = INT_MAX
            return n.Literal(value, str(token), span=span)
        number = float(spelled)
        if math.isinf(number):
            self.error("LZ101", f"`{_short(token)}` is beyond the range of a double", span, "at most about 1.8e308")
            number = 0.0
        return n.Literal(number, str(token), span=span)

    def negated(self, literal: n.Literal, span: Span) -> n.Literal:
        """`-5` where only a number can stand: one literal."""
        self._beyond.pop(id(literal), None)
        assert isinstance(literal.value, int | float)
        return n.Literal(-literal.value, f"-{literal.spelling}", span=span)

    def negate(self, operand: Any, span: Span) -> n.Negate:
        self._beyond.pop(id(operand), None)
        return n.Negate(operand, span=span)

    def _too_big(self, span: Span) -> None:
        self.error("LZ101", f"`{_short(span.text)}` does not fit in 64 bits", span, f"the largest int is {INT_MAX}")

    def text(self, token: Token, span: Span) -> n.Text:
        try:
            value = json.loads(str(token))
            value.encode("utf-8")
        except UnicodeEncodeError:
            self.error(
                "LZ101", "half of a surrogate pair is not a character", span, "write both halves: `\\ud83d\\ude00`"
            )
            value = ""
        except ValueError:
            self.error(
                "LZ101",
                "the string holds an escape or a control character that JSON does not allow",
                span,
                'escapes are `\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX`',
            )
            value = ""
        return n.Text(value, span=span)

    def pattern_text(self, text: n.Text) -> n.Text:
        """A glob: short enough to compile at once, every `[` closed, its ranges forwards."""
        try:
            check_glob(text.value)
        except GlobError as error:
            self.error("LZ101", str(error), text.span, "write `\\\\[` for a `[` that stands for itself")
            return text
        if len(text.value) > MAX_PATTERN_CHARACTERS:
            message = f"a pattern is longer than {MAX_PATTERN_CHARACTERS} characters"
            self.error("LZ003", message, text.span, "compare with shorter ones, joined by `or`")
        return text

    def percentage(self, token: Token, span: Span) -> n.Percentage:
        spelling = str(token).replace(" ", "")
        whole, _, decimals = spelling[:-1].partition(".")
        whole = whole if len(whole) <= 12 else "9" * 12
        return n.Percentage(int(whole) * 100 + int(f"{decimals}00"[:2]), len(decimals) <= 2, spelling, span=span)

    def day(self, token: Token, span: Span) -> n.Day:
        try:
            return n.Day(date.fromisoformat(str(token)), span=span)
        except ValueError:
            self.error("LZ101", f"`{token}` is not a day of the calendar", span, "dates are YYYY-MM-DD")
            return n.Day(date.max, span=span)

    # ------------------------------------------------------------------------------------------------- clauses

    def clauses(self, parts: list[Any], span: Span) -> dict[str, Any]:
        found: dict[str, _Clause] = {}
        for part in parts:
            if isinstance(part, _Clause):
                first = found.setdefault(part.kind, part)
                if first is not part:
                    self.error(
                        "LZ102",
                        f"`{part.kind}` stands twice",
                        part.span,
                        "keep one of them",
                        Label(first.span, "the first one"),
                        label="the second one",
                    )
        return {kind: clause.value for kind, clause in found.items()}

    def rule(self, parts: list[Any], span: Span) -> n.Rule:
        kind = str(parts[0])
        clauses = self.clauses(parts, span)
        where = [part.span for part in parts if isinstance(part, _Clause) and part.kind != "for"]
        factor = next((part for part in parts if isinstance(part, n.Literal)), None)
        head = Span(self.source, span.end, span.end)
        return n.Rule(
            kind,  # type: ignore[arg-type]
            tuple(part for part in parts if isinstance(part, n.Target)),
            clauses.get("for", ()),
            n.Clauses(
                when=clauses.get("when"),
                priority=clauses.get("priority"),
                name=clauses.get("as"),
                because=clauses.get("because"),
                owner=clauses.get("owner"),
                until=clauses.get("until"),
                otherwise=clauses.get("else"),
                span=where[0].to(where[-1]) if where else head,
            ),
            factor,
            span=span,
        )

    # ---------------------------------------------------------------------------------------- larger statements

    def policy(self, parts: list[Any], span: Span) -> n.Policy:
        found = self.clauses(parts[1:], span)
        return n.Policy(
            parts[0], found.get("version"), strict="strict" in found, standalone="standalone" in found, span=span
        )

    def experiment(self, parts: list[Any], span: Span) -> n.Experiment:
        found = self.clauses(parts, span)
        arms = tuple(part for part in parts if isinstance(part, n.Arm))
        guards = tuple(part for part in parts if isinstance(part, n.Guard))
        return n.Experiment(parts[0], parts[1], found.get("share"), found.get("salt"), arms, guards, span=span)

    def extend(self, parts: list[Any], span: Span) -> n.Extend:
        for item in parts[1:]:
            if not isinstance(item, n.Optional | n.Feature | n.View):
                self.error(
                    "LZ212",
                    "`extend` adds `optional`, `feature` and `view` lines only",
                    item.span,
                    "the rest stands where the operation is declared",
                )
        return n.Extend(parts[0], tuple(parts[1:]), span=span)

    def given(self, parts: list[Any], span: Span) -> n.Given:
        items: list[Any] = []
        for part in parts:
            if not isinstance(part, _Clause):
                items.append(part)
            elif items and isinstance(items[-1], n.GivenPackage):  # `package a >=1, <2`: the comma came before the `<2`
                package = items[-1].package
                joined = package.span.to(part.span)
                more = n.PackageAlternative(package.name, (*package.specifiers, part.value), span=joined)
                items[-1] = n.GivenPackage(more, span=items[-1].span.to(part.span))
            else:
                self.error(
                    "LZ100", "a version stands without its package", part.span, "write `package acme-kernels ==1.5.1`"
                )
        return n.Given(tuple(items), span=span)

    def test(self, parts: list[Any], span: Span) -> n.Test | Several:
        subjects = [part for part in parts if isinstance(part, n.Given | n.Whenever)]
        expectations = tuple(part for part in parts if isinstance(part, n.Expect))
        name = parts[0].span
        if not subjects and not self.damaged:
            self.error("LZ100", "a test needs a `given` or a `whenever`", name, "for example `given attention, h100`")
        if not expectations and not self.damaged:
            self.error("LZ100", "a test needs an `expect`", name, "for example `expect not acme.*`")
        for extra in subjects[1:]:
            self.error(
                "LZ102",
                "a test has one `given` or `whenever`",
                extra.span,
                "write a second test",
                Label(subjects[0].span, "the first one"),
            )
        if not subjects:
            return Several()
        return n.Test(parts[0], subjects[0], expectations, span=span)

    def expect(self, parts: list[Any], span: Span) -> n.Expect:
        words = [str(part) for part in parts if isinstance(part, Token)]
        outcome = next((word for word in words if word in ("degraded", "error")), None)
        target = next((part for part in parts if isinstance(part, n.Target)), None)
        rule = next((part for part in parts if isinstance(part, n.Identifier)), None)
        return n.Expect("not" in words, target, outcome, rule, span=span)  # type: ignore[arg-type]

    def range(self, parts: list[Any], span: Span) -> n.Range:
        at = next(i for i, part in enumerate(parts) if isinstance(part, Token))
        low = self._bound(parts[at - 1]) if at else None
        high = self._bound(parts[at + 1]) if at + 1 < len(parts) else None
        return n.Range(low, high, str(parts[at]) == "..<", span=span)

    def _bound(self, bound: Any) -> Any:
        """A bound is a name or a number; `-5` is one number, however it was read."""
        if isinstance(bound, n.Negate) and isinstance(bound.operand, n.Literal) and _is_number(bound.operand):
            return self.negated(bound.operand, bound.span)
        if not isinstance(bound, n.Name) and not (isinstance(bound, n.Literal) and _is_number(bound)):
            self.error(
                "LZ100",
                "a range goes from a number or name to a number or name",
                bound.span,
                "give the value a name with `define`",
            )
        return bound

    def membership(self, parts: list[Any], span: Span) -> n.Membership:
        items = parts[-1]
        assert isinstance(items, _Clause)
        return n.Membership(parts[0], items.value, len(parts) == 4, items.kind == "braces", span=span)


def _is_number(literal: n.Literal) -> bool:
    return type(literal.value) in (int, float)


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:20]}…{text[-5:]}"


def _unquoted(token: str) -> str:
    return token.replace("`", "")


def _make_literal(b: Builder, c: list[Any], s: Span) -> n.Literal:
    token = c[0]
    match token.kind:
        case "INT" | "FLOAT":
            return b.number(token, s)
        case "STRING":
            return n.Literal(b.text(token, s).value, str(token), span=s)
        case _:
            return n.Literal({"true": True, "false": False, "null": None}[str(token)], str(token), span=s)


def _clause(kind: str) -> Callable[[Builder, list[Any], Span], Any]:
    def make(b: Builder, c: list[Any], s: Span) -> _Clause:
        return _Clause(kind, c[-1] if c else True, s)

    return make


def _part(parts: list[Any], kind: str) -> Any:
    """The value of the part `kind`, or None."""
    return next((part.value for part in parts if isinstance(part, _Clause) and part.kind == kind), None)


def _declared(b: Builder, c: list[Any], s: Span) -> dict[str, Any]:
    found = b.clauses(c, s)
    return {"default": found.get("default"), "doc": found.get("doc"), "span": s}


def _require(b: Builder, c: list[Any], s: Span) -> n.Require:
    found = b.clauses(c, s)
    return n.Require(c[0], found.get("when"), found.get("because"), span=s)


def _field(b: Builder, c: list[Any], s: Span) -> n.Field:
    range_ = next((part for part in c if isinstance(part, n.Range)), None)
    return n.Field(c[0], c[1], range_, **_declared(b, c, s))


def _guard(b: Builder, c: list[Any], s: Span) -> n.Guard:
    return n.Guard(c[1], str(c[2]), c[3], len(c) > 4, span=s)  # type: ignore[arg-type]


def _comparison(b: Builder, c: list[Any], s: Span) -> n.Comparison:
    return n.Comparison(tuple(c[0::2]), tuple(str(part) for part in c[1::2]), span=s)  # type: ignore[misc]


def _arithmetic(b: Builder, c: list[Any], s: Span) -> n.Arithmetic:
    return n.Arithmetic(str(c[1]), c[0], c[2], span=s)  # type: ignore[arg-type]


def _like(b: Builder, c: list[Any], s: Span) -> n.Like:
    return n.Like(c[0], b.pattern_text(c[-1]), len(c) == 4, span=s)


def _identifier(b: Builder, c: list[Any], s: Span) -> n.Identifier:
    return n.Identifier(_unquoted(c[0]), span=s)


def _specifier(b: Builder, c: list[Any], s: Span) -> n.Identifier:
    return n.Identifier(str(c[0]).replace(" ", ""), span=s)


def _given_package(b: Builder, c: list[Any], s: Span) -> n.GivenPackage:
    return n.GivenPackage(n.PackageAlternative(c[0], tuple(c[1:]), span=c[0].span.to(c[-1].span)), span=s)


def _arm_assignment(b: Builder, c: list[Any], s: Span) -> n.Assignment:
    name = n.Identifier("arm", span=Span(s.source, s.start, s.start + len("arm")))
    return n.Assignment(name, c[0], span=s)


_DEEP = (
    n.Extremum, n.Negate, n.Arithmetic, n.Conditional, n.Comparison, n.Membership, n.Like, n.Not, n.And, n.Or,
    n.Parenthesized,
)  # fmt: skip

_MAKERS: dict[str, Callable[[Builder, list[Any], Span], Any]] = {
    "_statement": lambda b, c, s: b.statement(c, s),
    "file": lambda b, c, s: Several(),
    # files and facts
    "policy": lambda b, c, s: b.policy(c, s),
    "version": _clause("version"),
    "strict": _clause("strict"),
    "standalone": _clause("standalone"),
    "import": lambda b, c, s: n.Import(c[0], span=s),
    "field": _field,
    "attribute": lambda b, c, s: n.Attribute(c[0], c[1], **_declared(b, c, s)),
    "type_name": lambda b, c, s: n.TypeName(str(c[0]), tuple(x for x in c if isinstance(x, n.Identifier)), span=s),  # type: ignore[arg-type]
    "default": _clause("default"),
    "doc": _clause("doc"),
    "operation": lambda b, c, s: n.Operation(c[0], tuple(c[1:]), span=s),
    "extend": lambda b, c, s: b.extend(c, s),
    "needs": lambda b, c, s: n.Needs(tuple(c), span=s),
    "optional": lambda b, c, s: n.Optional(tuple(c), span=s),
    "view": lambda b, c, s: n.View(c[0], c[1], span=s),
    "feature": lambda b, c, s: n.Feature(c[0], c[1], span=s),
    "fallback": lambda b, c, s: n.Fallback(tuple(c), span=s),
    "backend": lambda b, c, s: n.Backend(c[0], tuple(c[1:]), span=s),
    "kernel": lambda b, c, s: n.Kernel(c[0], c[1].value, tuple(c[2:]), span=s),
    "package": lambda b, c, s: n.Package(tuple(c), span=s),
    "package_alternative": lambda b, c, s: n.PackageAlternative(c[0], tuple(c[1:]), span=s),
    "require": _require,
    "supports": lambda b, c, s: n.Supports(
        tuple(x for x in c if isinstance(x, n.Identifier)), _part(c, "when"), span=s
    ),
    "set": lambda b, c, s: n.Set(tuple(c), span=s),
    "source_note": lambda b, c, s: n.SourceNote(c[0], span=s),
    "priority": lambda b, c, s: n.Priority(c[0], span=s),
    "adapter": lambda b, c, s: n.Adapter(c[0], span=s),
    "alias": lambda b, c, s: n.Alias(c[0], c[1], span=s),
    "context": lambda b, c, s: n.Context(c[0], tuple(c[1:]), span=s),
    "device": lambda b, c, s: n.Device(c[0], tuple(c[1:]), span=s),
    "assignment": lambda b, c, s: n.Assignment(c[0], c[1], span=s),
    # rules
    "define": lambda b, c, s: n.Define(c[0], c[1], span=s),
    "rule": lambda b, c, s: b.rule(c, s),
    "operations": lambda b, c, s: _Clause("for", tuple(c), s),
    "when": _clause("when"),
    "rank": _clause("priority"),
    "as": _clause("as"),
    "because": _clause("because"),
    "owner": _clause("owner"),
    "until": _clause("until"),
    "else": lambda b, c, s: _Clause("else", str(c[1]), s),
    "target": lambda b, c, s: c[0] if isinstance(c[0], n.Target) else n.Target((c[0],), span=s),
    "braced_target": lambda b, c, s: n.Target(tuple(c), braces=True, span=s),
    "experiment": lambda b, c, s: b.experiment(c, s),
    "share": _clause("share"),
    "salt": _clause("salt"),
    "arm": lambda b, c, s: n.Arm(c[0], c[1], tuple(c[2:]), span=s),
    "guard": _guard,
    "test": lambda b, c, s: b.test(c, s),
    "given": lambda b, c, s: b.given(c, s),
    "given_name": lambda b, c, s: n.GivenName(c[0], span=s),
    "given_arm": lambda b, c, s: n.GivenArm(c[0], span=s),
    "given_package": _given_package,
    "more_specifiers": _clause("specifier"),
    "arm_assignment": _arm_assignment,
    "whenever": lambda b, c, s: n.Whenever(c[0], _part(c, "when"), span=s),
    "expect": lambda b, c, s: b.expect(c, s),
    # expressions
    "conditional": lambda b, c, s: n.Conditional(c[0], c[1], c[2], span=s),
    "or": lambda b, c, s: n.Or(tuple(c), span=s),
    "and": lambda b, c, s: n.And(tuple(c), span=s),
    "not": lambda b, c, s: n.Not(c[0], span=s),
    "comparison": _comparison,
    "membership": lambda b, c, s: b.membership(c, s),
    "like": _like,
    "bare_range": lambda b, c, s: _Clause("range", (c[0],), s),
    "braced_set": lambda b, c, s: _Clause("braces", tuple(c), s),
    "range": lambda b, c, s: b.range(c, s),
    "set_range": lambda b, c, s: b.range(c, s),
    "plus": _arithmetic,
    "times": _arithmetic,
    "negate": lambda b, c, s: b.negate(c[0], s),
    "literal": _make_literal,
    "name": lambda b, c, s: n.Name(_unquoted(c[0]), span=s),
    "parenthesized": lambda b, c, s: n.Parenthesized(c[0], span=s),
    "has": lambda b, c, s: n.Has(c[0], span=s),
    "extremum": lambda b, c, s: n.Extremum(str(c[0]), tuple(x for x in c if isinstance(x, n.Node)), span=s),  # type: ignore[arg-type, misc]
    "kernel_attribute": lambda b, c, s: n.KernelAttribute(c[0].text, span=s),
    "package_version": lambda b, c, s: n.PackageVersion(c[0].value, span=s),
    # words
    "negative": lambda b, c, s: b.negated(b.number(c[0], s), s),
    "number": lambda b, c, s: b.number(c[0], s),
    "identifier": _identifier,
    "dotted": _identifier,
    "pattern": lambda b, c, s: n.Pattern(_unquoted(c[0]), span=s),
    "package_name": _specifier,
    "specifier": _specifier,
    "percentage": lambda b, c, s: b.percentage(c[0], s),
    "day": lambda b, c, s: b.day(c[0], s),
    "text": lambda b, c, s: b.text(c[0], s),
}

"""File -> the one canonical text of it. Every comment stays, and what comes out means what went in.

Statements and the lines of a block stand one to a line, indented by two; a line longer than 100 columns is broken at
its clauses, then before `and` and after commas. Blank lines between statements are the author's, at most one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, assert_never

from layerzero.errors import LayerZeroError
from layerzero.syntax import nodes as n, spelling as s
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.parser import parse
from layerzero.syntax.source import Source
from layerzero.syntax.spelling import BREAK

WIDTH = 100
_STEP = 2


def format_file(file: n.File) -> str:
    """The canonical text, proved to be read back as the same tree with the same comments.

    Raises:
        LayerZeroError: the tree cannot be written (a name that no text can spell); nothing is lost silently.
    """
    layout = _Layout(deque(file.comments))
    lines = layout.sequence(list(file.statements), 0, None)
    text = "".join(f"{line}\n" for line in lines)
    _prove(file, text)
    return text


def format_source(source: Source) -> str | list[Diagnostic]:
    """The canonical text of a source, or its errors: a broken text is left as it is."""
    file, found = parse(source)
    if file is None or found:
        return found
    return format_file(file)


def format_statement(statement: n.Statement) -> str:
    """One statement without comments, for messages and generated policies."""
    return "\n".join(_Layout(deque()).element(statement, 0))


def format_expression(expression: n.Expression) -> str:
    """One expression on one line."""
    return s.expression(expression).replace(BREAK, " ")


def without_grouping(node: Any) -> Any:
    """The tree without the brackets that an author or the formatter put around expressions."""
    if isinstance(node, n.Parenthesized):
        return without_grouping(node.inner)
    if isinstance(node, tuple):
        return tuple(without_grouping(item) for item in node)
    if is_dataclass(node) and not isinstance(node, type) and isinstance(node, n.Node):
        changed = {f.name: without_grouping(getattr(node, f.name)) for f in fields(node) if f.name != "span"}
        return replace(node, **changed)
    return node


def _prove(file: n.File, text: str) -> None:
    again, found = parse(Source(file.span.source.name, text))
    if again is None or found:
        raise LayerZeroError(f"the formatter wrote a text that cannot be read: {found[0].message} at {found[0].span}")
    same = again == file or without_grouping(again.statements) == without_grouping(file.statements)
    kept = sorted(c.text for c in again.comments) == sorted(c.text for c in file.comments)
    if not same or not kept:
        raise LayerZeroError("the formatter changed the meaning or the comments of the file; please report this file")


@dataclass
class _Layout:
    """Lays out elements in the order of the text, giving each the comments around it."""

    comments: deque[n.Comment]  # those not yet placed

    def sequence(self, elements: list[Any], indent: int, end: int | None, separator: str = "") -> list[str]:
        """Siblings and the comments between them; `end` is where their block ends, None for the end of the file."""
        lines: list[str] = []
        last: n.Node | None = None
        for position, element in enumerate(elements):
            for comment in self._take_before(element.span.start):
                last = self._comment(lines, comment, last, indent)
            if not _is_block(element):
                for comment in self._take_before(element.span.end):
                    last = self._comment(lines, replace(comment, trailing=False), last, indent)
            if lines and _apart(last, element):
                lines.append("")
            text = self.element(element, indent)
            text[-1] += separator if position < len(elements) - 1 else ""
            lines.extend(text)
            last = element
        for comment in self._take_before(end):
            last = self._comment(lines, comment, last, indent)
        return lines

    def _comment(self, lines: list[str], comment: n.Comment, last: n.Node | None, indent: int) -> n.Node:
        """Append one comment: behind the element that ends on its line, or on a line of its own."""
        beside = (
            comment.trailing
            and last is not None
            and not isinstance(last, n.Comment)
            and _line(last, last.span.end - 1) == comment.span.line
        )
        if beside:
            lines[-1] += f"  {comment.text}"
        else:
            if lines and _apart(last, comment):
                lines.append("")
            lines.append(f"{' ' * indent}{comment.text}")
        return comment

    def _take_before(self, end: int | None) -> list[n.Comment]:
        taken = []
        while self.comments and (end is None or self.comments[0].span.start < end):
            taken.append(self.comments.popleft())
        return taken

    def element(self, node: Any, indent: int) -> list[str]:
        """One statement or one line of a block."""
        match node:
            case n.Kernel():
                head = f"kernel {s.name(node.name.text)} for {s.names(node.operations)}"
                return self._block(head, node, node.operations[-1].span.end, list(node.items), indent)
            case n.Backend() | n.Operation() | n.Extend():
                head = f"{type(node).__name__.lower()} {s.name(node.name.text)}"
                return self._block(head, node, node.name.span.end, list(node.items), indent)
            case n.Context() | n.Device():
                return self._assignments(node, indent)
            case n.Experiment():
                parts = [f"experiment {s.name(node.name.text)} on {s.name(node.key.text)}"]
                parts += [f"share {percentage(node.share)}"] if node.share else []
                parts += [f"salt {s.string(node.salt.value)}"] if node.salt else []
                items = sorted([*node.arms, *node.guards], key=lambda item: item.span.start)
                after = max(part.span.end for part in (node.key, node.share, node.salt) if part)
                return self._block(BREAK.join(parts), node, after, items, indent)
            case n.Arm(rules=rules) if rules:
                return self._arm(node, indent)
            case n.Test():
                items = sorted([node.subject, *node.expectations], key=lambda item: item.span.start)
                return self._block(f"test {s.string(node.name.value)}", node, node.name.span.end, items, indent)
            case n.Rule():
                return _rule(node, indent)
            case _:
                return fill(line_of(node), indent)

    def _block(
        self, head: str, node: n.Node, after: int, items: list[Any], indent: int, separator: str = ""
    ) -> list[str]:
        """`head { ... }`; a comment directly behind the `{` stays there, one inside the head goes before it."""
        before = self._lines_before(after, indent)
        opening = fill(f"{head} {{", indent)
        first = min((item.span.start for item in items), default=node.span.end)
        beside = self.comments[0] if self.comments else None
        if beside and beside.trailing and beside.span.start < first and beside.span.line == _line(node, after - 1):
            opening[-1] += f"  {self.comments.popleft().text}"
        else:
            beside = None
        body = self.sequence(items, indent + _STEP, node.span.end, separator)
        if not body and beside is None:
            return [*before, *opening[:-1], f"{opening[-1]}}}"]
        return [*before, *opening, *body, f"{' ' * indent}}}"]

    def _arm(self, node: n.Arm, indent: int) -> list[str]:
        """On one line where it has one short rule and no comment."""
        head = f"arm {s.name(node.name.text)} {percentage(node.share)}"
        before = self._lines_before(node.share.span.end, indent)
        if len(node.rules) == 1 and not self._comments_inside(node):
            line = f"{' ' * indent}{head} {{ {rule_line(node.rules[0]).replace(BREAK, ' ')} }}"
            if len(line) <= WIDTH:
                return [*before, line]
        return [*before, *self._block(head, node, node.share.span.end, list(node.rules), indent)]

    def _lines_before(self, end: int, indent: int) -> list[str]:
        """The comments inside the head of a block: they go above it."""
        return [f"{' ' * indent}{comment.text}" for comment in self._take_before(end)]

    def _assignments(self, node: n.Context | n.Device, indent: int) -> list[str]:
        """On one line if it fits, else filled lines; one to a line where comments stand between them."""
        head = f"{type(node).__name__.lower()} {s.name(node.name.text)}"
        before = self._lines_before(node.name.span.end, indent)
        if not node.assignments or self._comments_inside(node):
            return [*before, *self._block(head, node, node.name.span.end, list(node.assignments), indent, ",")]
        inner = s.assignments(node.assignments)
        line = f"{' ' * indent}{head} {{ {inner.replace(BREAK, ' ')} }}"
        if len(line) <= WIDTH:
            return [*before, line]
        return [*before, f"{' ' * indent}{head} {{", *fill(inner, indent + _STEP, 0), f"{' ' * indent}}}"]

    def _comments_inside(self, node: n.Node) -> bool:
        return bool(self.comments) and self.comments[0].span.start < node.span.end


def line_of(node: Any) -> str:
    """The text of an element that has no block, with the places where it may be broken."""
    match node:
        case n.Policy():
            parts = [f"policy {s.string(node.name.value)}"]
            if node.version is not None:
                version = node.version
                parts.append(
                    f"version {s.string(version.value) if isinstance(version, n.Text) else s.literal(version)}"
                )
            parts += [word for word in ("strict", "standalone") if getattr(node, word)]
            return BREAK.join(parts)
        case n.Import():
            return f"import {s.string(node.path.value)}"
        case n.Field() | n.Attribute():
            return _declaration(node)
        case n.Alias():
            return f"alias {s.name(node.name.text)} = {s.pattern(node.target)}"
        case n.Define():
            return f"define {s.name(node.name.text)} = {s.expression(node.value)}"
        case n.Text():
            return s.string(node.value)
        case n.Needs() | n.Optional():
            return f"{type(node).__name__.lower()} {s.names(node.fields)}"
        case n.View() | n.Feature():
            word = type(node).__name__.lower()
            return f"{word} {s.name(node.name.text)}{BREAK}when {s.expression(node.condition)}"
        case n.Fallback():
            return f"fallback {s.names(node.kernels)}"
        case n.Package():
            return f"package {f'{BREAK}| '.join(s.package(item) for item in node.alternatives)}"
        case n.Require():
            because = f"{BREAK}because {s.string(node.because.value)}" if node.because else ""
            return f"require {s.expression(node.condition)}{_when(node.when)}{because}"
        case n.Supports():
            return f"supports {s.names(node.features)}{_when(node.when)}"
        case n.Set():
            return f"set {s.assignments(node.assignments)}"
        case n.SourceNote():
            return f"source {s.string(node.text.value)}"
        case n.Priority():
            return f"priority {s.literal(node.value)}"
        case n.Adapter():
            return f"adapter {s.string(node.path.value)}"
        case n.Assignment():
            return s.assignment(node)
        case n.Arm():
            return f"arm {s.name(node.name.text)} {percentage(node.share)}"
        case n.Guard():
            limit = percentage(node.limit) if isinstance(node.limit, n.Percentage) else s.literal(node.limit)
            control = " * control" if node.relative else ""
            return f"guard {s.name(node.metric.text)} {node.operator} {limit}{control}"
        case n.Given():
            return f"given {f',{BREAK}'.join(_given(item) for item in node.items)}"
        case n.Whenever():
            return f"whenever {s.name(node.operation.text)}{_when(node.condition)}"
        case n.Expect():
            return _expect(node)
        case _:
            raise LayerZeroError(f"the formatter does not know {type(node).__name__}")


def _when(condition: n.Expression | None) -> str:
    return "" if condition is None else f"{BREAK}when {s.expression(condition)}"


def percentage(node: n.Percentage) -> str:
    return node.spelling or f"{node.buckets / 100:g}%"


def _declaration(node: n.Field | n.Attribute) -> str:
    kind = node.type.kind
    members = f"({s.names(node.type.members)})" if kind == "enum" else ""
    parts = [f"{type(node).__name__.lower()} {s.name(node.name.text)}: {kind}{members}"]
    if isinstance(node, n.Field) and node.range is not None:
        parts.append(f"in {s.range_(node.range)}")
    if node.default is not None:
        parts.append(f"= {s.expression(node.default)}")
    if node.doc is not None:
        parts.append(s.string(node.doc.value))
    return BREAK.join(parts)


def _given(item: n.GivenName | n.GivenArm | n.GivenPackage | n.Assignment) -> str:
    match item:
        case n.GivenName():
            return s.name(item.name.text, ("arm",))
        case n.GivenArm():
            return f"arm {s.name(item.name.text)}"
        case n.GivenPackage():
            return f"package {s.package(item.package)}"
        case n.Assignment():
            return s.assignment(item)
        case other:
            assert_never(other)


def _expect(node: n.Expect) -> str:
    parts = ["expect", "not"] if node.negated else ["expect"]
    if node.outcome is not None:
        parts.append(node.outcome)
    if node.target is not None:
        parts.append(s.target(node.target, ("by", "degraded", "error")))
    if node.rule is not None:
        parts.append(f"by {s.name(node.rule.text)}")
    return " ".join(parts)


def rule_line(node: n.Rule) -> str:
    """A rule in one line."""
    head, tail = _rule_parts(node)
    return BREAK.join([*head, *tail])


def _rule(node: n.Rule, indent: int) -> list[str]:
    """What and when on the first line; why, who and until when on the next, where one line does not hold both."""
    head, tail = _rule_parts(node)
    whole = BREAK.join([*head, *tail])
    if indent + len(whole) <= WIDTH or not tail:
        return fill(whole, indent)
    first = fill(BREAK.join(head), indent)
    return [*first, *fill(BREAK.join(tail), indent + _STEP, 0)]


def _rule_parts(node: n.Rule) -> tuple[list[str], list[str]]:
    clauses = node.clauses
    head = [f"{node.kind} {f'{BREAK}> '.join(s.target(item) for item in node.targets)}"]
    if node.factor is not None:
        head[0] += f" by {s.literal(node.factor)}"
    if node.operations:
        head.append(f"for {s.names(node.operations)}")
    if clauses.when is not None:
        head.append(f"when {s.expression(clauses.when)}")
    if clauses.priority is not None:
        head.append(f"priority {s.literal(clauses.priority)}")
    if clauses.name is not None:
        head.append(f"as {s.name(clauses.name.text)}")
    tail = [f"because {s.string(clauses.because.value)}"] if clauses.because else []
    tail += [f"owner {s.string(clauses.owner.value)}"] if clauses.owner else []
    tail += [f"until {clauses.until.value.isoformat()}"] if clauses.until else []
    tail += [f"else {clauses.otherwise}"] if clauses.otherwise else []
    return head, tail


def fill(text: str, indent: int, hang: int = _STEP) -> list[str]:
    """As much on each line as fits; the lines after the first are indented by `hang` more."""
    if indent + len(text) <= WIDTH:
        return [f"{' ' * indent}{text.replace(BREAK, ' ')}"]
    lines: list[str] = []
    line = " " * indent
    empty = True
    for piece in text.split(BREAK):
        if not empty and len(line) + 1 + len(piece) > WIDTH:
            lines.append(line)
            line, empty = " " * (indent + hang), True
        line += piece if empty else f" {piece}"
        empty = False
    return [*lines, line]


def _is_block(node: Any) -> bool:
    """Whether comments inside the element find their own places."""
    block = n.Kernel | n.Backend | n.Operation | n.Extend | n.Experiment | n.Test | n.Context | n.Device
    return isinstance(node, block) or (isinstance(node, n.Arm) and bool(node.rules))


def _line(node: n.Node, offset: int) -> int:
    return node.span.source.position(max(offset, 0))[0]


def _apart(before: n.Node | None, after: n.Node) -> bool:
    """Whether the author left a blank line between the two."""
    if before is None or before.span.source is not after.span.source:
        return False
    between = after.span.source.text[before.span.end : after.span.start]
    return between.count("\n") > 1 and any(not line.strip() for line in between.split("\n")[1:-1])

"""Words and expressions -> text. The text may be broken at each `BREAK`, which stands for a blank."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import assert_never

from layerzero.syntax import nodes as n
from layerzero.syntax.words import AFTER_OPEN_RANGE, RESERVED

BREAK = "\x1f"
_COMMA = f",{BREAK}"

_CONDITIONAL, _OR, _AND, _NOT, _COMPARISON, _SUM, _TERM, _UNARY, _ATOM = range(9)


def name(text: str, also: Iterable[str] = ()) -> str:
    """An id, in backquotes where the bare word would be a keyword there."""
    first, point, rest = text.partition(".")
    quoted = f"`{first}`" if first in RESERVED or (not point and first in also) else first
    return f"{quoted}{point}{rest}"


def string(value: str) -> str:
    """A string with JSON escapes; what cannot be seen is escaped too."""
    plain = json.dumps(value, ensure_ascii=False)
    if plain.isprintable():
        return plain
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in plain)


def literal(node: n.Literal) -> str:
    """A number as it was written, `8Ki` stays `8Ki`."""
    match node.value:
        case None:
            return "null"
        case bool(value):
            return "true" if value else "false"
        case str(value):
            return string(value)
        case _:
            return node.spelling.lower().replace("ki", "Ki").replace("mi", "Mi").replace("gi", "Gi") or repr(node.value)


def pattern(node: n.Pattern, also: Iterable[str] = ()) -> str:
    return node.text if "*" in node.text else name(node.text, also)


def target(node: n.Target, also: Iterable[str] = ()) -> str:
    if not node.braces and len(node.patterns) == 1:
        return pattern(node.patterns[0], also)
    return f"{{{_COMMA.join(pattern(item) for item in node.patterns)}}}"


def names(items: Iterable[n.Identifier]) -> str:
    return _COMMA.join(name(item.text) for item in items)


def assignment(node: n.Assignment) -> str:
    return f"{name(node.name.text)} = {expression(node.value)}"


def assignments(items: Iterable[n.Assignment]) -> str:
    return _COMMA.join(assignment(item) for item in items)


def package(node: n.PackageAlternative) -> str:
    return " ".join([node.name.text, _COMMA.join(item.text for item in node.specifiers)]).rstrip()


def range_(node: n.Range) -> str:
    low = "" if node.low is None else expression(node.low, _SUM)
    sign = "..<" if node.high_open else ".."
    match node.high:
        case None:
            return f"{low}{sign}"
        case n.Name(text=text):
            return f"{low}{sign}{name(text, () if node.high_open else AFTER_OPEN_RANGE)}"
        case other:
            return f"{low}{sign}{expression(other, _SUM)}"


def expression(node: n.Expression, least: int = _CONDITIONAL) -> str:
    """The text of an expression where at least the precedence `least` is wanted: else it gets brackets."""
    text = _text(node)
    return text if _level(node) >= least else f"({text})"


def _text(node: n.Expression) -> str:
    match node:
        case n.Literal():
            return literal(node)
        case n.Name(text=text):
            return name(text)
        case n.KernelAttribute(name=text):
            return f"kernel.{name(text)}"
        case n.PackageVersion(package=text):
            return f"package({string(text)})"
        case n.Has(field_name=field):
            return f"has({name(field.text)})"
        case n.Extremum(function=function, arguments=arguments):
            return f"{function}({_COMMA.join(expression(item) for item in arguments)})"
        case n.Negate(operand=operand):
            return f"-{expression(operand, _UNARY)}"
        case n.Arithmetic(operator=operator, left=left, right=right):
            own = _level(node)
            return f"{expression(left, own)} {operator} {expression(right, own + 1)}"
        case n.Conditional(then=then, condition=condition, otherwise=otherwise):
            parts = expression(then, _OR), expression(condition, _OR), expression(otherwise)
            return f"{parts[0]}{BREAK}if {parts[1]}{BREAK}else {parts[2]}"
        case n.Comparison(operands=operands, operators=operators):
            pairs = zip(operators, operands[1:], strict=True)
            tail = "".join(f" {operator} {expression(item, _SUM)}" for operator, item in pairs)
            return f"{expression(operands[0], _SUM)}{tail}"
        case n.Membership(operand=operand, items=items, negated=negated, braces=braces):
            listed = _COMMA.join(range_(i) if isinstance(i, n.Range) else expression(i, _SUM) for i in items)
            word = "not in" if negated else "in"
            return f"{expression(operand, _SUM)} {word} {f'{{{listed}}}' if braces else listed}"
        case n.Like(operand=operand, pattern=glob, negated=negated):
            return f"{expression(operand, _SUM)} {'not like' if negated else 'like'} {string(glob.value)}"
        case n.Not(operand=operand):
            return f"not {expression(operand, _NOT)}"
        case n.And(operands=operands):
            return f"{BREAK}and ".join(expression(item, _NOT) for item in operands)
        case n.Or(operands=operands):
            return f"{BREAK}or ".join(expression(item, _AND) for item in operands)
        case n.Parenthesized(inner=inner):
            return f"({expression(inner)})"
        case other:
            assert_never(other)


def _level(node: n.Expression) -> int:
    match node:
        case n.Conditional():
            return _CONDITIONAL
        case n.Or():
            return _OR
        case n.And():
            return _AND
        case n.Not():
            return _NOT
        case n.Comparison() | n.Membership() | n.Like():
            return _COMPARISON
        case n.Arithmetic(operator=operator):
            return _SUM if operator in ("+", "-") else _TERM
        case n.Negate():
            return _UNARY
        case n.Literal(value=int(value) | float(value)) if not isinstance(value, bool) and value < 0:
            return _UNARY
        case _:
            return _ATOM

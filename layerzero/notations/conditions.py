"""Conditions of YAML files -> expressions of the language, with places in the YAML: a text such as `sm >= 80`, pairs
such as `is_causal: true`, and tests of field, operator and value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any, Literal as OneOf, get_args

from layerzero.notations.places import places
from layerzero.notations.words import Words
from layerzero.notations.yaml_tree import Mapping, Scalar, Sequence, Tree
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.parser import parse
from layerzero.syntax.source import Source, Span
from layerzero.syntax.suggest import did_you_mean

Say = Callable[[Diagnostic], None]
_Comparison = OneOf["==", "!=", "<", "<=", ">", ">="]
_COMPARISONS: tuple[_Comparison, ...] = get_args(_Comparison)
_MEMBERSHIPS = ("in", "not in")
_GLOBS = ("like", "not like")
OPERATORS = (*_COMPARISONS, *_MEMBERSHIPS, *_GLOBS)
_MEANT = {"=": "==", "===": "==", "eq": "==", "equals": "==", "is": "==", "<>": "!=", "ne": "!=", "neq": "!="}
_MEANT |= {"lt": "<", "le": "<=", "lte": "<=", "=<": "<=", "gt": ">", "ge": ">=", "gte": ">=", "=>": ">="}
_MEANT |= {"not_in": "not in", "notin": "not in", "matches": "like", "glob": "like"}
_HEAD = "define condition = "


def expression(scalar: Scalar, say: Say) -> nodes.Expression | None:
    """`sm >= 80 and batch_size >= 8`: one expression of the language and nothing after it."""
    text = scalar.text
    source = Source(scalar.span.source.name, _HEAD + text)
    file, found = parse(source)
    move = _mover(scalar)
    for finding in found:
        labels = tuple(
            replace(label, span=move(label.span), text=label.text.replace("end of the file", "end of the condition"))
            for label in finding.labels
        )
        help = "a condition is one expression" if "define NAME" in finding.help else finding.help
        say(replace(finding, span=move(finding.span), labels=labels, help=help))
    if file is None or found:
        return None
    first, *more = file.statements
    if more or file.comments:
        extra = move((file.comments or more)[0].span)
        say(Diagnostic("LZ100", "the condition ends before this", extra, help="a condition is one expression"))
        return None
    assert isinstance(first, nodes.Define)
    moved: nodes.Expression = _moved(first.value, move)
    return moved


def pairs(mapping: Mapping, words: Words, say: Say) -> nodes.Expression | None:
    """`{is_causal: true, dtype: float16}`: every field has its value."""
    tests = []
    for name, item in mapping.items.items():
        if not isinstance(item, Scalar) or item.value is None:
            say(_no_value(item, mapping.keys[name].span))
        else:
            tests.append(_compare(mapping.keys[name], "==", item, words, say))
    return conjunction(tests, mapping.span)


def conjunction(tests: Iterable[nodes.Expression | None], span: Span) -> nodes.Expression | None:
    """All that could be read: the checker looks at them, also where another of them was wrong."""
    found = tuple(item for item in tests if item is not None)
    if not found:
        return None
    return found[0] if len(found) == 1 else nodes.And(found, span=span)


def test(mapping: Mapping, words: Words, say: Say) -> nodes.Expression | None:
    """`field: "batch_size"`, `operator: ">"`, `value: 32`, its shape checked before."""
    field, operator, value = mapping.items["field"], mapping.items["operator"], mapping.items["value"]
    assert isinstance(field, Scalar) and isinstance(operator, Scalar)
    word = " ".join(operator.text.split())
    if word not in OPERATORS:
        meant = _MEANT.get(word.lower())
        near = f"did you mean `{meant}`?" if meant else did_you_mean(word, OPERATORS)
        known = f"known: {', '.join(f'`{one}`' for one in OPERATORS)}"
        say(Diagnostic("LZ110", f"unknown operator `{operator.text}`", operator.inner, help=near or known))
        return None
    if word in _MEMBERSHIPS:
        return _membership(field, word, value, mapping.span, words, say)
    if isinstance(value, Sequence):
        say(Diagnostic("LZ109", f"`{word}` compares with one value", value.span, "a list", "for a list write `in`"))
        return None
    assert isinstance(value, Scalar)
    if word in _GLOBS:
        pattern = nodes.Text(value.text, span=value.span)
        if not isinstance(value.value, str):
            say(Diagnostic("LZ109", f"`{word}` wants a text with `*` and `?`", value.span))
            return None
        return nodes.Like(_field(field), pattern, word == "not like", span=mapping.span)
    return _compare(field, word, value, words, say)


def _membership(field: Scalar, word: str, value: Tree, span: Span, words: Words, say: Say) -> nodes.Expression | None:
    if not isinstance(value, Sequence):
        say(Diagnostic("LZ109", f"`{word}` wants a list of values", value.span, help="as in [80, 90]"))
        return None
    if not value.items:
        say(Diagnostic("LZ304", "an empty list holds no value", value.span))
        return None
    items = [constant(item, words.kinds.get(field.text), say) for item in value.items if isinstance(item, Scalar)]
    found = tuple(item for item in items if item is not None)
    if len(found) < len(value.items):
        return None
    return nodes.Membership(_field(field), found, word == "not in", True, span=span)


def _compare(field: Scalar, operator: str, value: Scalar, words: Words, say: Say) -> nodes.Expression | None:
    literal = constant(value, words.kinds.get(field.text), say)
    if literal is None:
        return None
    sign = next(known for known in _COMPARISONS if known == operator)
    return nodes.Comparison((_field(field), literal), (sign,), span=field.span.to(value.span))


def _field(scalar: Scalar) -> nodes.Expression:
    """A field, or `kernel.X`; whether it exists is the checker's question."""
    head, dot, attribute = scalar.text.partition(".")
    if head == "kernel" and dot:
        return nodes.KernelAttribute(attribute, span=scalar.inner)
    return nodes.Name(scalar.text, span=scalar.inner)


def constant(scalar: Scalar, kind: str | None, say: Say) -> nodes.Expression | None:
    """A value as its field's type reads it: `float16` is a member beside an enum and a text beside a string, `2.10` a
    number beside a float and the text 2.10 beside a version."""
    span, value = scalar.inner, scalar.value
    if isinstance(value, bool):
        return nodes.Literal(value, str(value).lower(), span=span)
    if kind == "version" or isinstance(value, str):
        if kind == "bool":
            say(Diagnostic("LZ301", f"`{scalar.text}` is a text beside a bool", span, help="write true or false"))
            return None
        if kind == "enum":
            return nodes.Name(scalar.text, span=span)
        return nodes.Literal(scalar.text, "", span=span)
    if value is None:
        say(_no_value(scalar, span))
        return None
    return expression(scalar, say)  # a number: the language's own rules for zeros, size and suffixes


def number(scalar: Scalar, say: Say) -> nodes.Literal | None:
    """`1.5`, `-1`, `8Ki`: a priority or factor."""
    found = expression(scalar, say)
    match found:
        case nodes.Literal():
            return found
        case nodes.Negate(operand=nodes.Literal(value=int(value) | float(value)) as literal):
            return nodes.Literal(-value, f"-{literal.spelling}", span=found.span)
        case None:
            return None
        case _:
            say(Diagnostic("LZ109", "this is no number", scalar.span))
            return None


def _no_value(item: Tree, otherwise: Span) -> Diagnostic:
    span = item.span if item.span.end > item.span.start else otherwise
    return Diagnostic("LZ109", "a field is compared with one value", span, help="for presence write `has(field)`")


# ---------------------------------------------------------------- places


def _mover(scalar: Scalar) -> Callable[[Span], Span]:
    """Places of the wrapped text -> places in the YAML."""
    where = places(scalar)
    source = scalar.span.source

    def move(span: Span) -> Span:
        start = where[min(max(span.start - len(_HEAD), 0), len(where) - 1)]
        last = where[min(max(span.end - 1 - len(_HEAD), 0), len(where) - 1)]
        return Span(source, start, max(last + 1, start) if span.end > span.start else start)

    return move


def _moved(node: Any, move: Callable[[Span], Span]) -> Any:
    if isinstance(node, tuple):
        return tuple(_moved(item, move) for item in node)
    if not isinstance(node, nodes.Node):
        return node
    parts = {part.name: _moved(getattr(node, part.name), move) for part in fields(node) if part.name != "span"}
    return replace(node, span=move(node.span), **parts)

"""Trees -> every word that names something: what kind, where, and whether it is declared there.

A bare name in a condition may be a define, a field or an enum member; which of them follows from what the files of the
program declare, as in the checker. Words that name nothing known have no symbol: the findings tell of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal as OneOf

from layerzero.syntax import nodes
from layerzero.syntax.source import Span

Kind = OneOf[
    "field", "define", "member", "attribute", "operation", "view", "feature", "kernel", "bundle", "experiment", "rule"
]


@dataclass(frozen=True, slots=True)
class Symbol:
    """`head_dim` in `when head_dim > 128`: the field `head_dim`, used at characters 40 to 48.

    `owner` is the operation of a view or feature, and the enum's field of a member; "" for the rest.
    """

    kind: Kind
    name: str
    span: Span
    declares: bool = False
    owner: str = ""

    @property
    def identity(self) -> tuple[Kind, str, str]:
        """What makes two symbols the same thing."""
        return self.kind, self.owner, self.name


@dataclass(frozen=True, slots=True)
class Symbols:
    """All symbols of the files of one program."""

    all: tuple[Symbol, ...]

    @classmethod
    def of(cls, files: Iterable[nodes.File]) -> Symbols:
        files = tuple(files)
        words = _Words.of(files)
        return cls(tuple(symbol for file in files for symbol in _walk(file, words, "")))

    def at(self, source: str, offset: int) -> Symbol | None:
        """The symbol at a place of the source of that name; the smallest where one stands inside another."""
        found = [s for s in self.all if s.span.source.name == source and s.span.start <= offset <= s.span.end]
        return min(found, key=lambda symbol: symbol.span.end - symbol.span.start, default=None)

    def same(self, symbol: Symbol) -> list[Symbol]:
        """Every place that means the same thing, declarations first."""
        found = [other for other in self.all if other.identity == symbol.identity]
        return sorted(found, key=lambda other: (not other.declares, other.span.source.name, other.span.start))

    def declared(self, kind: Kind) -> list[Symbol]:
        return [symbol for symbol in self.all if symbol.declares and symbol.kind == kind]


@dataclass(frozen=True, slots=True)
class _Words:
    """What the files declare, as far as it decides what a bare word is."""

    fields: frozenset[str]
    defines: frozenset[str]
    operations: frozenset[str]
    bundles: frozenset[str]
    enums: Mapping[str, frozenset[str]]  # field -> members
    aliases: Mapping[str, str]

    @classmethod
    def of(cls, files: Iterable[nodes.File]) -> _Words:
        statements = [statement for file in files for statement in file.statements]

        def names(kind: type[nodes.Field] | type[nodes.Define] | type[nodes.Operation]) -> frozenset[str]:
            return frozenset(one.name.text for one in statements if isinstance(one, kind))

        bundles = [one.name.text for one in statements if isinstance(one, nodes.Context | nodes.Device)]
        enums = {
            one.name.text: frozenset(member.text for member in one.type.members)
            for one in statements
            if isinstance(one, nodes.Field) and one.type.members
        }
        aliases = {one.name.text: one.target.text for one in statements if isinstance(one, nodes.Alias)}
        operations = names(nodes.Operation)
        return cls(names(nodes.Field), names(nodes.Define), operations, frozenset(bundles), enums, aliases)

    def field(self, word: str) -> str | None:
        """The field that a word names, through an alias too."""
        word = self.aliases.get(word, word)
        return word if word in self.fields else None


def _walk(node: object, words: _Words, operation: str) -> Iterator[Symbol]:
    """The symbols below a node; `operation` is the one whose block it stands in."""
    match node:
        case nodes.Field(name=name):
            yield _declared("field", name)
            yield from (_declared("member", member, name.text) for member in node.type.members)
        case nodes.Define(name=name):
            yield _declared("define", name)
        case nodes.Attribute(name=name):
            yield _declared("attribute", name)
        case nodes.Operation(name=name):
            yield _declared("operation", name)
            operation = name.text
        case nodes.Extend(name=name):
            yield from _scope(name, words)
            operation = name.text
        case nodes.View(name=name):
            yield _declared("view", name, operation)
        case nodes.Feature(name=name):
            yield _declared("feature", name, operation)
        case nodes.Kernel(name=name, operations=operations):
            yield _declared("kernel", name)
            yield from (symbol for one in operations for symbol in _scope(one, words))
            operation = operations[0].text.partition(".")[0] if operations else ""
        case nodes.Context(name=name) | nodes.Device(name=name):
            yield _declared("bundle", name)
        case nodes.Experiment(name=name, key=key):
            yield _declared("experiment", name)
            yield from _value(key.text, key.span, words, ())
        case nodes.Rule(operations=operations):
            yield from (symbol for one in operations for symbol in _scope(one, words))
        case nodes.Clauses(name=nodes.Identifier() as name):
            yield _declared("rule", name)
        case nodes.Needs(fields=used) | nodes.Optional(fields=used):
            yield from (Symbol("field", one.text, one.span) for one in used)
        case nodes.Supports(features=used):
            yield from (Symbol("feature", one.text, one.span, owner=operation) for one in used)
        case nodes.Fallback(kernels=used):
            yield from (Symbol("kernel", one.text, one.span) for one in used)
        case nodes.Pattern(text=text):
            yield Symbol("kernel", text, node.span)
        case nodes.Set(assignments=assignments):
            yield from (Symbol("attribute", one.name.text, one.name.span) for one in assignments)
        case nodes.GivenName(name=name):
            if name.text in words.bundles:
                yield Symbol("bundle", name.text, name.span)
            else:
                yield from _scope(name, words)
        case nodes.GivenArm(name=name):
            yield Symbol("experiment", name.text.partition(".")[0], _first(name))
        case nodes.Whenever(operation=name):
            yield from _scope(name, words)
        case nodes.Expect(rule=nodes.Identifier() as name):
            yield Symbol("rule", name.text, name.span)
        case nodes.KernelAttribute(name=text):
            yield Symbol("attribute", text, Span(node.span.source, node.span.end - len(text), node.span.end))
        case nodes.Has(field_name=name):
            yield from _value(name.text, name.span, words, ())
        case nodes.Assignment(name=name) if words.field(name.text):
            yield Symbol("field", words.field(name.text) or "", name.span)
        case nodes.Comparison(operands=operands):
            yield from _beside(operands, words, operation)
            return
        case nodes.Membership(operand=operand, items=items):
            yield from _beside((operand, *items), words, operation)
            return
        case nodes.Name(text=text):
            yield from _value(text, node.span, words, ())
        case _:
            pass
    for child in _children(node):
        yield from _walk(child, words, operation)


def _beside(operands: tuple[object, ...], words: _Words, operation: str) -> Iterator[Symbol]:
    """A bare name next to an enum is its member if it has one."""
    names = [operand.text for operand in operands if isinstance(operand, nodes.Name)]
    enums = [field for name in names if (field := words.field(name)) in words.enums]
    for operand in operands:
        if isinstance(operand, nodes.Name):
            yield from _value(operand.text, operand.span, words, enums)
        else:
            yield from _walk(operand, words, operation)


def _value(text: str, span: Span, words: _Words, enums: Iterable[str | None]) -> Iterator[Symbol]:
    for enum in enums:
        if enum is not None and text in words.enums[enum]:
            yield Symbol("member", text, span, owner=enum)
            return
    field = words.field(text)
    if text in words.defines:
        yield Symbol("define", text, span)
    elif field is not None:
        yield Symbol("field", field, span)


def _scope(name: nodes.Identifier, words: _Words) -> Iterator[Symbol]:
    """`attention.decode`: the operation, and its view."""
    head, dot, view = name.text.partition(".")
    if head not in words.operations:
        return
    yield Symbol("operation", head, _first(name))
    if dot:
        end = name.span.end
        yield Symbol("view", view, Span(name.span.source, end - len(view), end), owner=head)


def _first(name: nodes.Identifier) -> Span:
    return Span(name.span.source, name.span.start, name.span.start + len(name.text.partition(".")[0]))


def _declared(kind: Kind, name: nodes.Identifier, owner: str = "") -> Symbol:
    return Symbol(kind, name.text, name.span, True, owner)


def _children(node: object) -> Iterator[object]:
    if isinstance(node, tuple):
        yield from node
    elif isinstance(node, nodes.Node):
        for one in fields(node):
            if one.name != "span":
                yield getattr(node, one.name)

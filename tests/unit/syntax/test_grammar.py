"""The grammar as a document: a rule for each node, one list of reserved words, names that stay names."""

from __future__ import annotations

import re

import pytest

from layerzero.syntax import nodes, tables
from layerzero.syntax.builder import _MAKERS
from layerzero.syntax.formatter import format_source
from layerzero.syntax.parser import parse
from layerzero.syntax.source import Source
from layerzero.syntax.words import RESERVED

WORDS = sorted(tables.load().words)


def sound(text: str) -> nodes.File:
    file, found = parse(Source("x.lzp", text))
    assert file is not None and found == [], [str(item.span) + item.message for item in found]
    return file


def test_every_rule_that_makes_something_has_its_maker() -> None:
    rules = set(re.findall(r"^!?([a-z][a-z_]*):", tables.grammar_text(), re.M))
    assert rules | {"_statement"} == set(_MAKERS)


def test_the_reserved_words_are_those_of_the_grammar() -> None:
    lists = re.findall(r"\(\?!\(\?:([a-z|]+)\)", tables.grammar_text())
    assert len(lists) == 2
    assert all(set(found.split("|")) == RESERVED for found in lists)


@pytest.mark.parametrize("word", WORDS)
def test_a_keyword_is_a_name_where_no_keyword_can_stand(word: str) -> None:
    name = f"`{word}`" if word in RESERVED else word
    text = (
        f"field {name}: enum({name})\ndefine {name} = {name} == {name} and {name} in {{{name}, {name}}}\n"
        f"context {name} {{ {name} = {name} }}\ndeny a when {name} and device == cuda as {name}\n"
        f"kernel {name}.{word} for {name}, {name} {{ require {name} supports {name}, {name} set {name} = {name} }}\n"
        f"operation {name} {{ needs {name} view {name} when {name} feature {name} when {name} }}\n"
        f"lock {name} for {name} when {name} else choose\norder {name} > {name}\nboost {name} by 2\n"
        f"experiment {name} on {name} {{ arm {name} 100% guard {name} < 1 }}\nalias {name} = {name}\n"
        f"define b = x in 0..`{word}` define c = has({name}) define d = kernel.{name}\n"
        f'test "t" {{ given `{word}`, {name} = {name} expect `{word}` by {name} }}\n'
    )
    file = sound(text)
    formatted = format_source(Source("x.lzp", text))
    assert isinstance(formatted, str)
    assert sound(formatted) == file


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_a_reserved_word_is_no_name_without_backquotes(word: str) -> None:
    _, found = parse(Source("x.lzp", f"field {word}: int"))
    assert [item.code for item in found] == ["LZ103"]


def test_statements_need_no_line_ends() -> None:
    text = (
        "kernel a.b for c { require device == cuda require sm in 80.. supports x } "
        "deny a when device deny b device c { x = 1 }"
    )
    kinds = [type(statement).__name__ for statement in sound(text).statements]
    assert kinds == ["Kernel", "Rule", "Rule", "Device"]


def test_a_keyword_must_be_a_whole_word() -> None:
    for text in ("deny a when x andy", "denya", "deny a when xin {1}", "lock a forattention"):
        assert parse(Source("x.lzp", text))[1], text


def test_precedence_is_pythons() -> None:
    define = sound("define a = not x == 1 or y and -b * c + d // e % f < 3 if p else q if r else s").statements[0]
    assert isinstance(define, nodes.Define)
    outer = define.value
    assert isinstance(outer, nodes.Conditional) and isinstance(outer.otherwise, nodes.Conditional)
    assert isinstance(outer.then, nodes.Or) and isinstance(outer.then.operands[0], nodes.Not)
    compared = outer.then.operands[1]
    assert isinstance(compared, nodes.And) and isinstance(compared.operands[1], nodes.Comparison)
    total = compared.operands[1].operands[0]
    assert isinstance(total, nodes.Arithmetic) and total.operator == "+"
    assert isinstance(total.left, nodes.Arithmetic) and isinstance(total.left.left, nodes.Negate)
    assert isinstance(total.right, nodes.Arithmetic) and total.right.operator == "%"


def test_places_are_those_of_the_text() -> None:
    text = "# é\ndeny torch.*\n  when batch > 32"
    rule = sound(text).statements[0]
    assert isinstance(rule, nodes.Rule) and isinstance(rule.clauses.when, nodes.Comparison)
    assert str(rule.span) == "x.lzp:2:1" and rule.span.end == len(text)
    assert str(rule.clauses.when.operands[0].span) == "x.lzp:3:8"
    assert rule.clauses.when.span.text == "batch > 32"


def test_all_errors_of_a_file_and_the_statements_between_them() -> None:
    text = (
        "deny a when\nfield ok: int\nlokc b\ndeny c when x = 1\nkernel k.x for o {\n  requir y\n  supports z\n}\ndeny d"
    )
    file, found = parse(Source("x.lzp", text))
    assert [item.span.line for item in found] == [1, 3, 4, 6]
    assert file is not None
    assert [type(statement).__name__ for statement in file.statements] == ["Field", "Kernel", "Rule"]
    kernel = file.statements[1]
    assert isinstance(kernel, nodes.Kernel) and len(kernel.items) == 1

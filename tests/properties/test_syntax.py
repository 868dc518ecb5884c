"""Laws of the syntax package: the formatter changes no meaning and no comment and is idempotent; a kept tree is the
parsed tree; the parser ends in a tree or a finding whatever it is given."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, example, given, settings, strategies as st

from layerzero.syntax.formatter import format_file
from layerzero.syntax.nodes import File
from layerzero.syntax.parser import parse
from layerzero.syntax.render import render
from layerzero.syntax.source import Source
from layerzero.syntax.trees import decode, encode
from tests.properties.lzp_texts import files

many = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DAMAGE = ["", "(", ")", "{", "}", '"', "=", "$", "when", "in", "..", "\\", "é", "\x7f", "#", "`"]


def read(text: str) -> File:
    file, found = parse(Source("policy.lzp", text))
    assert file is not None and not found, render(found) + text
    return file


@given(files)
@many
def test_the_formatter_keeps_the_tree_and_the_comments(text: str) -> None:
    file = read(text)
    formatted = format_file(file)
    again = read(formatted)
    assert again == file
    assert sorted(c.text for c in again.comments) == sorted(c.text for c in file.comments)


@given(files)
@many
def test_the_formatter_is_idempotent(text: str) -> None:
    once = format_file(read(text))
    assert format_file(read(once)) == once


@given(files)
@many
def test_a_kept_tree_is_the_parsed_tree(text: str) -> None:
    source = Source("policy.lzp", text)
    file = read(text)
    kept = decode(json.loads(json.dumps(encode(file))), source)
    assert kept == file
    assert repr(kept) == repr(file)
    assert [c.span for c in kept.comments] == [c.span for c in file.comments]
    assert [s.span for s in kept.statements] == [s.span for s in file.statements]


@given(files, st.data())
@many
def test_a_damaged_text_ends_in_a_tree_or_a_finding_inside_the_text(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    until = data.draw(st.integers(at, min(len(text), at + 12)))
    damage = data.draw(st.sampled_from(DAMAGE))
    broken = text[:at] + damage + text[until:]
    file, found = parse(Source("policy.lzp", broken))
    assert file is not None
    for item in found:
        assert 0 <= item.span.start <= item.span.end <= len(broken) + 1
        assert item.message and item.code in render([item])


@given(st.text(max_size=200))
@example('"')
@example("\ufeffdeny a")
@example('deny a when x like "[')
@many
def test_any_text_ends_in_a_tree_or_a_finding(text: str) -> None:
    file, found = parse(Source("policy.lzp", text))
    assert (file is None) <= bool(found)
    render(found)


@given(files, files)
@many
def test_an_error_in_one_statement_leaves_the_others(before: str, after: str) -> None:
    text = f"{before}\ndeny a when == \ndefine zz = 1\n{after}"
    file, found = parse(Source("policy.lzp", text))
    assert found and file is not None
    kept = read(before).statements
    assert file.statements[: len(kept)] == kept or before.rstrip().endswith("..")
    assert any("zz" in repr(statement) for statement in file.statements)

"""Whatever the text, reading it ends in rules or findings, soon, and never in half a policy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings, strategies as st

from layerzero.check import load, load_text
from layerzero.notations import Words, read
from layerzero.notations.limits import MAX_BYTES
from layerzero.syntax.render import render
from layerzero.syntax.source import Source

PIECES = st.sampled_from(
    [
        *"-:[]{},\"'\n\t#&*!|>%@`?~ \r\\",
        *("  ", "- ", ": ", "---\n", "&a ", "*a ", "!!x ", "<<: ", "null", "1e999", "0x1", "batch > 32", '"*"'),
        *("denies:\n", "  - operation: ", "backend: ", "condition: ", "rules:\n", "conditions: "),
        *("\x00", "\x85", "\u2028", "\ufeff", "\ud800", "é", "😀", "\x1b[31m"),
    ]
)


def codes(text: str) -> set[str]:
    return {finding.code for finding in load_text(text, name="policy.yaml").diagnostics}


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
@example("? [a]\n: b")
@example("denies:\n  - {operation: '*', backend: a, condition: {[a]: b}}")
@example("rules: [{operation: '*', kernel: a, conditions: [{field: a, operator: in, value: [[1]]}]}]")
@example("- - - - - - - - - - a")
@example("boosts: [{operation: '*', backend: '*', boost_factor: " + "9" * 5000 + "}]")
@example("boosts: [{operation: '*', backend: '*', boost_factor: 1" + "_" * 50 + "}]")
def test_no_text_breaks_the_reader(text: str) -> None:
    file, found = read(Source("policy.yaml", text), Words({"a": "int"}, ("attention",)))
    assert file is not None or found
    render(found)
    for finding in found:
        assert 0 <= finding.span.start <= finding.span.end <= len(text) + 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("denies:\n" + "  - {operation: '*', backend: '*'}\n" * (MAX_BYTES // 30), "LZ003"),
        ("denies: " + "[" * 100_000, "LZ003"),
        ("denies: " + "{a: " * 100_000, "LZ003"),
        ("a: &a [x, *a]", "LZ105"),
        ("locks: *a", "LZ104"),
        ("a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 40)}]\n" for n in range(1, 7)), "LZ003"),
        ("denies: []\x00", "LZ002"),
        ("denies: [\ud800]", "LZ002"),
        ("denies: \x01", "LZ104"),
        ("boosts: [{operation: '*', backend: '*', boost_factor: " + "9" * 400 + "}]", "LZ101"),
        ("denies: [{operation: '*', backend: '*', condition: '" + "(" * 5000 + "'}]", "LZ003"),
    ],
)
def test_limits_end_in_a_finding_within_seconds(text: str, code: str) -> None:
    started = time.monotonic()
    found = codes(text)
    assert code in found
    assert time.monotonic() - started < 20


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"denies: []\n# \xff")
    checked = load(path)
    assert checked.program is None
    assert [(one.code, one.span.line, one.span.column) for one in checked.diagnostics] == [("LZ002", 2, 3)]


def test_a_policy_cannot_name_code() -> None:
    assert codes("denies: [{operation: '*', backend: '*', adapter: 'os:system'}]") == {"LZ106"}
    assert codes("kernels: [{name: a, adapter: 'os:system'}]\nversion: 1") == {"LZ106"}


def test_every_prefix_of_a_policy_is_the_whole_policy_or_an_error() -> None:
    """A file that is read while it is written: no prefix may drop a condition, a key or a rule unseen."""
    text = (
        'version: "1.0"\nlocks: []\ndenies:\n  - operation: "attention.*"\n    backend: "torch_sdpa"\n'
        '    condition: "batch > 32"\n'
    )
    rules = []
    for length in range(len(text)):
        checked = load_text(text[:length], name="policy.yaml")
        if checked.program is not None:
            rules.append(
                (length, len([rule for rule in checked.program.rules if rule.span.source.name == "policy.yaml"]))
            )
    # What is left are texts that anybody could have meant: no rules yet, or a rule without its condition.
    assert {text[:length].rstrip().splitlines()[-1].strip() for length, _ in rules} <= {
        'version: "1.0"', "locks: []", 'backend: "torch_sdpa"', 'condition: "batch > 32"'
    }  # fmt: skip

"""What a checked program holds, and what leaves its digest alone."""

from __future__ import annotations

import random

from layerzero.check import program_from_text
from layerzero.check.program import Layer, Scope

TEXT = """
policy "p" version 3 strict
field size: int in 1..1024
field color: enum(red, green)
attribute fast: bool = false
operation paint { needs size optional color view big when size > 100 feature bright when color == red }
backend base { package base-kernels >=1.4 require size > 1 set fast = true source "seen" }
kernel base.plain for paint { "doc" supports bright }
kernel base.big for paint.big { priority 70 set fast = false require size < 9 because "small" }
kernel else_where.one for paint { }
extend paint { optional color feature dull when color == green }
quarantine base for paint when size == 3 as never because "why" owner "me" until 2030-01-02
lock {base.plain, base.big} for paint.big priority 2 else choose
order base.* > * for paint
experiment trial on color share 20% { arm control 50% arm other 50% { boost base.big by 2 } }
test "t" { given paint, size = 4 expect base.plain }
"""


def test_a_backend_block_is_part_of_each_of_its_kernels() -> None:
    program = program_from_text(TEXT, prelude=False)
    plain, big = program.kernels["base.plain"], program.kernels["base.big"]
    assert [line.alternatives[0].name for line in plain.packages] == ["base-kernels"]
    assert [r.span.text for r in big.requirements] == ["require size > 1", 'require size < 9 because "small"']
    assert (plain.attributes["fast"], big.attributes["fast"]) == (True, False)
    assert program.kernels["else_where.one"].requirements == ()


def test_a_kernel_of_a_view_knows_its_view() -> None:
    program = program_from_text(TEXT, prelude=False)
    assert program.kernels["base.big"].views("paint") == ("big",)
    assert program.kernels["base.plain"].views("paint") == ()


def test_extend_adds_to_the_operation() -> None:
    assert set(program_from_text(TEXT, prelude=False).operations["paint"].features) == {"bright", "dull"}


def test_rules_keep_layer_rank_and_clauses() -> None:
    rules = {rule.kind: rule for rule in program_from_text(TEXT, prelude=False).rules}
    assert rules["lock"].scopes == (Scope("paint", "big"),)
    assert (rules["lock"].priority, rules["lock"].otherwise) == (2, "choose")
    assert rules["quarantine"].name == "never"
    assert str(rules["quarantine"].until) == "2030-01-02"
    assert (rules["boost"].layer, rules["boost"].arm) == (Layer.ARM, ("trial", "other"))
    assert [sorted(target.kernels) for target in rules["order"].targets] == [
        ["base.big", "base.plain"],
        ["base.big", "base.plain", "else_where.one"],
    ]


def test_neither_order_nor_layout_nor_comments_change_the_digest() -> None:
    lines = TEXT.strip().splitlines()
    digest = program_from_text(TEXT, prelude=False).digest
    shuffler = random.Random(7)
    for _ in range(5):
        shuffler.shuffle(lines)
        assert program_from_text("# other\n\n" + "\n  ".join(lines), prelude=False).digest == digest


def test_a_change_of_meaning_changes_the_digest() -> None:
    digest = program_from_text(TEXT, prelude=False).digest
    for old, new in (
        ("size > 100", "size > 101"),
        ("else choose", "else fallback"),
        ("20%", "21%"),
        ("until 2030", "until 2031"),
    ):
        assert program_from_text(TEXT.replace(old, new), prelude=False).digest != digest


def test_tests_are_no_part_of_the_digest() -> None:
    without = TEXT.replace('test "t" { given paint, size = 4 expect base.plain }', "")
    assert program_from_text(without, prelude=False).digest == program_from_text(TEXT, prelude=False).digest


def test_an_integer_and_a_double_are_different_constants() -> None:
    one = program_from_text(TEXT + "deny * when size > 1", prelude=False)
    other = program_from_text(TEXT + "deny * when size > 1.0", prelude=False)
    assert one.digest != other.digest

"""Witness, proof or "undecided", one condition at a time."""

from __future__ import annotations

from functools import lru_cache

import pytest

from layerzero.check import program_from_text
from layerzero.check.expressions import Expression
from layerzero.check.program import Program
from layerzero.regions.region import Found, Nowhere, Region, Undecided, Witness
from layerzero.regions.space import Space
from layerzero.regions.translate import Truths
from layerzero.semantics.evaluate import holds

FACTS = """
field sm: int in 10..999
field q_heads: int in 1..65536
field kv_heads: int in 1..65536
field n: int
field double: int in 0..2000 = q_heads * 2
field dtype: enum(fp16, bf16, fp32)
field kv_dtype: enum(fp16, bf16, fp32) = dtype
field name: string
field memory: float in 0..
field paged: bool = false
field driver: version
operation work { needs q_heads, kv_heads, dtype optional sm }
kernel k.one for work { }
experiment trial on name share 20% { arm control 50% arm new 50% { deny k.one for work } }
"""


@lru_cache
def probe(condition: str) -> tuple[Program, Expression]:
    program = program_from_text(f"{FACTS}\ndeny k.one for work when {condition} as probe", prelude=False)
    rule = next(rule for rule in program.rules if rule.name == "probe")
    assert rule.condition is not None
    return program, rule.condition


def find(condition: str, wanted: Truths = Truths.TRUE) -> Found:
    program, expression = probe(condition)
    return Region.of(Space(program, program.operations["work"]), expression, wanted).find()


@pytest.mark.parametrize(
    "condition",
    [
        "sm in 80..89 and sm >= 85",
        "q_heads % kv_heads == 0 and kv_heads > 7",
        "q_heads % 8 == 3 and q_heads > 17",
        "q_heads * (q_heads // kv_heads) <= 16",
        "n * n == 144 and n < 0",
        "q_heads < kv_heads and kv_heads <= 3",
        "kv_dtype != dtype",
        "double != q_heads * 2",
        'name like "*H100*" and name != "H100" and not name like "?*H100"',
        'name not in {"u1", "u2"}',
        "memory * 2.0 > 7.5 and memory < 4",
        "(4 if dtype == fp32 else 2) * q_heads > 32 and dtype != fp32",
        'package("flash-attn") >= "2.7" and package("flash-attn") < "2.7.1"',
        'driver > "1.2" and driver < "1.2.1"',
        "min(q_heads, n) > 12 and max(q_heads, n) < 14",
        "has(n) and not has(sm)",
        "paged == (q_heads > 5) and q_heads > 7",
        "n % q_heads == 3 and n < 0",
        "n // q_heads == -2",
        "n in {3, q_heads, 7..9} and n > 9",
    ],
)
def test_a_witness_fulfils_the_condition(condition: str) -> None:
    found = find(condition)
    assert isinstance(found, Witness), found
    assert holds(probe(condition)[1], found.lookups) is True


@pytest.mark.parametrize(
    "condition",
    [
        "sm < 20 and sm > 25",
        "q_heads % 8 == 3 and q_heads % 12 == 2",
        "q_heads < kv_heads and kv_heads < q_heads",
        "not has(double) and q_heads < 1000",
        "kv_dtype != dtype and not has(kv_dtype)",
        'name like "a*" and name like "b*"',
        'name == "H100" and not name like "*H100*"',
        "n * n == 145 and n in 0..1000",
        "n * n < 0 and n in 0..100",
        "q_heads == kv_heads and q_heads > 3 and kv_heads < 4",
        "dtype == fp16 and dtype != fp16",
        "dtype == fp16 and kv_dtype == bf16 and dtype == kv_dtype",
        "not (paged or not paged)",
        "q_heads * kv_heads < q_heads",
        "q_heads % kv_heads == 0 and q_heads < kv_heads",
        "q_heads % kv_heads != 0 and kv_heads == q_heads",
        "q_heads // kv_heads == 0 and q_heads >= kv_heads",
        "q_heads // kv_heads > 1 and kv_heads >= q_heads",
        'package("x") < "2" and package("x") > "2"',
    ],
)
def test_an_empty_region_is_proved(condition: str) -> None:
    assert find(condition) == Nowhere()


def test_unknown_is_a_region_too() -> None:
    found = find("sm >= 90", Truths.UNKNOWN)
    assert isinstance(found, Witness)
    assert "sm" not in found.given
    assert find("q_heads >= 90", Truths.UNKNOWN) == Nowhere()
    assert isinstance(find("n // (q_heads - 5) > 1 and has(n)", Truths.UNKNOWN), Witness)


def test_a_needed_field_is_never_absent_and_a_constant_default_fills() -> None:
    assert find("not has(q_heads)") == Nowhere()
    assert find("not has(paged)") == Nowhere()
    assert isinstance(find("not has(n)"), Witness)


def test_a_derived_default_is_absent_only_where_it_does_not_fit() -> None:
    found = find("not has(double)")
    assert isinstance(found, Witness)
    assert found.given["q_heads"] > 1000  # type: ignore[operator]


def test_a_witness_is_short_and_reads_like_a_context() -> None:
    found = find("sm >= 90 and not paged")
    assert isinstance(found, Witness)
    assert found.context == {"operation": "work", "q_heads": 1, "kv_heads": 1, "dtype": "fp16", "sm": 90}


def test_a_package_is_part_of_the_witness_but_not_of_the_context() -> None:
    found = find('package("flash-attn") == "2.8.3"')
    assert isinstance(found, Witness)
    assert found.packages == {"flash-attn": "2.8.3"}
    assert set(found.context) == {"operation", "q_heads", "kv_heads", "dtype"}


def test_an_arm_comes_with_a_key_that_enrols() -> None:
    program, _ = probe("sm >= 90")
    rule = next(rule for rule in program.rules if rule.arm is not None)
    space = Space(program, program.operations["work"])
    found = Region.of(space, rule.condition).find()
    assert isinstance(found, Witness)
    assert found.lookups.arms == {"trial": "new"}
    assert "name" in found.given


def test_too_large_a_question_is_undecided() -> None:
    found = find("n * n * n + kv_heads * kv_heads * kv_heads == 1000000000000 and q_heads * n == 7777777")
    assert isinstance(found, Undecided | Nowhere | Witness)
    program, condition = probe("n * n * n == q_heads * q_heads + 7 and n > 1000")
    tight = Region.of(Space(program, program.operations["work"]), condition).find(budget=3)
    assert isinstance(tight, Undecided)
    assert tight.reason == "more than 3 cases"


def test_a_witness_that_nobody_confirms_is_not_answered() -> None:
    program, condition = probe("sm >= 90")
    region = Region.of(Space(program, program.operations["work"]), condition)
    assert isinstance(region.find(lambda witness: False), Undecided)


def test_subtracting_a_region_from_itself_leaves_nothing() -> None:
    program, condition = probe("sm >= 90 and q_heads % kv_heads == 0")
    region = Region.of(Space(program, program.operations["work"]), condition)
    assert (region - region).find() == Nowhere()
    assert isinstance((~region).find(), Witness)

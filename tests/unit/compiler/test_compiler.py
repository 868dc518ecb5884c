"""The compiled form by example: structure, bounds, dumps, and that nothing of a policy becomes code."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pytest

from layerzero.check import program_from_text
from layerzero.check.program import Program
from layerzero.compiler import compile_program
from layerzero.compiler.codegen import source_of
from layerzero.compiler.dump import dot, operation_stats, stats, text
from layerzero.compiler.form import Form
from layerzero.compiler.masks import Masks
from layerzero.compiler.matcher import Matcher, build
from layerzero.errors import UnknownNameError
from layerzero.semantics.environment import Environment
from layerzero.semantics.proof import Outcome

OFFLINE = Environment(assume_packages=True)
POLICY = """
policy "example"
field phase: enum(prefill, decode)
field dtype: enum(fp16, bf16, fp32)
field q_len: int in 1..100000
field kv_len: int in 1..100000 = q_len
field head_dim: int in 1..1024
field window: int in 0..100000 = 0
field sm: int in 50..200
operation attention {
  needs q_len, dtype  optional head_dim, kv_len, window, sm, phase
  feature window when window > 0
  view decode when phase == decode
  fallback plain.attention
}
kernel plain.attention for attention { priority 1 supports window }
kernel fast.full for attention { priority 80 require dtype in {fp16, bf16} and head_dim in {64, 128} require sm >= 80 }
kernel fast.decode for attention.decode { priority 90 require dtype != fp32 supports window when sm >= 90 }
lock fast.decode for attention.decode when kv_len >= 8Ki as pin else choose
deny fast.* when head_dim > 100 as wide
boost fast by 1.5 when q_len % 16 == 0 as even
"""
CALL = {"q_len": 16, "dtype": "fp16", "head_dim": 64, "sm": 90}


@pytest.fixture
def program() -> Program:
    return program_from_text(POLICY, prelude=False)


def matcher(program: Program, limits: tuple[int, int] = (1500, 60_000), **fixed: object) -> Matcher:
    return build(compile_program(program, OFFLINE, fixed, limits))  # type: ignore[arg-type]


@pytest.mark.parametrize("limits", [(1500, 60_000), (0, 0)], ids=["tree", "bits"])
class TestBothStructures:
    def test_a_call_is_decided(self, program: Program, limits: tuple[int, int]) -> None:
        decide = matcher(program, limits).function("attention")
        assert decide(CALL, {}) == Outcome("fast.full", 120.0, False)
        assert decide({**CALL, "q_len": 17}, {}) == Outcome("fast.full", 80.0, False)
        assert decide({**CALL, "dtype": "fp32"}, {}) == Outcome("plain.attention", 1.0, False)

    def test_a_default_comes_from_another_field(self, program: Program, limits: tuple[int, int]) -> None:
        decide = matcher(program, limits).function("attention")
        assert decide({**CALL, "phase": "decode", "q_len": 8192}, {}).locked_by == ("pin",)
        assert decide({**CALL, "phase": "decode", "q_len": 8191}, {}).locked_by == ()

    def test_a_call_without_a_needed_field_is_invalid(self, program: Program, limits: tuple[int, int]) -> None:
        assert matcher(program, limits).decide("attention", {"q_len": 1}).error == "invalid_context"

    def test_fixed_fields_are_not_read(self, program: Program, limits: tuple[int, int]) -> None:
        old = matcher(program, limits, sm=75)
        assert "sm" not in old.fields("attention")
        assert old.decide("attention", {**CALL, "sm": 90}) == Outcome("plain.attention", 1.0, False)
        absent = matcher(program, limits, sm=None)
        assert absent.decide("attention", CALL) == Outcome("plain.attention", 1.0, False)

    def test_the_form_is_plain_data(self, program: Program, limits: tuple[int, int]) -> None:
        form = compile_program(program, OFFLINE, {"sm": 90}, limits)
        loaded = Form.from_data(json.loads(json.dumps(form.to_data())))
        assert loaded.digest == form.digest
        assert build(loaded).decide("attention", CALL) == build(form).decide("attention", CALL)
        assert text(loaded) == text(form)

    def test_no_text_of_the_policy_is_compiled(self, program: Program, limits: tuple[int, int]) -> None:
        source = source_of(compile_program(program, OFFLINE, {}, limits).operations["attention"])
        for word in ("phase", "dtype", "fp16", "fast", "pin", "window", "8192"):
            assert word not in source


def test_past_its_bound_a_tree_becomes_bits_and_says_so(program: Program) -> None:
    tree = compile_program(program, OFFLINE, {}, (1500, 60_000)).operations["attention"]
    bits = compile_program(program, OFFLINE, {}, (10, 60_000)).operations["attention"]
    assert (tree.structure, bits.structure) == ("tree", "bitset")
    assert "past the bound of a tree" in str(operation_stats(bits))
    assert operation_stats(tree).depth <= len(tree.probes)


def test_work_is_bounded_too(program: Program) -> None:
    assert compile_program(program, OFFLINE, {}, (1500, 20)).operations["attention"].structure == "bitset"


def test_forms_differ_with_what_they_depend_on(program: Program) -> None:
    first = compile_program(program, OFFLINE, {})
    assert compile_program(program, OFFLINE, {}).digest == first.digest
    assert compile_program(program, OFFLINE, {"sm": 90}).digest != first.digest
    assert compile_program(program, replace(OFFLINE, today=date(2027, 1, 1)), {}).digest != first.digest


def test_another_schema_is_refused(program: Program) -> None:
    data = compile_program(program, OFFLINE, {}).to_data()
    with pytest.raises(ValueError, match=r"lz\.form/0"):
        Form.from_data({**data, "schema": "lz.form/0"})


def test_an_unknown_operation_is_named(program: Program) -> None:
    with pytest.raises(UnknownNameError, match=r"`attn`.*attention"):
        matcher(program).decide("attn", {})


def test_matchers_know_what_they_read(program: Program) -> None:
    assert set(matcher(program).fields("attention")) == {
        "phase", "dtype", "q_len", "kv_len", "head_dim", "window", "sm"
    }  # fmt: skip


def test_the_tree_is_readable(program: Program) -> None:
    form = compile_program(program, OFFLINE, {"sm": 90})
    written = text(form)
    assert "kv_len?" in written
    assert "8192..: " in written
    assert "lock pin" in written
    assert [one.operation for one in stats(form)] == ["attention"]
    graph = dot(form)
    assert graph.startswith("digraph")
    assert graph.count("{") == graph.count("}")


def test_names_stay_text_in_graphs() -> None:
    program = program_from_text(
        'policy "p"\nfield tenant: string\noperation f { needs tenant fallback a.b }\n'
        'kernel a.b for f { require tenant == "x\\"];}\\nevil[" }\n',
        prelude=False,
    )
    assert '"];}' not in dot(compile_program(program, OFFLINE, {})).replace('\\"];}', "")


HOSTILE = [
    'x"); raise SystemExit #',
    "K0",
    "'''\\\n",
    "__import__('os')",
]


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_strings_are_constants(word: str) -> None:
    quoted = json.dumps(word)
    program = program_from_text(
        f'policy "p"\nfield t: string\noperation f {{ needs t fallback a.b }}\n'
        f"kernel a.b for f {{}}\nkernel a.c for f {{ priority 60 require t == {quoted} }}\n",
        prelude=False,
    )
    for limits in ((100, 10_000), (0, 0)):
        decide = matcher(program, limits).function("f")
        assert decide({"t": word}, {}).kernel == "a.c"
        assert decide({"t": "other"}, {}).kernel == "a.b"


def test_many_rules_stay_within_the_bound() -> None:
    """Hundreds of rules over ranges: bits, a bounded form, and right answers at the ends of a range."""
    kernels = "\n".join(f"kernel k.v{i} for f {{ priority {i % 100} }}" for i in range(100))
    rules = "\n".join(f"deny k.v{i % 100} when {i} <= n <= {i + 300} and m != {i % 7} as r{i}" for i in range(700))
    program = program_from_text(
        f'policy "p"\nfield n: int in 0..1000\nfield m: int in 0..7\noperation f {{ needs n, m }}\n{kernels}\n{rules}',
        prelude=False,
    )
    form = compile_program(program, OFFLINE, {}).operations["f"]
    assert form.structure == "bitset"
    assert len(json.dumps(form.to_data())) < 2_000_000
    decide = matcher(program).function("f")
    assert decide({"n": 1000, "m": 0}, {}).kernel == "k.v99"  # denied for n in 699..999 at most
    assert decide({"n": 99, "m": 7}, {}).kernel is None


def test_deep_conditions_compile() -> None:
    nested = "n"
    for _ in range(30):
        nested = f"({nested} + m * 2 // m)"
    program = program_from_text(
        f'policy "p"\nfield n: int in 0..9\nfield m: int in 0..9\noperation f {{ needs n, m }}\n'
        f"kernel a.b for f {{ require {nested} == 60 + n }}\n",
        prelude=False,
    )
    decide = matcher(program).function("f")
    assert decide({"n": 3, "m": 5}, {}).kernel == "a.b"
    assert decide({"n": 3, "m": 0}, {}).error == "no_kernel"  # divides by zero: unknown


def test_wide_conditions_compile() -> None:
    wide = " or ".join(f"n * m == {value}" for value in range(2, 4000, 2))
    program = program_from_text(
        f'policy "p"\nfield n: int in 0..99\nfield m: int in 0..99\noperation f {{ needs n, m }}\n'
        f"kernel a.b for f {{ require {wide} }}\n",
        prelude=False,
    )
    decide = matcher(program).function("f")
    assert decide({"n": 7, "m": 6}, {}).kernel == "a.b"
    assert decide({"n": 7, "m": 7}, {}).kernel is None


@pytest.mark.parametrize(
    "step", ["d{} in {{flag, other}}", "(flag if d{} else other)", "not (d{} == other)"], ids=["in", "if", "not"]
)
def test_deep_conditions_need_no_deep_stack(step: str) -> None:
    """A call from deep inside a model compiles the deepest condition that the checker lets through."""
    defines = "\n".join(f"define d{i + 1} = {step.format(i)}" for i in range(24))
    program = program_from_text(
        f'policy "p"\nfield flag: bool\nfield other: bool\ndefine d0 = flag\n{defines}\n'
        f"operation f {{ optional flag, other }}\nkernel a.b for f {{ require d24 }}\n",
        prelude=False,
    )

    assert program.digest  # is the checker's, and computed once

    def descend(frames: int) -> Matcher:
        return matcher(program) if frames == 0 else descend(frames - 1)

    assert descend(700).decide("f", {}).error == "no_kernel"


def test_masks_are_the_same_after_a_trip_through_json() -> None:
    masks, parts = (0, 1 << 99 | 5, (1 << 100) - 1, 4), 100
    found = Masks.from_data(json.loads(json.dumps(Masks.of(masks, parts).to_data())), parts)
    assert tuple(found) == masks
    assert [int.from_bytes(row, "little") for row in found.rows(2)] == list(masks)
    with pytest.raises(ValueError, match="not those of so many parts"):
        Masks.from_data(Masks.of(masks, parts).to_data(), 99)

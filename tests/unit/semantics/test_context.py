"""Contexts: what may be given (sections 2 and 9), asserted views, defaults (sections 2, 4, 9)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from layerzero.errors import ContextError
from layerzero.semantics.context import complete, read_context
from tests.unit.semantics.build import decided, program

PROGRAM = """
field n: int in 1..100
field m: int in 0..50 = n
field wide: int
field r: float in 0.0..<1.0
field free: float
field flag: bool
field text: string
field ver: version
field dtype: enum(fp16, bf16)
field phase: enum(prefill, decode)
field len: int = 1
field big: int in 0..10 = n * n
field deep: int = m + big
field broken: int = n // zero
field zero: int = 0
alias count = n
alias float16 = fp16
alias half = float16
alias norm.op = o
alias o.quick = o.decode
operation o {
  needs n, len
  optional flag, dtype, phase, text
  view decode when phase == decode and is_short and not flag
  view strict when n > 5 and flag
  fallback k.a
}
define is_short = len == 1 and (dtype == fp16)
kernel k.a for o { }
device gpu { n = 7, text = "gpu" }
"""


def read(**context: Any) -> dict[str, Any]:
    return read_context(program(PROGRAM), {"operation": "o", **context})[1]


def completed(operation: str = "o", **context: Any) -> dict[str, Any]:
    made = program(PROGRAM)
    scope, values = read_context(made, {"operation": operation, **context})
    return dict(complete(made, scope, values).values)


def problem(**context: Any) -> str:
    with pytest.raises(ContextError) as caught:
        completed(**{"n": 3, **context})
    return str(caught.value)


# ---------------------------------------------------------------- given values


def test_aliases_of_operations_fields_and_members_are_resolved() -> None:
    scope, values = read_context(program(PROGRAM), {"operation": "norm.op", "count": 3, "dtype": "half"})
    assert (str(scope), values) == ("o", {"n": 3, "dtype": "fp16"})
    assert str(read_context(program(PROGRAM), {"operation": "norm.op.decode"})[0]) == "o.decode"
    assert str(read_context(program(PROGRAM), {"operation": "o.quick"})[0]) == "o.decode"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 3.0),
        ("n", True),
        ("n", "3"),
        ("n", 0),
        ("n", 101),
        ("wide", 2**63),
        ("wide", -(2**63) - 1),
        ("r", 1.0),
        ("r", -0.1),
        ("r", math.nan),
        ("r", True),
        ("free", "1.0"),
        ("free", 10**400),
        ("flag", 1),
        ("flag", "true"),
        ("text", 3),
        ("ver", 2.1),
        ("ver", "not a version"),
        ("dtype", "fp32"),
        ("dtype", 16),
        ("n", [1]),
        ("n", {}),
    ],
)
def test_a_value_of_the_wrong_type_or_outside_its_range_is_an_error(field: str, value: object) -> None:
    with pytest.raises(ContextError, match=f"`{field}`|`{value}`"):
        read(**{field: value})


def test_an_int_is_a_value_for_a_float_field_and_becomes_a_double() -> None:
    value = read(free=3)["free"]
    assert (value, type(value)) == (3.0, float)
    assert read(r=0)["r"] == 0.0


def test_the_ends_of_a_range_belong_to_it() -> None:
    assert read(n=1) == {"n": 1}
    assert read(n=100) == {"n": 100}


def test_null_is_absent() -> None:
    assert read(n=3, text=None) == {"n": 3}


def test_an_unknown_key_is_an_error_with_a_suggestion() -> None:
    assert "did you mean `flag`" in problem(flagg=True)
    assert "unknown field `zzzzzzzz`" in problem(zzzzzzzz=None)


def test_an_unknown_operation_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(ContextError, match=r"unknown operation `o.decod`; did you mean `o.decode`"):
        read_context(program(PROGRAM), {"operation": "o.decod"})
    with pytest.raises(ContextError, match="names its operation"):
        read_context(program(PROGRAM), {"n": 3})
    with pytest.raises(ContextError, match="a string"):
        read_context(program(PROGRAM), {"operation": 3})


def test_a_field_and_its_alias_may_agree_but_not_differ() -> None:
    assert read(n=3, count=3) == {"n": 3}
    assert read(n=3, count=None) == {"n": 3}
    with pytest.raises(ContextError, match="`n` and `count` are the same field, with two values: 3 and 4"):
        read(n=3, count=4)


def test_a_value_in_the_context_wins_over_the_device() -> None:
    made = program(PROGRAM)
    assert read_context(made, {"operation": "o"}, "gpu")[1] == {"n": 7, "text": "gpu"}
    assert read_context(made, {"operation": "o", "count": 9}, "gpu")[1] == {"n": 9, "text": "gpu"}
    with pytest.raises(ContextError, match="unknown device `gpv`; did you mean `gpu`"):
        read_context(made, {"operation": "o"}, "gpv")


# ---------------------------------------------------------------- defaults


def test_literal_and_derived_defaults_are_filled_in_the_order_of_their_reading() -> None:
    values = completed(n=3)
    assert (values["len"], values["m"], values["big"], values["deep"]) == (1, 3, 9, 12)


def test_a_given_value_keeps_the_default_away() -> None:
    assert completed(n=3, m=5)["m"] == 5
    assert completed(n=3, m=5)["deep"] == 14


def test_a_derived_default_outside_its_range_leaves_the_field_absent_with_a_note() -> None:
    proof = decided(PROGRAM, {"n": 80})
    assert "m" not in proof.values
    assert "deep" not in proof.values  # what reads it is unknown, so absent as well
    assert any("`m`" in note and "80" in note for note in proof.notes)


def test_an_unknown_default_leaves_the_field_absent() -> None:
    assert "broken" not in completed(n=3)
    assert completed(n=3, zero=2)["broken"] == 1


def test_a_default_fills_a_needed_field_and_without_one_it_is_missed() -> None:
    assert completed(n=3)["len"] == 1
    with pytest.raises(ContextError, match=r"`o` needs `n`: give n \(int in 1..100\)"):
        completed()


def test_has_is_true_where_a_default_fills() -> None:
    text = "field n: int = 3 field m: int operation o { optional n, m } kernel k.a for o { require "
    assert decided(text + "has(n) and not has(m) }", {}).kernel == "k.a"


# ---------------------------------------------------------------- asserted views


def test_an_asserted_view_fills_in_its_conjuncts_through_groups_and_defines() -> None:
    values = completed("o.decode", n=3)
    assert (values["phase"], values["len"], values["dtype"], values["flag"]) == ("decode", 1, "fp16", False)


def test_a_bare_bool_is_filled_in_as_true() -> None:
    assert completed("o.strict", n=6)["flag"] is True


def test_given_values_stay_and_must_then_fit_the_view() -> None:
    message = problem(operation="o.decode", phase="prefill")
    assert message.startswith("`o.decode` wants `phase == decode`, got phase = prefill: give phase = decode, or name")
    assert "`len == 1`, got len = 2" in problem(operation="o.decode", len=2)


def test_the_view_is_read_after_the_defaults() -> None:
    text = """
    field n: int  field m: int = n
    operation o { optional n, m  view v when m > 3  view u when m == 9 }
    kernel k.a for o { }
    """
    assert decided(text, {"operation": "o.v", "n": 4}).kernel == "k.a"
    failed = decided(text, {"operation": "o.v", "n": 3})
    assert failed.error is not None
    assert failed.error.code == "invalid_context"
    assert "wants `m > 3`, got m = 3" in failed.error.message
    assert decided(text, {"operation": "o.u", "n": 4}).values["m"] == 9  # filled in before its default


def test_a_view_that_cannot_be_decided_says_what_to_give() -> None:
    text = "field n: int operation o { optional n view v when n > 3 } kernel k.a for o { }"
    failed = decided(text, {"operation": "o.v"})
    assert failed.error is not None
    assert "got n = nothing: give `n`" in failed.error.message
    assert failed.kernel is None
    assert failed.verdicts == {}


def test_a_conjunct_of_another_form_fills_nothing() -> None:
    text = "field n: int operation o { optional n view v when n in {3} or n == 3 } kernel k.a for o { }"
    assert decided(text, {"operation": "o.v"}).error is not None
    assert decided(text, {"operation": "o.v", "n": 3}).kernel == "k.a"


def test_a_call_may_be_in_several_views() -> None:
    text = """
    field n: int
    operation o { needs n view small when n < 10 view even when n % 2 == 0 }
    kernel k.a for o { }
    """
    assert decided(text, {"n": 4}).views == ("small", "even")

"""Sets of one dimension: exact at the edges of ints, doubles and versions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st
from packaging.version import Version

from layerzero.check.expressions import Type
from layerzero.regions.sets import Members, ValueSet, double_at, everything_of, interval, matching, ordered, ordinal

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite)
def test_a_double_comes_back_from_its_place(number: float) -> None:
    assert double_at(ordinal(number)) == number


@given(finite, finite)
def test_places_keep_the_order_of_doubles(one: float, other: float) -> None:
    assert (ordinal(one) < ordinal(other)) == (one < other)


def test_neighbouring_doubles_have_neighbouring_places() -> None:
    assert ordinal(math.nextafter(1.0, 2.0)) == ordinal(1.0) + 1
    assert ordinal(-0.0) == ordinal(0.0) == 0


@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", ">="])
@given(constant=finite | st.integers(-(2**63), 2**63 - 1), value=finite)
def test_doubles_compare_with_a_constant_by_mathematical_value(operator: str, constant: float, value: float) -> None:
    expected = eval(f"value {operator} constant")
    assert matching("float", operator, constant).contains(value) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", ">="])
@given(constant=finite | st.integers(-(2**63), 2**63 - 1), value=st.integers(-(2**63), 2**63 - 1))
def test_ints_compare_with_a_constant_by_mathematical_value(operator: str, constant: float, value: int) -> None:
    expected = eval(f"value {operator} constant")
    assert matching("int", operator, constant).contains(value) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", ">="])
def test_versions_compare_by_pep_440(operator: str) -> None:
    known = [Version(text) for text in ("1.0", "2.9", "2.10rc1", "2.10", "2.10.post1", "3!0")]
    for constant in known:
        for value in known:
            assert matching("version", operator, constant).contains(value) == eval(f"value {operator} constant")  # type: ignore[arg-type]


def test_an_int_beside_its_nearest_double_is_not_that_double() -> None:
    assert matching("float", "==", 2**53 + 1).empty
    assert not matching("float", "<", 2**53 + 1).intersect(matching("float", ">=", 2**53)).empty


def test_spans_that_touch_become_one() -> None:
    assert ordered("int", [(5, 8), (1, 3), (3, 5), (7, 9)]).spans == ((1, 9),)


def test_the_complement_of_everything_is_nothing() -> None:
    for kind in ("int", "float", "version"):
        everything = interval(kind)  # type: ignore[arg-type]
        assert everything.complement().empty
        assert everything.complement().complement() == everything


def test_an_open_end_leaves_the_bound_out() -> None:
    assert interval("int", 1, 4, high_open=True).hull == (1, 3)
    assert interval("float", 0, 2, high_open=True).hull[1] == math.nextafter(2.0, 0.0)
    assert everything_of(Type("float", low=0, high=1, high_open=True)).contains(0.0)


def test_strings_that_are_left_out() -> None:
    others = Members(frozenset({"bank"}), others=True)
    assert others.contains("shop") and not others.contains("bank")
    assert others.intersect(Members(frozenset({"bank", "shop"}))) == Members(frozenset({"shop"}))
    assert others.complement() == Members(frozenset({"bank"}))


def test_absence_is_an_element_like_any_other() -> None:
    present = ValueSet(interval("int", 1, 3))
    maybe = ValueSet(interval("int", 2, 5), absent=True)
    assert (present & maybe) == ValueSet(interval("int", 2, 3))
    assert (maybe - present) == ValueSet(interval("int", 4, 5), absent=True)
    assert (present | maybe) == ValueSet(interval("int", 1, 5), absent=True)


SPANS = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), max_size=4)
ints = st.builds(lambda spans, *flags: ValueSet(ordered("int", spans), *flags), SPANS, st.booleans(), st.booleans())
words = st.builds(
    lambda values, others, absent: ValueSet(Members(values, others), absent),
    st.frozensets(st.sampled_from("abc")),
    st.booleans(),
    st.booleans(),
)


@given(st.tuples(ints, ints) | st.tuples(words, words))
def test_a_set_is_within_another_or_meets_it_as_the_difference_and_the_intersection_say(
    pair: tuple[ValueSet, ValueSet],
) -> None:
    one, other = pair
    assert (one <= other) == (one - other).empty
    assert one.meets(other) == (not (one & other).empty)

"""Section 3 as conditions in text: every operator, its unknowns, and the conjunct that fails."""

from __future__ import annotations

import pytest
from packaging.version import Version

from layerzero.semantics.evaluate import Lookups, missing, smallest_failure, values_read
from layerzero.semantics.values import UNKNOWN
from tests.unit.semantics.build import condition, value_of


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("p and q", {"p": True, "q": True}, True),
        ("p and q", {"p": False}, False),
        ("p and q", {"p": True}, UNKNOWN),
        ("p or q", {"q": True}, True),
        ("p or q", {"q": False}, UNKNOWN),
        ("not p", {"p": False}, True),
        ("not p", {}, UNKNOWN),
        ("p or q and p", {"p": True, "q": False}, True),  # `and` binds tighter
        ("not p and q", {"p": True, "q": False}, False),  # `not` binds tighter than `and`
        ("1 <= a <= 5", {"a": 5}, True),
        ("1 <= a <= 5", {"a": 6}, False),
        ("a < b < 5", {"a": 9, "b": 3}, False),
        ("a < b < 5", {"b": 7}, False),  # the second pair is false whatever a is
        ("a < b < 5", {"b": 3}, UNKNOWN),
        ("a in {1, 5..9}", {"a": 7}, True),
        ("a in {1, 5..9}", {"a": 4}, False),
        ("a not in {1, 5..9}", {"a": 4}, True),
        ("a in {1, 5..9}", {}, UNKNOWN),
        ("a in {b, 5}", {"a": 5}, True),
        ("a in {b, 5}", {"a": 6}, UNKNOWN),
        ("a in 1..4", {"a": 4}, True),
        ("a in 1..<4", {"a": 4}, False),
        ("a in 80..", {"a": 80}, True),
        ("a in ..80", {"a": 81}, False),
        ("a not in 1..4", {"a": 0}, True),
        ('s in {"u", "w"}', {"s": "w"}, True),
        ("e in {red, blue}", {"e": "green"}, False),
        ("e == scarlet", {"e": "red"}, True),
        ("e == g", {"e": "green", "g": "green"}, True),  # different enums compare by member name
        ("e == g", {"e": "green", "g": "grey"}, False),
        ("e != red", {}, UNKNOWN),
        ("p == q", {"p": False, "q": False}, True),
        ('s like "a*"', {"s": "abc"}, True),
        ('s not like "a*"', {"s": "abc"}, False),
        ('s like "a*"', {}, UNKNOWN),
        ("a + b * 2 == 7", {"a": 1, "b": 3}, True),
        ("a - b - 1 == 0", {"a": 3, "b": 2}, True),  # left-associative
        ("-a == 3", {"a": -3}, True),
        ("-a % 3 == 1", {"a": 2}, True),  # (-a) % 3
        ("a % b == 0", {"a": 4, "b": 0}, UNKNOWN),
        ("b == 0 or a % b == 0", {"a": 4, "b": 0}, True),
        ("a * a > 0", {"a": 2**32}, UNKNOWN),
        ("min(a, b) == 2 and max(a, b) == 3", {"a": 3, "b": 2}, True),
        ("min(a, b) == 2", {"a": 2}, UNKNOWN),
        ("(a if p else b) == 2", {"a": 2, "p": True}, True),
        ("(a if p else b) == 2", {"b": 2, "p": False}, True),
        ("(a if p else a) == 2", {"a": 2}, UNKNOWN),  # unknown where its condition is
        ("(a if p else x) == 9007199254740992", {"a": 2**53 + 1, "p": True}, True),  # a double
        ("has(a)", {"a": 0}, True),
        ("has(a)", {}, False),
        ("not has(a) or a > 3", {}, True),
        ("a == x", {"a": 2**53 + 1, "x": 2.0**53}, False),
        ("x // 2 == 3.0", {"x": 7.5}, True),
        ("x % 0.0 == 1.0", {"x": 7.5}, UNKNOWN),
        ('v >= "2.9"', {"v": Version("2.10")}, True),
        ("v > w", {"v": Version("2.10"), "w": Version("2.9")}, True),
        ('v in {"1.0", "2.0"}', {"v": Version("1")}, True),
    ],
)
def test_conditions(text: str, values: dict[str, object], wanted: object) -> None:
    assert value_of(text, **values) is wanted  # type: ignore[arg-type]


def failing(text: str, **values: object) -> str:
    return smallest_failure(condition(text), Lookups(values)).span.text  # type: ignore[arg-type]


def test_the_first_false_conjunct_is_named() -> None:
    assert failing("a > 1 and b > 1 and i > 1", a=2, b=0, i=0) == "b > 1"


def test_false_is_preferred_to_unknown() -> None:
    assert failing("a > 1 and b > 1", b=0) == "b > 1"
    assert failing("a > 1 and b > 1", b=5) == "a > 1"


def test_groups_are_opened_and_other_operators_are_not() -> None:
    assert failing("p and (a > 1 and b > 1)", p=True, a=5, b=0) == "b > 1"
    assert failing("p and (a > 1 or b > 1)", p=True, a=0, b=0).strip("()") == "a > 1 or b > 1"
    assert failing("1 <= a <= 5 and p", a=9, p=True) == "1 <= a <= 5"
    assert failing("not (p and q)", p=True, q=True) == "not (p and q)"


def test_what_was_read_is_spelt_as_in_conditions() -> None:
    got = values_read(condition("a + b > 3 and has(s)"), Lookups({"a": 1}))
    assert got == {"a": 1, "b": None, "s": None}


def test_missing_names_only_what_left_the_answer_open() -> None:
    both = condition("(p and a > 1) or q")
    assert missing(both, Lookups({"p": False})) == ("q",)
    assert missing(both, Lookups({"p": True})) == ("a", "q")
    assert missing(both, Lookups({"q": True})) == ()
    assert missing(condition("a // b == 1"), Lookups({"a": 1, "b": 0})) == ()
    assert missing(condition("(a if p else b) == 1"), Lookups({"p": True})) == ("a",)


def test_conditions_may_nest_as_deeply_as_the_checker_lets_them() -> None:
    text = "a > 0"
    for level in range(45):
        text = f"(a > {level} {'and' if level % 2 else 'or'} {text})"
    nested = condition(text)
    assert smallest_failure(nested, Lookups({"a": 100})) is not None
    assert value_of(text, a=100) is True
    assert missing(nested, Lookups({})) == ("a",)

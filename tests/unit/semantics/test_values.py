"""Section 3: Kleene logic, comparison by mathematical value, bounded arithmetic, versions, globs."""

from __future__ import annotations

import math
import random
import time

import pytest
from packaging.version import Version

from layerzero.semantics.values import (
    UNKNOWN,
    arithmetic,
    compare,
    conjunction,
    disjunction,
    extremum,
    negation,
    negative,
    within,
)
from layerzero.syntax.glob import GlobError, compile_glob, like

BIG = 2**63 - 1


def test_unknown_is_neither_true_nor_false() -> None:
    with pytest.raises(TypeError):
        bool(UNKNOWN)


def test_false_decides_a_conjunction_and_true_a_disjunction() -> None:
    assert conjunction([UNKNOWN, False]) is False
    assert conjunction([True, UNKNOWN]) is UNKNOWN
    assert conjunction([True, True]) is True
    assert disjunction([UNKNOWN, True]) is True
    assert disjunction([False, UNKNOWN]) is UNKNOWN
    assert disjunction([False, False]) is False
    assert negation(UNKNOWN) is UNKNOWN
    assert negation(True) is False


def test_int_and_float_compare_by_mathematical_value() -> None:
    assert compare("==", 2, 2.0) is True
    assert compare("<", 9007199254740992.0, 9007199254740993) is True  # equal as doubles
    assert compare("==", BIG, float(BIG)) is False  # the double is 2**63
    assert compare("<", -0.5, 0) is True


def test_versions_compare_by_pep_440_and_a_string_beside_one_becomes_one() -> None:
    assert compare(">", Version("2.10"), Version("2.9")) is True
    assert compare(">", Version("2.10"), "2.9") is True
    assert compare("<", "2.9", Version("2.10")) is True
    assert compare("==", Version("1.0"), "1") is True
    assert compare("<", Version("1.0rc1"), "1.0") is True
    assert compare(">", Version("2.0+cu12"), "2.0") is True
    assert compare("==", Version("1.0"), "not a version") is UNKNOWN


def test_arithmetic_floors_as_in_python() -> None:
    assert arithmetic("//", -7, 2) == -4
    assert arithmetic("%", -7, 2) == 1
    assert arithmetic("%", 7, -2) == -1
    assert arithmetic("//", -7.5, 2) == -4.0
    assert arithmetic("%", -7.5, 2) == 0.5


def test_int_with_float_gives_a_double() -> None:
    result = arithmetic("+", 1, 2.0)
    assert result == 3.0
    assert isinstance(result, float)
    assert arithmetic("+", 2**53 + 1, 0.0) == float(2**53)


@pytest.mark.parametrize("operator", ["//", "%"])
def test_division_by_zero_is_unknown(operator: str) -> None:
    assert arithmetic(operator, 1, 0) is UNKNOWN
    assert arithmetic(operator, 1.0, 0.0) is UNKNOWN
    assert arithmetic(operator, 1, -0.0) is UNKNOWN


def test_what_leaves_64_bits_or_the_doubles_is_unknown() -> None:
    assert arithmetic("+", BIG, 1) is UNKNOWN
    assert arithmetic("+", BIG - 1, 1) == BIG
    assert arithmetic("*", -(2**32), 2**31) == -(2**63)
    assert arithmetic("//", -(2**63), -1) is UNKNOWN
    assert negative(-(2**63)) is UNKNOWN
    assert arithmetic("*", 1e308, 10.0) is UNKNOWN
    assert arithmetic("//", 1e308, 1e-300) is UNKNOWN


def test_arithmetic_on_unknown_is_unknown() -> None:
    assert arithmetic("*", 0, UNKNOWN) is UNKNOWN
    assert extremum("min", [1, UNKNOWN]) is UNKNOWN
    assert negative(UNKNOWN) is UNKNOWN


def test_extrema_are_doubles_when_an_argument_is_one() -> None:
    assert extremum("max", [1, 5, 3]) == 5
    result = extremum("max", [5, 2.5])
    assert (result, type(result)) == (5.0, float)


def test_both_ends_of_a_range_count_unless_open() -> None:
    assert within(1, 1, 4, False) is True
    assert within(4, 1, 4, False) is True
    assert within(4, 1, 4, True) is False
    assert within(10**6, 80, None, False) is True
    assert within(79, 80, None, False) is False
    assert within(-5, None, 80, False) is True
    assert within(UNKNOWN, 1, 4, False) is UNKNOWN
    assert within(5, UNKNOWN, 4, False) is False


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*H100*", ["NVIDIA H100 80GB", "H100"], ["h100", "H10"]),
        ("a?c", ["abc", "a\nc", "a?c"], ["ac", "abbc"]),
        ("[ab]x", ["ax", "bx"], ["cx", "x", "abx"]),
        ("[!ab]x", ["cx", "!x"], ["ax"]),
        ("[0-9]*", ["7up"], ["up7", ""]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[!]a]", ["b"], ["]", "a"]),
        ("[a-]", ["a", "-"], ["b"]),
        (r"\*\?\[\\", ["*?[\\"], ["x?[\\"]),
        (r"[\]\-\\]", ["]", "-", "\\"], ["a"]),
        ("", [""], ["a"]),
        ("*", ["", "any.thing\n"], []),
        ("a**b", ["ab", "axxb"], ["a"]),
        ("*a*b", ["ab", "aab", "xaxb", "abab"], ["ba", "abx"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("ab*bc", ["abbc", "abxbc"], ["abc"]),
        ("a.c+", ["a.c+"], ["abc+", "a.cc"]),
        ("é*", ["école"], ["ecole"]),
    ],
)
def test_a_glob_matches_the_whole_string(pattern: str, matching: list[str], other: list[str]) -> None:
    assert [text for text in matching if not like(text, pattern)] == []
    assert [text for text in other if like(text, pattern)] == []


@pytest.mark.parametrize("pattern", ["[", "[ab", "a[!", "[]", "[!]", "[\\]", "[z-a]"])
def test_an_unclosed_or_backward_class_is_an_error(pattern: str) -> None:
    with pytest.raises(GlobError):
        compile_glob(pattern)


def _matches_plainly(pattern: str, text: str) -> bool:
    """The same without classes and escapes, by trying everything."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_matches_plainly(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and _matches_plainly(pattern[1:], text[1:])


def test_globs_agree_with_trying_everything() -> None:
    draw = random.Random(5)
    for _ in range(4000):
        pattern = "".join(draw.choices("ab*?", k=draw.randrange(7)))
        text = "".join(draw.choices("ab", k=draw.randrange(8)))
        assert like(text, pattern) is _matches_plainly(pattern, text), (pattern, text)


def test_a_glob_takes_linear_time() -> None:
    text = "a" * 50_000
    began = time.perf_counter()
    assert not like(text, "*a" * 40 + "*b")
    assert not like(text, "*[ab]?a" * 20 + "c")
    assert like(text, "*a" * 40)
    assert time.perf_counter() - began < 2.0


def test_nan_and_infinities_are_unknown_where_they_are_read() -> None:
    from tests.unit.semantics.build import value_of

    for value in (math.nan, math.inf, -math.inf):
        assert value_of("x > 0.0", x=value) is UNKNOWN
        assert value_of("x == x", x=value) is UNKNOWN
        assert value_of("has(x)", x=value) is True

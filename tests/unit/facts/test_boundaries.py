"""Which values of a field lie at and just past what conditions state."""

from __future__ import annotations

import pytest

from layerzero.check import load_text, require
from layerzero.check.expressions import Type
from layerzero.facts.boundaries import boundary_values, claimed_values

FIELDS = """
field n: int in 1..1024
field m: int in 1..1024 = n
field x: float in 0..
field kind: enum(a, b, c) = a
field on: bool = false
operation op { needs n  optional m, x, kind, on  fallback ref.op }
"""


def values(condition: str, name: str, **base: int) -> list[object]:
    program = require(load_text(f"{FIELDS} kernel ref.op for op {{ require {condition} }}", prelude=False))
    (requirement,) = program.kernels["ref.op"].requirements
    return list(boundary_values([requirement.condition], base)[name])


@pytest.mark.parametrize(
    ("condition", "name", "wanted"),
    [
        ("n <= 256 and n % 8 == 0", "n", {8, 12, 255, 256, 257, 264}),
        ("n <= 100 and n % 8 == 0", "n", {96, 100, 101, 104}),
        ("n in {64, 100..200}", "n", {63, 64, 65, 99, 100, 200, 201}),
        ("max(n, m) < 512", "m", {511, 512}),
        ("kind == b", "kind", {"a", "b", "c"}),
        ("not on", "on", {True, False}),
        ("has(x) and x > 0", "x", {None, 0.0, 0.5}),
    ],
)
def test_values_at_and_past_a_boundary(condition: str, name: str, wanted: set[object]) -> None:
    assert wanted <= set(values(condition, name))


def test_fields_that_are_compared_move_around_each_other() -> None:
    assert {4, 5, 3, 8} <= set(values("n % m == 0", "m", n=8, m=4))


def test_nothing_outside_of_the_declared_range() -> None:
    assert all(isinstance(n, int) and 1 <= n <= 1024 for n in values("n < 2 or n > 1023", "n"))


def test_what_is_not_limited_is_claimed_for_the_whole_range() -> None:
    assert claimed_values(Type("int", low=0, high=300)) == [0, 1, 3, 33, 257]
    assert claimed_values(Type("int", low=1, high=30)) == [1, 3]
    assert claimed_values(Type("enum", ("p", "q"))) == ["p", "q"]

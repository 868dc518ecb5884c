"""Words of a command line -> typed values."""

from __future__ import annotations

import argparse
from datetime import date

import pytest

from layerzero.check import program_from_text
from layerzero.check.expressions import FLOAT, INT, STRING, Type
from layerzero.check.program import Program, Scope
from layerzero.cli.given import fold, read_given, value
from layerzero.cli.grid import points, read_axes
from layerzero.cli.programs import day, package, split_paths
from layerzero.errors import ArgumentError, ContextError

TEXT = """
field n: int in 0..64Ki
field ratio: float
field name: string
field lib: version
field kind: enum(small, large)
alias count = n
alias tiny = small
device fast { n = 9, name = "the fast one" }
operation op { optional n, ratio, name, lib, kind  view big when n > 50  fallback ref.op }
kernel ref.op for op {}
"""


@pytest.fixture(scope="module")
def program() -> Program:
    return program_from_text(TEXT, prelude=False)


@pytest.mark.parametrize(
    ("type", "text", "wanted"),
    [
        (INT, "32Ki", 32768),
        (INT, "1_000", 1000),
        (INT, "-3", -3),
        (INT, "3.5", "3.5"),
        (INT, "0x10", "0x10"),
        (INT, "9" * 50, "9" * 50),
        (FLOAT, "1e-5", 1e-5),
        (FLOAT, "2", 2),
        (FLOAT, "nan", "nan"),
        (FLOAT, "inf", "inf"),
        (STRING, "null", None),
        (STRING, '"null"', "null"),
        (STRING, " spaces stay ", " spaces stay "),
        (STRING, "12", "12"),
        (Type("bool"), "true", True),
        (Type("bool"), "1", "1"),
    ],
)
def test_values_as_written(type: Type, text: str, wanted: object) -> None:
    found = value(type, text, "x")
    assert found == wanted and found.__class__ is wanted.__class__


def test_items_fold_from_left_to_right(program: Program) -> None:
    scope, values = read_given(program, ["op", "fast", "count=10", "kind=tiny", "operation=op.big"])
    assert scope == Scope("op", "big")
    assert values == {"n": 10, "name": "the fast one", "kind": "small"}
    assert read_given(program, ["op", "n=1", "fast"])[1]["n"] == 9
    assert "n" not in read_given(program, ["op", "fast", "n=null"])[1]
    assert read_given(program, ["op"], device="fast")[1]["n"] == 9


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("m=1", "unknown field `m`"),
        ("n=70000", "got 70000"),
        ('name="open', "is not a JSON string"),
        ("policies/x.lzp", "is a path, and stands before `--given`"),
        ("lib=one", "is a version"),
    ],
)
def test_items_that_cannot_be_read(program: Program, item: str, message: str) -> None:
    with pytest.raises(ContextError, match=message):
        fold(program, ["op", item])


def test_axes(program: Program) -> None:
    one, two, three = read_axes(program, ["n=1..2,8..32:*2,64", "fast", "kind=tiny,large"])
    assert one.values == (1, 2, 8, 16, 32, 64)
    assert two.values == ("fast",)
    assert three.shown == ("tiny", "large") and three.values == ("small", "large")
    assert len(list(points([one, two, three]))) == 12


@pytest.mark.parametrize("text", ["n=0..3000", "n=1..2001:1", "n=5..1", "n=1..5:0", "n=0..4:*2", "n=", "n=70000"])
def test_axes_that_cannot_be_read(program: Program, text: str) -> None:
    with pytest.raises(ArgumentError):
        read_axes(program, [text])


def test_a_grid_is_bounded(program: Program) -> None:
    with pytest.raises(ArgumentError, match="more than 20000"):
        read_axes(program, ["n=1..2000", "kind=small,large", "ratio=" + ",".join(map(str, range(6)))])


def test_options() -> None:
    assert package("Flash_Attn==2.8.3") == ("flash-attn", "2.8.3")
    assert day("2027-03-01") == date(2027, 3, 1)
    for read, text in (
        (package, "torch"),
        (package, "torch=new"),
        (package, "=1"),
        (day, "20270301"),
        (day, "2027-02-30"),
    ):
        with pytest.raises(argparse.ArgumentTypeError):
            read(text)


def test_paths_and_a_word() -> None:
    assert split_paths(["a.lzp", "x/y", "op"], "OPERATION") == (["a.lzp", "x/y"], "op")
    assert split_paths([], "OPERATION") == ([], None)
    with pytest.raises(ArgumentError, match="wanted PATHS and one OPERATION"):
        split_paths(["op", "other"], "OPERATION")

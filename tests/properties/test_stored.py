"""A checked program is the same after a trip through JSON, whatever it holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerzero.check import load, load_text, require
from layerzero.check.program import Program
from layerzero.check.stored import program_data, program_from_data


def returned(program: Program) -> Program:
    return program_from_data(json.loads(json.dumps(program_data(program))), program.texts)


@pytest.mark.parametrize("name", ["production.lzp", "canary.lzp", "serving.lzp"])
def test_an_example_policy_is_the_same_after_a_trip_through_json(name: str, root: Path) -> None:
    program = require(load(root / "policies" / "examples" / name))
    found = returned(program)
    assert found == program
    assert found.texts == program.texts
    assert [str(rule.span) for rule in found.rules] == [str(rule.span) for rule in program.rules]


def test_what_is_shared_is_written_once() -> None:
    chain = "\n".join(f"define d{n + 1} = d{n} and d{n}" for n in range(13))
    text = f"field flag: bool operation work {{ optional flag }} kernel r.x for work {{}} define d0 = flag {chain}"
    program = require(load_text(f"{text} deny r.x when d13", prelude=False))
    assert len(program_data(program)) < 200
    assert len(returned(program).rules) == 1

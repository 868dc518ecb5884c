"""The shipped catalogs and rules, compiled for several machines, decide as the interpreter does."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest
from packaging.version import Version

from layerzero.check import program_from_text
from layerzero.check.expressions import Constant, FieldValue, Value, walk
from layerzero.check.program import Field, Program, Scope
from layerzero.compiler import compile_program
from layerzero.compiler.matcher import build
from layerzero.semantics.environment import Environment
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Outcome

POLICY = """
policy "test"
lock flashinfer.* for attention.decode when kv_len >= 4Ki and dtype != fp32 as pin else choose
deny torch.* for attention when batch > 32 as many
boost torch.sdpa_flash by 1.5 for attention.prefill when 64 <= head_dim <= 128 as flash
order flash_attn > torch.* > * for attention when sm in 90..99 as hopper
"""
OFFLINE = Environment(assume_packages=True)


@cache
def program() -> Program:
    return program_from_text(POLICY)


@cache
def constants() -> dict[str, list[Value]]:
    """What conditions compare each field with, so that contexts lie near boundaries."""
    found: dict[str, list[Value]] = {}
    conditions = [r.condition for k in program().kernels.values() for r in k.requirements]
    conditions += [rule.condition for rule in program().rules if rule.condition is not None]
    conditions += [one for operation in program().operations.values() for one in operation.views.values()]
    for condition in conditions:
        parts = list(walk(condition))
        for one in parts:
            if isinstance(one, FieldValue):
                found.setdefault(one.name, []).extend(part.value for part in parts if isinstance(part, Constant))
    return found


def value(rng: random.Random, field: Field) -> Value:
    low, high = field.type.low, field.type.high
    match field.type.kind:
        case "bool":
            return rng.random() < 0.5
        case "enum":
            return rng.choice(field.type.members)
        case "int":
            near = [v for v in constants().get(field.name, []) if type(v) is int] or [1, 64]
            drawn = rng.choice(near) + rng.choice((-1, 0, 0, 1))
            return max(int(low) if low is not None else drawn, min(drawn, int(high) if high is not None else drawn))
        case "float":
            return float(low if low is not None else 0.0)
        case "version":
            return Version("2.4")
        case _:
            return "text"


def contexts(rng: random.Random, count: int, fixed: dict[str, Any]) -> list[tuple[str, dict[str, Value]]]:
    found = []
    for _ in range(count):
        operation = rng.choice(("attention", "attention", "attention", *program().operations))
        declared = program().operations[operation]
        names = [*declared.needs, *(name for name in declared.optional if rng.random() < 0.3)]
        values = {
            name: value(rng, program().fields[name]) for name in names if program().fields[name].type.kind != "version"
        }
        values = {**values, **{name: one for name, one in fixed.items() if one is not None}}
        found.append((operation, {name: one for name, one in values.items() if fixed.get(name, one) == one}))
    return found


@pytest.mark.parametrize("device", ["cpu", "t4", "h100", "mi300x", None])
def test_shipped_policies_decide_as_the_interpreter_does(device: str | None) -> None:
    given = program().devices[device].values if device is not None and device in program().devices else {}
    fixed = {name: given.get(name) for name in ("device", "device_name", "sm")} if given else {}
    matcher = build(compile_program(program(), OFFLINE, fixed))
    kernels = set()
    for operation, values in contexts(random.Random(f"shipped {device}"), 400, fixed):
        expected = Outcome.of(decide(program(), OFFLINE, Scope(operation), values))
        assert matcher.decide(operation, values) == expected, (operation, values)
        kernels.add(expected.kernel)
    assert len(kernels) > 3

"""Merged ranges: every value of the axes lies in rows that say what the interpreter decides."""

from __future__ import annotations

from datetime import date
from itertools import product

from layerzero.analysis.model import Model
from layerzero.analysis.ranges import Row, over_ranges
from layerzero.analysis.settle import outcome_of
from layerzero.check import program_from_text
from layerzero.check.program import Scope
from layerzero.regions.sets import ABSENT
from layerzero.regions.terms import FieldDimension, full
from layerzero.semantics.context import complete
from layerzero.semantics.environment import Environment
from layerzero.semantics.evaluate import Lookups, holds
from layerzero.semantics.interpret import decide

POLICY = """
field head_dim: int in 1..600
field v_head_dim: int in 1..1024 = head_dim
field dtype: enum(fp32, fp16, bf16)
field tenant: string
operation attention { needs head_dim, dtype  optional v_head_dim, tenant  view wide when v_head_dim > 256
  fallback plain.all }
kernel acme.decode for attention { priority 80  require dtype != fp32 and head_dim % 16 == 0 and v_head_dim <= 256 }
kernel flash.v2 for attention { priority 70  require head_dim <= 512 }
kernel plain.all for attention { priority 10  require dtype != fp32 }
deny flash.v2 when has(tenant) and tenant == "bank"
lock plain.all for attention.wide when head_dim in 300..310 as pinned else choose
"""
AXES = ("head_dim", "dtype", "tenant")


def holds_in(row: Row, values: dict[str, object]) -> bool:
    for dimension, allowed in row.sets.items():
        if not allowed.contains(values.get(dimension.name, ABSENT)):  # type: ignore[arg-type]
            return False
    if not row.besides:
        return True
    asked = program_from_text(f"{POLICY}\nboost plain.all by 2 when {row.besides} as asked", prelude=False)
    rule = next(rule for rule in asked.rules if rule.name == "asked")
    completed = complete(asked, Scope("attention"), values)  # type: ignore[arg-type]
    return holds(rule.condition, Lookups(completed.values)) is True


def test_every_value_is_in_a_row_that_is_right() -> None:
    program = program_from_text(POLICY, prelude=False)
    environment = Environment(assume_packages=True, call_kernels=False, today=date(2026, 6, 1))
    model = Model(program, program.operations["attention"], environment)
    axes = {one: full(one) for one in (FieldDimension(name, program.fields[name].type) for name in AXES)}
    found = over_ranges(model, Scope("attention"), {}, axes)
    assert found.gap is None and len(found.rows) < 25
    for head_dim, dtype, tenant in product((1, 16, 255, 256, 257, 272, 299, 304, 311, 512, 528, 600), ("fp32", "bf16"),
                                           ("bank", "shop", None)):  # fmt: skip
        values = {"head_dim": head_dim, "dtype": dtype, **({} if tenant is None else {"tenant": tenant})}
        proof = decide(program, environment, Scope("attention"), values)
        rows = [row for row in found.rows if holds_in(row, values)]
        assert rows and {row.outcome for row in rows} == {outcome_of(proof)}, values

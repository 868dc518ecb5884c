"""Fields of `swiglu` -> calls of `lz.swiglu`."""

from __future__ import annotations

from collections.abc import Mapping

from layerzero.check.expressions import Value
from layerzero.operations import swiglu
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import Drawing, whole
from layerzero.operations.inputs.rows import ROWS, cost, settle

__all__ = ["TYPICAL", "cost", "make", "settle"]

TYPICAL = ROWS


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs."""
    draw, shape = Drawing(values, seed), (whole(values, "rows"), whole(values, "hidden_size"))
    return swiglu.read(draw.operand(*shape), draw.operand(*shape))

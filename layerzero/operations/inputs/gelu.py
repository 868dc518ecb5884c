"""Fields of `gelu` -> calls of `lz.gelu`."""

from __future__ import annotations

from collections.abc import Mapping

from layerzero.check.expressions import Value
from layerzero.operations import gelu
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import Drawing, whole
from layerzero.operations.inputs.rows import ROWS, cost, settle

__all__ = ["TYPICAL", "cost", "make", "settle"]

TYPICAL = ROWS


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs."""
    draw, shape = Drawing(values, seed), (whole(values, "rows"), whole(values, "hidden_size"))
    return gelu.read(draw.operand(*shape), str(values["approximate"]))

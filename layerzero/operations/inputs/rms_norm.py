"""Fields of `rms_norm` -> calls of `lz.rms_norm`."""

from __future__ import annotations

from collections.abc import Mapping

from layerzero.check.expressions import Value
from layerzero.operations import rms_norm
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import Drawing, whole
from layerzero.operations.inputs.rows import ROWS, cost, settle_weights as settle

__all__ = ["TYPICAL", "cost", "make", "settle"]

TYPICAL = ROWS


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs."""
    draw, hidden = Drawing(values, seed), whole(values, "hidden_size")
    shape = (whole(values, "rows"), hidden)
    x = draw.operand(*shape)
    weight = draw.plain(hidden, dtype=values["weight_dtype"]) if values["has_weight"] else None
    residual = draw.operand(*shape) if values["has_residual"] else None
    eps = values.get("eps", 1e-6)
    assert isinstance(eps, float)
    return rms_norm.read(x, weight, eps, residual)

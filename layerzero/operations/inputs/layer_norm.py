"""Fields of `layer_norm` -> calls of `lz.layer_norm`."""

from __future__ import annotations

from collections.abc import Mapping

from layerzero.check.expressions import Value
from layerzero.operations import layer_norm
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import Drawing, whole
from layerzero.operations.inputs.rows import ROWS, cost, settle_weights as settle

__all__ = ["TYPICAL", "cost", "make", "settle"]

TYPICAL = ROWS


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs."""
    draw, hidden = Drawing(values, seed), whole(values, "hidden_size")
    x = draw.operand(whole(values, "rows"), hidden)
    weight = draw.plain(hidden, dtype=values["weight_dtype"]) if values["has_weight"] else None
    bias = draw.plain(hidden, dtype=values["weight_dtype"]) if values["has_bias"] else None
    eps = values.get("eps", 1e-5)
    assert isinstance(eps, float)
    return layer_norm.read(x, weight, bias, eps)

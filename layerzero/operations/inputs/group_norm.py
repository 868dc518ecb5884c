"""Fields of `group_norm` -> calls of `lz.group_norm`."""

from __future__ import annotations

from collections.abc import Mapping

from layerzero.check.expressions import Value
from layerzero.operations import group_norm
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import Drawing, whole
from layerzero.operations.inputs.rows import settle_weights as settle

__all__ = ["TYPICAL", "cost", "make", "settle"]

TYPICAL: Mapping[str, Value] = {"dtype": "fp32", "batch": 2, "channels": 8, "num_groups": 4, "spatial": 9}


def cost(values: Mapping[str, Value]) -> int:
    """See Inputs."""
    return whole(values, "batch") * whole(values, "channels") * whole(values, "spatial")


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs."""
    draw, channels = Drawing(values, seed), whole(values, "channels")
    x = draw.operand(whole(values, "batch"), channels, whole(values, "spatial"))
    weight = draw.plain(channels, dtype=values["weight_dtype"]) if values["has_weight"] else None
    bias = draw.plain(channels, dtype=values["weight_dtype"]) if values["has_bias"] else None
    eps = values.get("eps", 1e-5)
    assert isinstance(eps, float)
    return group_norm.read(x, whole(values, "num_groups"), weight, bias, eps)

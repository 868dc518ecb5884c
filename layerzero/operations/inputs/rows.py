"""What the norms and activations share: some rows of some columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from layerzero.check.expressions import Value
from layerzero.operations.inputs.drawing import in_memory, whole

ROWS: Mapping[str, Value] = {"dtype": "fp32", "rows": 5, "hidden_size": 64}
_FLOATS = ("fp64", "fp32", "fp16", "bf16")


def settle(values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
    """See Inputs; the calls take floats of 16 bits and more."""
    if values["dtype"] not in _FLOATS or values.get("weight_dtype", "fp32") not in _FLOATS:
        return None
    return in_memory(values)


def settle_weights(values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
    """The same where there may be a weight and a bias: without both, there is no dtype of them."""
    settled = settle(values, wished)
    if settled is None or settled.get("has_weight", True) or settled.get("has_bias", False):
        return settled
    if "weight_dtype" in wished:
        return None
    settled.pop("weight_dtype", None)
    return settled


def cost(values: Mapping[str, Value]) -> int:
    """See Inputs."""
    return whole(values, "rows") * whole(values, "hidden_size")

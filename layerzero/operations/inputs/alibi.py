"""Fields of `alibi` -> calls of `lz.alibi`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from layerzero.check.expressions import Value
from layerzero.operations import alibi
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import torch_device, torch_dtype, whole

TYPICAL: Mapping[str, Value] = {"dtype": "fp32", "q_heads": 4, "q_len": 5, "kv_len": 7}
_FLOATS = ("fp64", "fp32", "fp16", "bf16")


def settle(values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
    """See Inputs."""
    return dict(values) if values.get("dtype", "fp32") in _FLOATS else None


def cost(values: Mapping[str, Value]) -> int:
    """See Inputs."""
    return whole(values, "q_heads") * whole(values, "q_len") * whole(values, "kv_len")


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs; nothing is drawn."""
    heads, q_len, kv_len = (whole(values, name) for name in ("q_heads", "q_len", "kv_len"))
    return alibi.read(heads, q_len, kv_len, torch_dtype(values.get("dtype", "fp32")), torch_device(values))

"""Fields of `rope` -> calls of `lz.rope`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from layerzero.check.expressions import Value
from layerzero.operations import rope
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import Drawing, in_memory, torch_dtype, whole

TYPICAL: Mapping[str, Value] = {"dtype": "fp32", "batch": 2, "q_len": 7, "q_heads": 4, "head_dim": 64}
_FLOATS = ("fp64", "fp32", "fp16", "bf16")


def settle(values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
    """See Inputs; a table as wide as the head rotates all of it."""
    values = in_memory(values)
    if values["dtype"] not in _FLOATS or values.get("table_dtype", "fp32") not in _FLOATS:
        return None
    if values.get("tables") == "full":
        if "rotary_dim" in wished and values["rotary_dim"] != values["head_dim"]:
            return None
        values.pop("rotary_dim", None)
    if whole(values, "rotary_dim" if "rotary_dim" in values else "head_dim") % 2:
        return None  # pairs of columns are rotated
    return values


def cost(values: Mapping[str, Value]) -> int:
    """See Inputs."""
    return whole(values, "batch") * whole(values, "q_len") * whole(values, "q_heads") * whole(values, "head_dim")


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs."""
    draw, q_len, width = Drawing(values, seed), whole(values, "q_len"), whole(values, "rotary_dim")
    batch = whole(values, "batch")
    x = draw.operand(batch, q_len, whole(values, "q_heads"), whole(values, "head_dim"))
    rows = (batch, q_len) if values["per_sequence"] else (q_len,)
    angles = draw.plain(*rows, width if values["tables"] == "full" else width // 2, dtype="fp64") * 9
    dtype = torch_dtype(values["table_dtype"])
    return rope.read(x, angles.cos().to(dtype), angles.sin().to(dtype), values["interleaved"] is True)

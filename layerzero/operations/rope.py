"""`lz.rope`: rotary position embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.tensors import (
    check_device,
    check_flag,
    check_same_dtype,
    check_shape,
    check_tensor,
    common_fields,
    dtype_name,
    error,
    shape,
)

if TYPE_CHECKING:
    from torch import Tensor

OPERATION = "rope"

PARAMETERS: Parameters = {
    "x": ParameterRole((*OPERAND, "dtype", "batch", "q_len", "q_heads", "head_dim"), ("backward",)),
    "cos": ParameterRole(
        ("rotary_dim", "tables", "table_dtype", "per_sequence", *OPERAND),
        ("partial_rotary", "full_tables", "mixed_tables", "per_sequence", "backward"),
    ),
    "sin": ParameterRole(OPERAND, ("backward",)),
    "interleaved": ParameterRole(("interleaved",), ("interleaved",)),
}


def read(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Call:
    """x [B,S,H,D] or [S,H,D]; cos and sin [S,W] or [B,S,W] (B or 1) for the very positions of x.

    W <= D/2 has one column per pair and rotates the first 2 W columns of x; W = D has one column per column. A table
    for more positions than x has is an error: which of them are meant is not for a kernel to guess.
    """
    check_flag("interleaved", interleaved)
    check_tensor("x", x, "[batch, seq, heads, head_dim] or [seq, heads, head_dim]", 3, 4)
    head_dim, q_len = x.shape[-1], x.shape[-3]
    batch = x.shape[0] if x.ndim == 4 else 1
    check_tensor("cos", cos, "[seq, width] or [batch, seq, width]", 2, *([3] if x.ndim == 4 else []))
    width = cos.shape[-1]
    if not (1 <= width <= head_dim // 2 or (width == head_dim and head_dim % 2 == 0)):
        raise error(
            "cos",
            f"a width of 1..{head_dim // 2} (a column per pair) or of an even head_dim (here {head_dim})",
            shape(cos),
        )
    wanted: list[tuple[int, ...]] = [(q_len, width)]
    if x.ndim == 4:
        wanted += [(one, q_len, width) for one in dict.fromkeys((batch, 1))]
    check_shape("cos", cos, *wanted, why=f", a row for each of the {q_len} positions of `x`")
    check_shape("sin", sin, tuple(cos.shape), why=", that of `cos`")
    for name, table in (("cos", cos), ("sin", sin)):
        check_device(name, table, x, "x")
    check_same_dtype("sin", sin, cos, "cos")
    rotary_dim = width if width == head_dim else 2 * width
    context = common_fields(dtype_name("x", x), x, cos, sin)
    context |= {
        "batch": batch,
        "q_len": q_len,
        "q_heads": x.shape[-2],
        "head_dim": head_dim,
        "rotary_dim": rotary_dim,
        "interleaved": interleaved,
        "tables": "full" if width == head_dim else "pairs",
        "table_dtype": dtype_name("cos", cos),
        "per_sequence": cos.ndim == 3,
    }
    return Call(OPERATION, context, (x, cos, sin), {"interleaved": True} if interleaved else {})

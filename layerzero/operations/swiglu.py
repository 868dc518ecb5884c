"""`lz.swiglu`: silu(gate) * up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.elementwise import row_fields
from layerzero.operations.tensors import check_device, check_same_dtype, check_shape, check_tensor

if TYPE_CHECKING:
    from torch import Tensor

OPERATION = "swiglu"

PARAMETERS: Parameters = {
    "gate": ParameterRole((*OPERAND, "dtype", "rows", "hidden_size", "packed"), ("backward",)),
    "up": ParameterRole((*OPERAND, "packed"), ("backward",)),
}


def read(gate: Tensor, up: Tensor) -> Call:
    """gate and up [..., hidden], of one shape, dtype and device."""
    check_tensor("gate", gate, "[..., hidden_size]", *range(1, 9))
    check_shape("up", up, tuple(gate.shape), why=", that of `gate`")
    check_same_dtype("up", up, gate, "gate")
    check_device("up", up, gate, "gate")
    context = row_fields("gate", gate, up)
    context["packed"] = _packed(gate, up)
    return Call(OPERATION, context, (gate, up), {})


def _packed(gate: Tensor, up: Tensor) -> bool:
    """Whether the two are `x.chunk(2, -1)` of a contiguous x, as a fused projection leaves them."""
    size = gate.shape[-1]
    if up.storage_offset() != gate.storage_offset() + size or gate.stride() != up.stride() or gate.stride(-1) != 1:
        return False
    step = 2 * size
    for length, stride in zip(reversed(gate.shape[:-1]), reversed(gate.stride()[:-1]), strict=True):
        if length != 1 and stride != step:
            return False
        step *= length
    return gate.numel() > 0 and gate.untyped_storage().data_ptr() == up.untyped_storage().data_ptr()

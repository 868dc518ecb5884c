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
    "gate": ParameterRole((*OPERAND, "dtype", "rows", "hidden_size"), ("backward",)),
    "up": ParameterRole(OPERAND, ("backward",)),
}


def read(gate: Tensor, up: Tensor) -> Call:
    """gate and up [..., hidden], of one shape, dtype and device."""
    check_tensor("gate", gate, "[..., hidden_size]", *range(1, 9))
    check_shape("up", up, tuple(gate.shape), why=", that of `gate`")
    check_same_dtype("up", up, gate, "gate")
    check_device("up", up, gate, "gate")
    return Call(OPERATION, row_fields("gate", gate, up), (gate, up), {})

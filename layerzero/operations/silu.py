"""`lz.silu`: x * sigmoid(x)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.elementwise import row_fields

if TYPE_CHECKING:
    from torch import Tensor

OPERATION = "silu"

PARAMETERS: Parameters = {"x": ParameterRole((*OPERAND, "dtype", "rows", "hidden_size"), ("backward",))}


def read(x: Tensor) -> Call:
    """x [..., hidden]."""
    return Call(OPERATION, row_fields("x", x), (x,), {})

"""`lz.gelu`: x * P(N(0,1) <= x), exact or with the tanh approximation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.elementwise import row_fields
from layerzero.operations.tensors import check_choice

if TYPE_CHECKING:
    from torch import Tensor

OPERATION = "gelu"

PARAMETERS: Parameters = {
    "x": ParameterRole((*OPERAND, "dtype", "rows", "hidden_size"), ("backward",)),
    "approximate": ParameterRole(("approximate",), ("tanh",)),
}


def read(x: Tensor, approximate: str = "none") -> Call:
    """x [..., hidden]."""
    check_choice("approximate", approximate, ("none", "tanh"))
    context = row_fields("x", x)
    context["approximate"] = approximate
    return Call(OPERATION, context, (x,), {} if approximate == "none" else {"approximate": approximate})

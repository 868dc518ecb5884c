"""`lz.layer_norm`: (x - mean) / sqrt(var + eps) * weight + bias over the last dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.norms import norm_fields
from layerzero.operations.tensors import check_tensor, error, given, shape

if TYPE_CHECKING:
    from torch import Tensor

OPERATION = "layer_norm"

PARAMETERS: Parameters = {
    "x": ParameterRole((*OPERAND, "dtype", "rows", "hidden_size"), ("backward",)),
    "weight": ParameterRole(("has_weight", "weight_dtype", *OPERAND), ("weight", "mixed_weight", "backward")),
    "bias": ParameterRole(("has_bias", "weight_dtype", *OPERAND), ("bias", "mixed_weight", "backward")),
    "eps": ParameterRole(("eps",)),
}


def read(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Call:
    """x [..., hidden], weight and bias [hidden], of one dtype."""
    check_tensor("x", x, "[..., hidden_size]", *range(1, 9))
    hidden = x.shape[-1]
    if hidden < 1:
        raise error("x", "at least one column", shape(x))
    context = norm_fields(x, hidden, "column of `x`", eps, weight, bias)
    context["rows"] = x.numel() // hidden
    context["hidden_size"] = hidden
    context["has_bias"] = bias is not None
    return Call(OPERATION, context, (x,), given(weight=(weight, None), bias=(bias, None), eps=(eps, 1e-5)))

"""`lz.rms_norm`: x / sqrt(mean(x^2) + eps) * weight, and the fused residual add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.norms import norm_fields
from layerzero.operations.tensors import (
    check_device,
    check_same_dtype,
    check_shape,
    check_tensor,
    error,
    given,
    shape,
)

if TYPE_CHECKING:
    from torch import Tensor

OPERATION = "rms_norm"

PARAMETERS: Parameters = {
    "x": ParameterRole((*OPERAND, "dtype", "rows", "hidden_size"), ("backward",)),
    "weight": ParameterRole(("has_weight", "weight_dtype", *OPERAND), ("weight", "mixed_weight", "backward")),
    "eps": ParameterRole(("eps",)),
    "residual": ParameterRole(("has_residual", *OPERAND), ("residual", "backward")),
}


def read(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None) -> Call:
    """x [..., hidden], weight [hidden], residual as x; with it the call gives (norm of the sum, the sum)."""
    check_tensor("x", x, "[..., hidden_size]", *range(1, 9))
    hidden = x.shape[-1]
    if hidden < 1:
        raise error("x", "at least one column", shape(x))
    if residual is not None:
        check_shape("residual", residual, tuple(x.shape))
        check_same_dtype("residual", residual, x, "x")
        check_device("residual", residual, x, "x")
    context = norm_fields(x, hidden, "column of `x`", eps, weight, None, *(() if residual is None else (residual,)))
    context["rows"] = x.numel() // hidden
    context["hidden_size"] = hidden
    context["has_residual"] = residual is not None
    kwargs = given(weight=(weight, None), eps=(eps, 1e-6), residual=(residual, None))
    return Call(OPERATION, context, (x,), kwargs)


def answers(x: Tensor, weight: Tensor | None, eps: float, residual: Tensor | None) -> list[Tensor]:
    """Uninitialised answers of the right shapes, for a compiler."""
    return [x.new_empty(x.shape) for _ in range(1 if residual is None else 2)]

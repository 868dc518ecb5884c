"""`lz.group_norm`: each sample standardised over groups of its channels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.norms import norm_fields
from layerzero.operations.tensors import check_count, check_tensor, error, given, shape

if TYPE_CHECKING:
    from torch import Tensor

OPERATION = "group_norm"

PARAMETERS: Parameters = {
    "x": ParameterRole((*OPERAND, "dtype", "batch", "channels", "spatial"), ("backward",)),
    "num_groups": ParameterRole(("num_groups",)),
    "weight": ParameterRole(("has_weight", "weight_dtype", *OPERAND), ("weight", "mixed_weight", "backward")),
    "bias": ParameterRole(("has_bias", "weight_dtype", *OPERAND), ("bias", "mixed_weight", "backward")),
    "eps": ParameterRole(("eps",)),
}


def read(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Call:
    """x [N, C, ...], weight and bias [C]; `num_groups` divides C."""
    check_tensor("x", x, "[batch, channels, ...]", *range(2, 9))
    batch, channels = x.shape[:2]
    spatial = math.prod(x.shape[2:])
    if channels < 1 or spatial < 1:
        raise error("x", "at least one channel of at least one element", shape(x))
    check_count("num_groups", num_groups, f"a divisor of the {channels} channels of `x`")
    if channels % num_groups:
        raise error("num_groups", f"a divisor of the {channels} channels of `x`", num_groups)
    context = norm_fields(x, channels, "channel of `x`", eps, weight, bias)
    context["batch"] = batch
    context["channels"] = channels
    context["spatial"] = spatial
    context["num_groups"] = num_groups
    context["has_bias"] = bias is not None
    return Call(OPERATION, context, (x, num_groups), given(weight=(weight, None), bias=(bias, None), eps=(eps, 1e-5)))

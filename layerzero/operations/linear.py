"""`lz.linear`: x weight^T + bias, with a dense or a quantised weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.tensors import (
    EIGHT_BIT_FLOATS,
    FLOATS,
    check_device,
    check_same_dtype,
    check_shape,
    check_tensor,
    common_fields,
    dtype_name,
    error,
    given,
    shape,
)

if TYPE_CHECKING:
    from torch import Tensor

    from layerzero.backends.weights import QuantisedWeight

OPERATION = "linear"

PARAMETERS: Parameters = {
    "x": ParameterRole((*OPERAND, "dtype", "rows", "in_features"), ("backward",)),
    "weight": ParameterRole(
        (
            *OPERAND,
            *("out_features", "weight_format", "weight_dtype", "weight_bits"),
            *("group_size", "scales", "has_group_index", "plain_zeros"),
        ),
        ("int8", "fp8", "gptq", "awq", "mixed_weight", "group_index", "plain_zeros", "backward"),
    ),
    "bias": ParameterRole(("has_bias", *OPERAND), ("bias", "backward")),
}


def read(x: Tensor, weight: Tensor | QuantisedWeight, bias: Tensor | None = None) -> Call:
    """x [..., in]; weight a tensor [out, in] or a quantised weight; bias [out] of the dtype of the answer.

    Raises:
        ArgumentError: An argument does not fit.
    """
    check_tensor("x", x, "[..., in_features]", *range(1, 9))
    dtype = dtype_name("x", x, FLOATS + EIGHT_BIT_FLOATS)
    import torch

    if isinstance(weight, torch.Tensor):
        check_tensor("weight", weight, "[out_features, in_features]", 2)
        check_device("weight", weight, x, "x")
        size, operands = (weight.shape[0], weight.shape[1]), [weight]
        fields: dict[str, Any] = {"weight_format": "dense", "weight_dtype": dtype_name("weight", weight)}
    else:
        size, operands, fields = _quantised(weight, x)
    if min(size) < 1 or x.shape[-1] != size[1]:
        raise error(
            "weight", f"in_features {x.shape[-1]}, those of `x`, and at least one output", f"shape {list(size)}"
        )
    if bias is not None:
        check_shape("bias", bias, (size[0],), why=", one per output")
        check_device("bias", bias, x, "x")
        if dtype in EIGHT_BIT_FLOATS:
            dtype_name("bias", bias, ("bf16",))
        else:
            check_same_dtype("bias", bias, x, "x")
        operands.append(bias)
    context = common_fields(dtype, x, *operands)
    context |= fields
    context |= {
        "rows": x.numel() // x.shape[-1],
        "in_features": size[1],
        "out_features": size[0],
        "has_bias": bias is not None,
    }
    return Call(OPERATION, context, (x, weight), given(bias=(bias, None)))


def _quantised(weight: Any, x: Tensor) -> tuple[tuple[int, int], list[Tensor], dict[str, Any]]:
    """(out, in), the large tensors, and the fields of a quantised weight whose parts fit each other."""
    import torch

    from layerzero.backends.weights import QUANTISED, AWQWeight, Fp8Weight, GPTQWeight, Int8Weight

    if not isinstance(weight, QUANTISED):
        names = ", ".join(one.__name__ for one in QUANTISED)
        raise error("weight", f"a tensor or one of {names}", type(weight).__name__)
    for name, tensor in weight.tensors.items():
        check_device(f"weight.{name}", tensor, x, "x")
    fields: dict[str, Any] = {"weight_format": weight.format, "weight_bits": weight.bits}
    if isinstance(weight, Int8Weight | Fp8Weight):
        check_tensor("weight.values", weight.values, "[out_features, in_features]", 2)
        out = weight.values.shape[0]
        wanted = ("int8",) if isinstance(weight, Int8Weight) else EIGHT_BIT_FLOATS
        fields["weight_dtype"] = dtype_name("weight.values", weight.values, wanted)
        check_shape("weight.scale", weight.scale, *([(out,)] if isinstance(weight, Int8Weight) else [(), (out,)]))
        dtype_name("weight.scale", weight.scale)
        fields["scales"] = "channel" if weight.scale.ndim else "tensor"
        return weight.shape, [weight.values], fields
    if weight.bits not in (2, 4, 8):
        raise error("weight.bits", "2, 4 or 8", weight.bits)
    for name in ("qweight", "qzeros"):
        check_tensor(f"weight.{name}", getattr(weight, name), "int32, 2 dimensions", 2)
        if getattr(weight, name).dtype != torch.int32:
            raise error(f"weight.{name}", "dtype torch.int32", getattr(weight, name).dtype)
    check_tensor("weight.scales", weight.scales, "[groups, out_features]", 2)
    dtype_name("weight.scales", weight.scales)
    (out, inputs), groups = weight.shape, weight.scales.shape[0]
    check_shape("weight.scales", weight.scales, (groups, out), why=", [groups, out_features]")
    check_shape("weight.qzeros", weight.qzeros, (groups, out * weight.bits // 32), why=", of the groups of `scales`")
    index = weight.group_index if isinstance(weight, GPTQWeight) else None
    if index is None and (groups < 1 or inputs % groups):
        raise error("weight.scales", f"a number of groups that divides the {inputs} inputs", shape(weight.scales))
    if index is not None:
        check_shape("weight.group_index", index, (inputs,), why=", a group per input")
        if index.dtype != torch.int32:
            raise error("weight.group_index", "dtype torch.int32", index.dtype)
    if isinstance(weight, GPTQWeight):
        if weight.zero_offset not in (0, 1):
            raise error("weight.zero_offset", "0 or 1", weight.zero_offset)
        fields["plain_zeros"] = weight.zero_offset == 0
    assert isinstance(weight, GPTQWeight | AWQWeight)
    fields |= {"scales": "group", "group_size": weight.group_size, "has_group_index": index is not None}
    return (out, inputs), [weight.qweight], fields


def answers(x: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Uninitialised answers of the right shapes, for a compiler; of dense weights."""
    import torch

    shape = (*x.shape[:-1], weight.shape[0])
    return [x.new_empty(shape, dtype=torch.bfloat16 if x.itemsize == 1 else x.dtype)]

"""What the norms share: weight and bias, one entry per normalised column or channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzero.check.expressions import Value
from layerzero.operations.tensors import (
    check_device,
    check_number,
    check_same_dtype,
    check_shape,
    common_fields,
    dtype_name,
)

if TYPE_CHECKING:
    from torch import Tensor


def norm_fields(
    x: Tensor, size: int, of: str, eps: float, weight: Tensor | None, bias: Tensor | None, *more: Tensor
) -> dict[str, Value]:
    """Check eps and the affine parameters, and read the fields of x and of them; `size` is the number of `of`."""
    check_number("eps", eps, "a number, at least 0", 0.0)
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None:
            check_shape(name, parameter, (size,), why=f", one per {of}")
            check_device(name, parameter, x, "x")
            dtype_name(name, parameter)
    if weight is not None and bias is not None:
        check_same_dtype("bias", bias, weight, "weight")
    affine = [t for t in (weight, bias) if t is not None]
    fields = common_fields(dtype_name("x", x), x, *affine, *more)
    fields["eps"] = float(eps)
    fields["has_weight"] = weight is not None
    fields["weight_dtype"] = dtype_name("weight", affine[0]) if affine else fields["dtype"]
    return fields

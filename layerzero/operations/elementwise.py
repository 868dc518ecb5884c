"""What the activations share: rows of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzero.check.expressions import Value
from layerzero.operations.tensors import check_tensor, common_fields, dtype_name

if TYPE_CHECKING:
    from torch import Tensor


def row_fields(argument: str, *tensors: Tensor) -> dict[str, Value]:
    """The fields of tensors of one shape [..., hidden], the first of which is `argument`."""
    x = tensors[0]
    check_tensor(argument, x, "[..., hidden_size]", *range(1, 9))
    fields = common_fields(dtype_name(argument, x), *tensors)
    columns = x.shape[-1]
    fields["rows"] = x.numel() // columns if columns else 0
    if columns:  # rows without columns are no rows
        fields["hidden_size"] = columns
    return fields

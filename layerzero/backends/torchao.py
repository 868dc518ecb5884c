"""torchao's quantised tensors, which are weights of torch.nn.functional.linear themselves."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import Tensor
from torch.nn import functional
from torchao.quantization import Int8Tensor

from layerzero.backends.weights import Int8Weight

# Weight -> the same numbers as torchao's tensor; the call casts the scales to the dtype of x.
_wrapped: WeakKeyDictionary[Int8Weight, Int8Tensor] = WeakKeyDictionary()


def int8(x: Tensor, weight: Int8Weight, bias: Tensor | None = None) -> Tensor:
    """Multiplies with the integers, cast at each call, and scales the sums."""
    wrapped = _wrapped.get(weight)
    if wrapped is None:
        wrapped = Int8Tensor(weight.values, weight.scale[:, None], [1, weight.shape[1]], weight.scale.dtype)
        _wrapped[weight] = wrapped
    return functional.linear(x, wrapped, bias)

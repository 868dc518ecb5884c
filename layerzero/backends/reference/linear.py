"""x weight^T + bias, the weight made dense first, in fp32 (fp64 for fp64) and rounded once."""

from __future__ import annotations

from torch import Tensor

from layerzero.backends.reference.precision import accumulator, result
from layerzero.backends.weights import QuantisedWeight


def linear(x: Tensor, weight: Tensor | QuantisedWeight, bias: Tensor | None = None) -> Tensor:
    """x [..., in], weight [out, in] -> [..., out]."""
    wide = accumulator(x.dtype)
    dense = weight.to(wide) if isinstance(weight, Tensor) else weight.dense(wide)
    out = x.to(wide) @ dense.T
    if bias is not None:
        out = out + bias.to(wide)
    return out.to(result(x.dtype))

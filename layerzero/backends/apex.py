"""NVIDIA Apex's norms: the autograd functions, with an eps and a weight of the dtype of the input."""

from __future__ import annotations

import torch  # noqa: F401 - first: the extension is linked against its libraries

# isort: split
import fused_layer_norm_cuda  # noqa: F401 - the extension, which a plain installation does not build
from apex.normalization.fused_layer_norm import FusedLayerNormAffineFunction, FusedRMSNormAffineFunction
from torch import Tensor


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Statistics in fp32."""
    out: Tensor = FusedLayerNormAffineFunction.apply(x, weight, bias, (x.shape[-1],), eps)
    return out


def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """Statistics in fp32."""
    out: Tensor = FusedRMSNormAffineFunction.apply(x, weight, (x.shape[-1],), eps)
    return out

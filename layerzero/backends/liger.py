"""Liger's Triton kernels, package liger-kernel, through the autograd functions that its modules use."""

from __future__ import annotations

from liger_kernel.ops import (
    LigerFusedAddRMSNormFunction,
    LigerFusedGateUpSiLUMulFunction,
    LigerGroupNormFunction,
    LigerLayerNormFunction,
    LigerRMSNormFunction,
    LigerRopeFunction,
    LigerSiLUMulFunction,
)
from torch import Tensor

from layerzero.backends.layouts import packed_halves


def rms_norm(
    x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """Statistics in fp32, the product with the weight in the dtype of x; gradients are written nowhere in place."""
    if residual is None:
        out: Tensor = LigerRMSNormFunction.apply(x, weight, eps, 0.0, "llama", False)
        return out
    normed, added = LigerFusedAddRMSNormFunction.apply(x, residual, weight, eps, 0.0, "llama", False)
    return normed, added


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Rows of any leading dimensions."""
    out: Tensor = LigerLayerNormFunction.apply(x, weight, bias, eps)
    return out


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """x [N,C,...]."""
    out: Tensor = LigerGroupNormFunction.apply(x, weight, bias, x.shape[1], num_groups, eps)
    return out


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The kernel turns queries and keys together and in place: a copy of x, and a key head that nobody reads."""
    turned = x.clone().view(-1, *x.shape[-3:])  # [B,S,H,D], also from [S,H,D]
    unused = turned.new_zeros(*turned.shape[:2], 1, x.shape[-1])
    q, k = turned.transpose(1, 2), unused.transpose(1, 2)
    out, _ = LigerRopeFunction.apply(q, k, cos, sin, None, 1, 2 * cos.shape[-1])
    answered: Tensor = out.transpose(1, 2).reshape(x.shape)
    return answered


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Two tensors."""
    out: Tensor = LigerSiLUMulFunction.apply(gate, up)
    return out


def packed_swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """The halves of one tensor."""
    out: Tensor = LigerFusedGateUpSiLUMulFunction.apply(packed_halves(gate))
    return out

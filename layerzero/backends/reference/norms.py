"""RMS, layer and group norm, with the statistics, weight and bias in fp32 (fp64 for fp64)."""

from __future__ import annotations

import torch
from torch import Tensor

from layerzero.backends.reference.precision import accumulator, result


def rms_norm(
    x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension; with `residual` also returns x + residual.

    The sum is normalised before it is rounded; the squares are taken in fp32, where fp16's 300 does not overflow.
    """
    wide = x.to(accumulator(x.dtype))
    if residual is not None:
        wide = wide + residual.to(wide.dtype)
    out = _scaled(wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps), weight).to(result(x.dtype))
    return out if residual is None else (out, wide.to(x.dtype))


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimension."""
    return _scaled(_standardised(x.to(accumulator(x.dtype)), eps), weight, bias).to(result(x.dtype))


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """x [N, C, ...] is standardised per sample over each of `num_groups` runs of C / num_groups channels."""
    wide = x.to(accumulator(x.dtype))
    grouped = wide.reshape(x.shape[0], num_groups, x[:1].numel() // num_groups if x.shape[0] else 0)
    normal = _standardised(grouped, eps).reshape(x.shape) if x.numel() else wide
    channels = (-1,) + (1,) * (x.ndim - 2)
    per_channel = [None if t is None else t.reshape(channels) for t in (weight, bias)]
    return _scaled(normal, *per_channel).to(result(x.dtype))


def _standardised(wide: Tensor, eps: float) -> Tensor:
    centred = wide - wide.mean(dim=-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dim=-1, keepdim=True) + eps)


def _scaled(normal: Tensor, weight: Tensor | None, bias: Tensor | None = None) -> Tensor:
    if weight is not None:
        normal = normal * weight.to(normal.dtype)
    return normal if bias is None else normal + bias.to(normal.dtype)

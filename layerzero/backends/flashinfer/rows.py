"""FlashInfer's norms, activation and rotary embedding."""

from __future__ import annotations

import flashinfer
import torch
from torch import Tensor

from layerzero.backends.layouts import packed_halves, rows
from layerzero.backends.rotation import cos_sin_cache, positions


def rms_norm(
    x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """A residual is added, and rounded, before: the fused kernel would write over both inputs."""
    added = x if residual is None else x + residual
    out: Tensor = flashinfer.rmsnorm(rows(added), weight, eps).view_as(x)
    return out if residual is None else (out, added)


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """bf16 rows, fp32 weight and bias."""
    out: Tensor = flashinfer.layernorm(rows(x), weight, bias, eps).view_as(x)
    return out


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """gate and up are the halves of one tensor, which is what the kernel reads."""
    out: Tensor = flashinfer.silu_and_mul(packed_halves(gate))
    return out


def rope(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """The kernel turns queries and keys together; a key head that nobody reads is turned along."""
    tokens = x.reshape(-1, x.shape[-2] * x.shape[-1])
    unused = tokens.new_empty(tokens.shape[0], x.shape[-1])
    out, _ = flashinfer.apply_rope_with_cos_sin_cache(
        positions(tokens, cos), tokens, unused, x.shape[-1], cos_sin_cache(cos, sin, torch.float32), not interleaved
    )
    turned: Tensor = out.view_as(x)
    return turned

"""xFormers: the CUTLASS attention, pinned so that nothing else is dispatched to, and the Triton norms."""

from __future__ import annotations

from torch import Tensor
from xformers.ops import memory_efficient_attention
from xformers.ops.fmha import MemoryEfficientAttentionCutlassOp
from xformers.ops.fmha.attn_bias import LowerTriangularFromBottomRightMask
from xformers.ops.rmsnorm import rms_norm as xformers_rms_norm

from layerzero.backends.layouts import answer, inner_contiguous, sequence_first


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    layout: str = "bshd",
) -> Tensor | tuple[Tensor, Tensor]:
    """A mask or a causal call, not both."""
    q, k, v = inner_contiguous(*sequence_first(layout, q, k, v))
    bias = LowerTriangularFromBottomRightMask() if is_causal else attn_mask
    if isinstance(bias, Tensor):
        bias = bias.expand(q.shape[0], q.shape[2], q.shape[1], k.shape[1])
    out: Tensor = memory_efficient_attention(
        q, k, v, attn_bias=bias, p=dropout_p, scale=scale, op=MemoryEfficientAttentionCutlassOp
    )
    return answer(layout, out)


def rms_norm(
    x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """A residual is added, and rounded, before: the fused kernel would write over x."""
    added = x if residual is None else x + residual
    out: Tensor = xformers_rms_norm(added, weight, eps)
    return out if residual is None else (out, added)

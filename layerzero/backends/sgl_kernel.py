"""SGLang's kernels, package sglang-kernel or sgl-kernel.

The row kernels are called by their operators: the public functions hand over to FlashInfer where that is installed.
"""

from __future__ import annotations

import torch
from sgl_kernel import awq_dequantize, gptq_gemm, silu_and_mul
from sgl_kernel.flash_attn import flash_attn_with_kvcache
from sgl_kernel.utils import is_arch_support_pdl
from torch import Tensor

from layerzero.backends.layouts import answer, inner_contiguous, packed_halves, rows, sequence_first, window_size
from layerzero.backends.rotation import cos_sin_cache, positions
from layerzero.backends.weights import AWQWeight, GPTQWeight

operators = torch.ops.sgl_kernel


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    layout: str = "bshd",
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """FlashAttention 3 over a dense cache; nothing is appended to it."""
    q, k, v = inner_contiguous(*sequence_first(layout, q, k, v))
    out, lse, *_ = flash_attn_with_kvcache(
        q,
        k,
        v,
        softmax_scale=scale,
        causal=is_causal,
        window_size=window_size(window),
        softcap=softcap or 0.0,
        return_softmax_lse=True,
        sinks=_sinks(sinks),
    )
    return answer(layout, out, lse if return_lse else None)


def paged(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    *,
    page_table: Tensor,
    seq_lens: Tensor | None = None,
    cu_seqlens_q: Tensor | None = None,
) -> Tensor:
    """Pages of any size; the longest packed sequence is bounded by all queries."""
    out: Tensor = flash_attn_with_kvcache(
        q,
        k_cache,
        v_cache,
        cache_seqlens=seq_lens,
        page_table=page_table,
        cu_seqlens_q=cu_seqlens_q,
        max_seqlen_q=q.shape[-3],
        softmax_scale=scale,
        causal=is_causal,
        window_size=window_size(window),
        softcap=softcap or 0.0,
        sinks=_sinks(sinks),
    )
    return out


def rms_norm(
    x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """A residual is added, and rounded, before: the fused kernel would write over both inputs."""
    added = x if residual is None else x + residual
    out = torch.empty_like(added)
    operators.rmsnorm.default(rows(out), rows(added), weight, eps, is_arch_support_pdl())
    return out if residual is None else (out, added)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """gate and up are the halves of one tensor, which is what the kernel reads."""
    out: Tensor = silu_and_mul(packed_halves(gate))
    return out


def rope(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """Rotates a copy in place; cos and sin have the dtype of x."""
    out = x.clone(memory_format=torch.contiguous_format)
    tokens = out.view(-1, x.shape[-2] * x.shape[-1])
    operators.rotary_embedding.default(
        positions(tokens, cos), tokens, None, x.shape[-1], cos_sin_cache(cos, sin), not interleaved
    )
    return out


def gptq_linear(x: Tensor, weight: GPTQWeight, bias: Tensor | None = None) -> Tensor:
    """Four bits as they are stored. The kernel that takes them so reads the group of every input feature."""
    group_size = x.shape[-1] // weight.scales.shape[0]
    groups = torch.arange(x.shape[-1], dtype=torch.int32, device=x.device) // group_size
    out = gptq_gemm(rows(x), weight.qweight, weight.qzeros, weight.scales.to(x.dtype), groups, False, weight.bits)
    return _biased(out.view(*x.shape[:-1], -1), bias)


def awq_linear(x: Tensor, weight: AWQWeight, bias: Tensor | None = None) -> Tensor:
    """The weight is made dense by a kernel at each call."""
    dense = awq_dequantize(weight.qweight, weight.scales.to(x.dtype), weight.qzeros)  # [in, out]
    return _biased(x @ dense, bias)


def _biased(out: Tensor, bias: Tensor | None) -> Tensor:
    return out if bias is None else out + bias


def _sinks(sinks: Tensor | None) -> Tensor | None:
    return None if sinks is None else sinks.to(torch.bfloat16).contiguous()  # no other is read

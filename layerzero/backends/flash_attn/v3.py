"""FlashAttention 3, package flash-attn-3, which installs the module flash_attn_interface."""

from __future__ import annotations

from flash_attn_interface import flash_attn_func, flash_attn_with_kvcache
from torch import Tensor

from layerzero.backends.layouts import answer, inner_contiguous, sequence_first, window_size


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    layout: str = "bshd",
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Dense keys and values. Splits over the keys are left to the library: its default, one, costs 5x in decoding."""
    q, k, v = inner_contiguous(*sequence_first(layout, q, k, v))
    out, lse = flash_attn_func(
        q,
        k,
        v,
        softmax_scale=scale,
        causal=is_causal,
        window_size=window_size(window),
        softcap=softcap or 0.0,
        num_splits=0,
        return_attn_probs=True,
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
    )
    return out

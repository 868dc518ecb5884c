"""FlashAttention 2, package flash-attn."""

from __future__ import annotations

import torch
from flash_attn import flash_attn_func, flash_attn_varlen_func, flash_attn_with_kvcache
from torch import Tensor

from layerzero.backends.layouts import answer, inner_contiguous, sequence_first, window_size


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    alibi_slopes: Tensor | None = None,
    layout: str = "bshd",
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Dense keys and values; splits over the keys by itself where there are few queries."""
    q, k, v = inner_contiguous(*sequence_first(layout, q, k, v))
    result = flash_attn_func(
        q,
        k,
        v,
        dropout_p=dropout_p,
        softmax_scale=scale,
        causal=is_causal,
        window_size=window_size(window),
        softcap=softcap or 0.0,
        alibi_slopes=alibi_slopes,
        return_attn_probs=return_lse,  # (out, lse, probabilities), the last empty without dropout
    )
    return answer(layout, *result[:2]) if return_lse else answer(layout, result)


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
) -> Tensor:
    """The same number of queries for every sequence."""
    out: Tensor = flash_attn_with_kvcache(
        q,
        k_cache,
        v_cache,
        cache_seqlens=seq_lens,
        block_table=page_table,
        softmax_scale=scale,
        causal=is_causal,
        window_size=window_size(window),
        softcap=softcap or 0.0,
    )
    return out


def paged_varlen(
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
    cu_seqlens_q: Tensor,
) -> Tensor:
    """Packed queries. The longest sequence is bounded by all of them, so that nothing is read on the host."""
    batch, max_pages = page_table.shape
    capacity = max_pages * k_cache.shape[1]
    if seq_lens is None:
        seq_lens = torch.full((batch,), capacity, dtype=torch.int32, device=q.device)
    out: Tensor = flash_attn_varlen_func(
        q,
        k_cache,
        v_cache,
        cu_seqlens_q,
        torch.nn.functional.pad(seq_lens.cumsum(0, dtype=torch.int32), (1, 0)),
        q.shape[0],
        capacity,
        softmax_scale=scale,
        causal=is_causal,
        window_size=window_size(window),
        softcap=softcap or 0.0,
        block_table=page_table,
    )
    return out

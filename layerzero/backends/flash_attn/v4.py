"""FlashAttention 4 (CuTe DSL), package flash-attn-4; each variant is compiled at its first call (1 to 2 s)."""

from __future__ import annotations

import torch
from flash_attn.cute import flash_attn_func, flash_attn_varlen_func
from torch import Tensor

from layerzero.backends.layouts import answer, sequence_first


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
    """Dense keys and values."""
    q, k, v = sequence_first(layout, q, k, v)
    out, lse = flash_attn_func(
        q,
        k,
        v,
        softmax_scale=scale,
        causal=is_causal,
        window_size=_window(window),
        learnable_sink=sinks,
        softcap=softcap or 0.0,
        return_lse=return_lse,
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
    """Without lengths every page is full, which the library has to be told."""
    if seq_lens is None:
        capacity = page_table.shape[1] * k_cache.shape[1]
        seq_lens = torch.full((page_table.shape[0],), capacity, dtype=torch.int32, device=q.device)
    out, _ = flash_attn_varlen_func(
        q,
        k_cache,
        v_cache,
        cu_seqlens_q=cu_seqlens_q,
        seqused_k=seq_lens,
        page_table=page_table,
        softmax_scale=scale,
        causal=is_causal,
        window_size=_window(window),
        learnable_sink=sinks,
        softcap=softcap or 0.0,
    )
    answered: Tensor = out
    return answered


def _window(window: int | None) -> tuple[int | None, int | None]:
    """None is no bound here, where the older versions say -1."""
    return (None, None) if window is None else (window - 1, 0)

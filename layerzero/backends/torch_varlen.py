"""torch's own FlashAttention for sequences of unequal lengths, over pages."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import pad

from layerzero.backends.layouts import window_size


def paged(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    *,
    page_table: Tensor,
    seq_lens: Tensor | None = None,
    cu_seqlens_q: Tensor | None = None,
) -> Tensor:
    """Packed queries, or as many for each sequence. The longest of packed ones is bounded by all of them, so that
    nothing is read on the host."""
    batch, capacity = page_table.shape[0], page_table.shape[1] * k_cache.shape[1]
    if seq_lens is None:
        seq_lens = torch.full((batch,), capacity, dtype=torch.int32, device=q.device)
    longest = q.shape[0] if cu_seqlens_q is not None else q.shape[1]
    if cu_seqlens_q is None:
        cu_seqlens_q = torch.arange(0, batch * longest + 1, longest, dtype=torch.int32, device=q.device)
    out = varlen_attn(
        q if q.ndim == 3 else q.flatten(0, 1),
        k_cache,
        v_cache,
        cu_seqlens_q,
        pad(seq_lens.cumsum(0, dtype=torch.int32), (1, 0)),
        longest,
        capacity,
        scale=scale,
        window_size=(-1, 0) if is_causal and window is None else window_size(window),
        enable_gqa=True,
        seqused_k=seq_lens,
        block_table=page_table,
    )
    assert isinstance(out, Tensor)  # a pair with `return_aux` alone
    return out.view(q.shape)

"""FlashInfer's attention: single sequences, ragged batches, and pages."""

from __future__ import annotations

import math
from typing import Any

import flashinfer
import torch
from torch import Tensor

from layerzero.backends.flashinfer.plans import Options, pages_of, planned_paged, planned_ragged
from layerzero.backends.layouts import answer, inner_contiguous, sequence_first


def single_prefill(
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
    """One sequence; no plan."""
    q, k, v = inner_contiguous(*sequence_first(layout, q, k, v))
    out, lse = flashinfer.single_prefill_with_kv_cache(
        q[0],
        k[0],
        v[0],
        causal=is_causal or window is not None,
        sm_scale=scale,
        window_left=_left(window),
        logits_soft_cap=softcap,
        return_lse=True,
    )
    return answer(layout, out[None], _natural(lse[None]) if return_lse else None)


def single_decode(
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
    """One query of one sequence, which sees every key, causal or not; on tensor cores, for any group of heads."""
    q, k, v = inner_contiguous(*sequence_first(layout, q, k, v))
    result = flashinfer.single_decode_with_kv_cache(
        q[0, 0],
        k[0],
        v[0],
        use_tensor_cores=True,
        sm_scale=scale,
        window_left=_left(window),
        logits_soft_cap=softcap,
        return_lse=return_lse,
    )
    if not return_lse:
        return answer(layout, result[None, None])
    return answer(layout, result[0][None, None], _natural(result[1][None, None]))


def prefill(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """A batch as ragged sequences of one length."""
    batch, q_len, kv_len = q.shape[0], q.shape[1], k.shape[1]
    options = Options.of(q, k, v, is_causal, scale, window, softcap)
    wrapper = planned_ragged(options, (q_len,) * batch, (kv_len,) * batch)
    result = wrapper.run(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), return_lse=return_lse)
    return _batched(result, batch, q_len, return_lse)


def decode(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """A contiguous cache as pages in order, so that the keys of one sequence are split over the device."""
    batch, kv_len = k.shape[:2]
    page_size = math.gcd(kv_len, 16)
    k_cache, v_cache = (t.view(-1, page_size, *t.shape[2:]) for t in (k, v))
    indices = torch.arange(k_cache.shape[0], dtype=torch.int32, device=q.device)
    options = Options.of(q, k_cache, v_cache, is_causal, scale, window, softcap)
    wrapper = planned_paged(options, (1,) * batch, (kv_len,) * batch, page_size, indices)
    result = wrapper.run(q[:, 0], (k_cache, v_cache), return_lse=return_lse)
    return _batched(result, batch, 1, return_lse)


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
    """Prefill and decoding over pages. Lengths and offsets that are given are read on the host, once a call."""
    batch, page_size = page_table.shape[0], k_cache.shape[1]
    capacity = page_table.shape[1] * page_size
    lengths = (capacity,) * batch if seq_lens is None else tuple(seq_lens.tolist())
    q_lens = (q.shape[-3],) * batch if cu_seqlens_q is None else tuple(cu_seqlens_q.diff().tolist())
    options = Options.of(q, k_cache, v_cache, is_causal, scale, window, softcap)
    wrapper = planned_paged(options, q_lens, lengths, page_size, pages_of(page_table, lengths, page_size))
    out: Tensor = wrapper.run(q.flatten(end_dim=-3), (k_cache, v_cache))
    return out.view(*q.shape[:-1], v_cache.shape[-1])


def _left(window: int | None) -> int:
    """Keys before the query's own that it sees; -1: all."""
    return -1 if window is None else window - 1


def _batched(result: Any, batch: int, q_len: int, return_lse: bool) -> Tensor | tuple[Tensor, Tensor]:
    """Packed answers [B*S,H,D] and [B*S,H] as [B,S,H,D] and [B,H,S]."""
    if not return_lse:
        return answer("bshd", result.unflatten(0, (batch, q_len)))
    out, lse = (t.unflatten(0, (batch, q_len)) for t in result)
    return answer("bshd", out, _natural(lse))


def _natural(lse: Tensor) -> Tensor:
    """The log-sum-exp [B,S,H] to the base 2, as [B,H,S] to the base e."""
    return lse.transpose(1, 2) * math.log(2)

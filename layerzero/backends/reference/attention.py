"""softmax(scale * Q K^T, capped, biased, masked) V, step by step, for dense and for paged keys and values."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from layerzero.backends.reference.precision import accumulator, result


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    alibi_slopes: Tensor | None = None,
    sinks: Tensor | None = None,
    layout: str = "bshd",
    return_lse: bool = False,
    page_table: Tensor | None = None,
    seq_lens: Tensor | None = None,
    cu_seqlens_q: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attention with every feature; a row that may attend nothing is zero, and its log-sum-exp is -inf.

    Args:
        q: [B, Sq, Hq, D], with `layout="bhsd"` [B, Hq, Sq, D], with `cu_seqlens_q` [total, Hq, D].
        k: [B, Skv, Hkv, D] in the same layout, or with `page_table` the cache [pages, page_size, Hkv, D].
        v: As `k`, with its own last dimension Dv.
        attn_mask: 4-D, each dimension that of [B, Hq, Sq, Skv] or 1; bool (true attends) or added to the scores.
        is_causal: Bottom-right aligned: the last query sees every key.
        dropout_p: Probability that a weight is zero; the others are scaled by 1 / (1 - p).
        scale: Of the scores; 1 / sqrt(D) unless given.
        window: A query sees itself and the `window - 1` keys before it, and none after it.
        softcap: softcap * tanh(score / softcap), before biases and masks.
        alibi_slopes: fp32 [Hq] or [B, Hq]; adds -slope * |i + Skv - Sq - j|.
        sinks: [Hq] logits that take part in the denominator only (and in the log-sum-exp).
        layout: "bshd" or "bhsd", of q, k, v and the output; pages are always [page_size, Hkv, D].
        return_lse: Also return the log-sum-exp of the scores, fp32 (fp64 for fp64) [B, Hq, Sq].
        page_table: int32 [B, max_pages]; entries past a sequence's length are never read.
        seq_lens: int32 [B], keys of each sequence in its pages; every page is full unless given.
        cu_seqlens_q: int32 [B + 1], where each sequence's queries start in `q`.
    """
    options = _Options(is_causal, dropout_p, scale, window, softcap, sinks)
    if page_table is not None:
        out, lse = _paged(q, k, v, page_table, seq_lens, cu_seqlens_q, options)
        return (out, lse) if return_lse else out
    if layout == "bshd":
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    out, lse = _attend(q, k, v, options, attn_mask=attn_mask, alibi_slopes=alibi_slopes)
    if layout == "bshd":
        out = out.transpose(1, 2)
    return (out, lse) if return_lse else out


class _Options:
    """What is the same for every sequence of a call."""

    def __init__(
        self,
        is_causal: bool,
        dropout_p: float,
        scale: float | None,
        window: int | None,
        softcap: float | None,
        sinks: Tensor | None,
    ) -> None:
        self.is_causal = is_causal
        self.dropout_p = dropout_p
        self.scale = scale
        self.window = window
        self.softcap = softcap
        self.sinks = sinks


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: _Options,
    attn_mask: Tensor | None = None,
    alibi_slopes: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """q [B,Hq,Sq,D], k [B,Hkv,Skv,D], v [B,Hkv,Skv,Dv] -> out [B,Hq,Sq,Dv], lse [B,Hq,Sq]; `lengths` [B]: keys."""
    wide = accumulator(q.dtype)
    group = q.shape[1] // k.shape[1]
    keys = k.to(wide).repeat_interleave(group, dim=1)
    values = v.to(wide).repeat_interleave(group, dim=1)
    scale = options.scale if options.scale is not None else 1.0 / math.sqrt(q.shape[-1])
    scores = (q.to(wide) @ keys.mT) * scale
    if options.softcap is not None:
        scores = options.softcap * torch.tanh(scores / options.softcap)

    distance = _distance(q.shape[2], k.shape[2], lengths, q.device)
    if alibi_slopes is not None:
        slopes = alibi_slopes.to(wide)[..., :, None, None]  # [H,1,1] or [B,H,1,1]
        scores = scores - slopes * distance.abs()
    if attn_mask is not None and attn_mask.dtype != torch.bool:
        scores = scores + attn_mask.to(wide)
    scores = scores.masked_fill(~_visible(distance, options, attn_mask, lengths), -math.inf)

    # A row of -inf alone has no softmax: it is computed as a row of zeros and emptied afterwards, which also keeps
    # its gradient finite.
    dead = (scores == -math.inf).all(dim=-1, keepdim=True)
    scores = scores.masked_fill(dead, 0.0)
    lse = scores.logsumexp(dim=-1, keepdim=True).masked_fill(dead, -math.inf)
    if options.sinks is not None:
        lse = torch.logaddexp(lse, options.sinks.to(wide)[:, None, None])
    weights = (scores - lse.masked_fill(dead, 0.0)).exp().masked_fill(dead, 0.0)
    if options.dropout_p:
        weights = torch.nn.functional.dropout(weights, options.dropout_p)
    return (weights @ values).to(result(q.dtype)), lse.squeeze(-1)


def _distance(q_len: int, kv_len: int, lengths: Tensor | None, device: torch.device) -> Tensor:
    """How far key j lies before query i, the last query standing at the last key: [Sq,Skv], or [B,1,Sq,Skv]."""
    i = torch.arange(q_len, device=device)[:, None]
    j = torch.arange(kv_len, device=device)
    last = kv_len if lengths is None else lengths[:, None, None, None]
    return i + last - q_len - j


def _visible(distance: Tensor, options: _Options, attn_mask: Tensor | None, lengths: Tensor | None) -> Tensor:
    """Which keys each query may attend, broadcastable to the scores."""
    visible = torch.ones_like(distance, dtype=torch.bool)
    if options.is_causal or options.window is not None:
        visible = visible & (distance >= 0)
    if options.window is not None:
        visible = visible & (distance < options.window)
    if lengths is not None:
        j = torch.arange(distance.shape[-1], device=distance.device)
        visible = visible & (j < lengths[:, None, None, None])
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        visible = visible & attn_mask
    return visible


def _paged(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    page_table: Tensor,
    seq_lens: Tensor | None,
    cu_seqlens_q: Tensor | None,
    options: _Options,
) -> tuple[Tensor, Tensor]:
    """Gathers the pages of each sequence; out as q with Dv, lse [B,Hq,Sq] or, with `cu_seqlens_q`, [Hq,total]."""
    capacity = page_table.shape[1] * k_cache.shape[1]
    if seq_lens is None:
        seq_lens = torch.full((page_table.shape[0],), capacity, device=q.device)
    if cu_seqlens_q is None:
        k, v = gather_pages(k_cache, page_table, seq_lens), gather_pages(v_cache, page_table, seq_lens)
        out, lse = _attend(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), options, lengths=seq_lens.to(torch.int64)
        )
        return out.transpose(1, 2), lse
    # One sequence at a time: slow and obvious. It reads the offsets on the host.
    starts = cu_seqlens_q.tolist()
    outs = [q.new_empty(0, q.shape[1], v_cache.shape[-1], dtype=result(q.dtype))]
    lses = [q.new_empty(q.shape[1], 0, dtype=accumulator(q.dtype))]
    for b, (start, end) in enumerate(itertools.pairwise(starts)):
        row = slice(b, b + 1)
        out, lse = _paged(q[None, start:end], k_cache, v_cache, page_table[row], seq_lens[row], None, options)
        outs.append(out[0])
        lses.append(lse[0])
    return torch.cat(outs), torch.cat(lses, dim=1)


def gather_pages(cache: Tensor, page_table: Tensor, seq_lens: Tensor) -> Tensor:
    """[pages,page_size,H,D] and [B,max_pages] -> [B,max_pages*page_size,H,D], zero past each length.

    What lies past a length (stale entries of the table, NaN in unwritten pages) must not reach the product with the
    weights, where 0 * NaN is NaN.
    """
    page_size = cache.shape[1]
    first = torch.arange(page_table.shape[1], device=cache.device) * page_size
    pages = page_table.to(torch.int64).masked_fill(first >= seq_lens[:, None], 0)
    gathered = cache[pages].flatten(1, 2)
    gathered = gathered.to(result(gathered.dtype))  # torch fills no 8-bit floats; 16 bits hold them exactly
    position = torch.arange(gathered.shape[1], device=cache.device)
    unused = position >= seq_lens[:, None]
    return gathered.masked_fill(unused[:, :, None, None], 0.0)

"""The operations as their definitions read, in fp64, one row at a time. Nothing here comes from the package."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    alibi_slopes: Tensor | None = None,
    sinks: Tensor | None = None,
    layout: str = "bshd",
    return_lse: bool = False,
) -> tuple[Tensor, Tensor]:
    """(output in q's layout, log-sum-exp [B,H,S]): each query meets the list of keys that it may see."""
    q, k, v = (t.detach().cpu().double() for t in (q, k, v))
    if layout == "bshd":
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    batch, heads, q_len, head_dim = q.shape
    kv_heads, kv_len = k.shape[1:3]
    scale = scale if scale is not None else head_dim**-0.5
    mask = None if attn_mask is None else attn_mask.detach().cpu().expand(batch, heads, q_len, kv_len)
    out = torch.zeros(batch, heads, q_len, v.shape[-1], dtype=torch.float64)
    lse = torch.full((batch, heads, q_len), -math.inf, dtype=torch.float64)
    for b in range(batch):
        for h in range(heads):
            keys, values = k[b, h // (heads // kv_heads)], v[b, h // (heads // kv_heads)]
            for i in range(q_len):
                here = i + kv_len - q_len
                first, last = 0, kv_len
                if is_causal or window is not None:
                    last = min(last, here + 1)
                if window is not None:
                    first = max(0, here - window + 1)
                seen = torch.arange(first, max(first, last))
                if mask is not None:
                    row = mask[b, h, i][seen]
                    seen = seen[row if row.dtype == torch.bool else row != -math.inf]
                score = keys[seen] @ q[b, h, i] * scale
                if softcap:
                    score = softcap * torch.tanh(score / softcap)
                if alibi_slopes is not None:
                    slope = alibi_slopes.cpu().double().expand(batch, heads)[b, h]
                    score = score - slope * (here - seen).abs()
                if mask is not None and mask.dtype != torch.bool:
                    score = score + mask[b, h, i][seen].double()
                total = score
                if sinks is not None:
                    total = torch.cat([score, sinks.cpu().double()[h : h + 1]])
                if total.numel():
                    lse[b, h, i] = total.logsumexp(0)
                if seen.numel():
                    out[b, h, i] = (score - lse[b, h, i]).exp() @ values[seen]
    return (out.transpose(1, 2) if layout == "bshd" else out), lse


def paged_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    page_table: Tensor,
    seq_lens: Tensor | None = None,
    cu_seqlens_q: Tensor | None = None,
    **options: object,
) -> Tensor:
    """Each sequence by itself, its keys picked position by position."""
    page_size = k_cache.shape[1]
    outs = []
    for b in range(page_table.shape[0]):
        length = page_table.shape[1] * page_size if seq_lens is None else int(seq_lens[b])
        at = [(int(page_table[b, p // page_size]), p % page_size) for p in range(length)]
        k, v = (
            torch.stack([cache[page, slot] for page, slot in at]) if at else cache.new_empty(0, *cache.shape[2:])
            for cache in (k_cache, v_cache)
        )
        mine = q[b] if cu_seqlens_q is None else q[int(cu_seqlens_q[b]) : int(cu_seqlens_q[b + 1])]
        outs.append(attention(mine[None], k[None], v[None], **options)[0][0])  # type: ignore[arg-type]
    if cu_seqlens_q is not None:
        return torch.cat(outs)
    return torch.stack(outs) if outs else torch.zeros(0, *q.shape[1:3], v_cache.shape[-1], dtype=torch.float64)


def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None) -> Tensor:
    """Of the sum, where a residual is given."""
    wide = x.detach().cpu().double()
    if residual is not None:
        wide = wide + residual.cpu().double()
    out = wide / torch.sqrt((wide**2).mean(-1, keepdim=True) + eps)
    return out if weight is None else out * weight.cpu().double()


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Mean and biased variance of each row."""
    wide = x.detach().cpu().double()
    out = (wide - wide.mean(-1, keepdim=True)) / torch.sqrt(wide.var(-1, unbiased=False, keepdim=True) + eps)
    out = out if weight is None else out * weight.cpu().double()
    return out if bias is None else out + bias.cpu().double()


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Sample by sample, group by group."""
    wide = x.detach().cpu().double()
    out = torch.empty_like(wide, memory_format=torch.contiguous_format)
    size = x.shape[1] // num_groups
    for n in range(x.shape[0]):
        for g in range(num_groups):
            part = wide[n, g * size : (g + 1) * size]
            out[n, g * size : (g + 1) * size] = (part - part.mean()) / torch.sqrt(part.var(unbiased=False) + eps)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    out = out if weight is None else out * weight.cpu().double().view(shape)
    return out if bias is None else out + bias.cpu().double().view(shape)


def rope(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """Column by column."""
    out = x.detach().cpu().double().clone()
    old = out.clone()
    cos, sin = cos.cpu().double(), sin.cpu().double()
    full = cos.shape[-1] == x.shape[-1]
    pairs = cos.shape[-1] // 2 if full else cos.shape[-1]
    for p in range(pairs):
        a, b = (2 * p, 2 * p + 1) if interleaved else (p, p + pairs)
        column_a, column_b = (a, b) if full else (p, p)
        ca, sa = cos[..., column_a, None], sin[..., column_a, None]
        cb, sb = cos[..., column_b, None], sin[..., column_b, None]
        out[..., a] = old[..., a] * ca - old[..., b] * sa
        out[..., b] = old[..., b] * cb + old[..., a] * sb
    return out


def silu(x: Tensor) -> Tensor:
    """x / (1 + e^-x)."""
    wide = x.detach().cpu().double()
    return wide / (1 + torch.exp(-wide))


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x * P(N(0,1) <= x), or its tanh formula."""
    wide = x.detach().cpu().double()
    if approximate == "tanh":
        return 0.5 * wide * (1 + torch.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
    exact = [0.5 * t * math.erfc(-t / math.sqrt(2)) for t in wide.flatten().tolist()]
    return torch.tensor(exact, dtype=torch.float64).view(wide.shape)

"""The kernels that come with torch.

Each SDPA kernel is called by its own ATen operator, by torch's binding of it, which is cheaper than `torch.ops.aten`.
The public way to pin one, `torch.nn.attention.sdpa_kernel`, sets switches of the whole process: two threads that pin
different kernels run each other's, and can leave the switches wrong for good; it also costs more than a small call. The
operators refuse less than the public function does (an
empty sequence ends the process in the CPU's flash kernel), so `policies/kernels/torch.lzp` must say all of it.

torch aligns a causal mask to the top left; here it is aligned to the bottom right. Where the two differ, the kernels
that take a mask get the bottom-right one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import flex_attention as flex_module

from layerzero.backends.layouts import inner_contiguous
from layerzero.backends.reference.attention import gather_pages

# --- SDPA on CUDA


def sdpa_flash(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    layout: str = "bshd",
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """FlashAttention 2; its own causal mask is aligned to the bottom right."""
    q, k, v = inner_contiguous(*_heads_first(layout, q, k, v))
    out, lse, *_ = torch._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal, False, scale=scale)
    return _answer(layout, out, lse if return_lse else None)


def sdpa_cudnn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    layout: str = "bshd",
) -> Tensor:
    """cuDNN's attention. Its causal mask is aligned to the top left; one query is not masked at all."""
    q, k, v = inner_contiguous(*_heads_first(layout, q, k, v))
    causal = is_causal and q.shape[2] > 1
    out, *_ = torch._scaled_dot_product_cudnn_attention(
        q, k, v, None, _trains(q, k, v), dropout_p, causal, False, scale=scale
    )
    return _one(_answer(layout, out))


def sdpa_efficient(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    window: int | None = None,
    layout: str = "bshd",
) -> Tensor:
    """The memory-efficient (CUTLASS) kernel."""
    q, k, v = inner_contiguous(*_heads_first(layout, q, k, v))
    mask, causal = _mask(q, k, attn_mask, is_causal, window)
    bias = None if mask is None else _aligned(_additive(mask, q.dtype), q, k)
    trains = _trains(q, k, v, bias)
    out, *_ = torch._scaled_dot_product_efficient_attention(q, k, v, bias, trains, dropout_p, causal, scale=scale)
    return _one(_answer(layout, out))


# --- SDPA on the CPU, and on every device


def sdpa_flash_cpu(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    layout: str = "bshd",
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The CPU's blocked kernel."""
    q, k, v = inner_contiguous(*_heads_first(layout, q, k, v))
    mask, causal = _mask(q, k, attn_mask, is_causal, window)
    bias = None if mask is None else _additive(mask, q.dtype)
    out, lse = torch._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, attn_mask=bias, scale=scale)
    return _answer(layout, out, lse if return_lse else None)


def sdpa_math(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
    window: int | None = None,
    layout: str = "bshd",
) -> Tensor:
    """Two matrix products and a softmax, on any device."""
    q, k, v = _heads_first(layout, q, k, v)
    mask, causal = _mask(q, k, attn_mask, is_causal, window)
    bias = None if mask is None else _additive(mask, q.dtype)
    out, _ = torch._scaled_dot_product_attention_math(
        q, k, v, bias, dropout_p, causal, None, scale=scale, enable_gqa=True
    )
    return _one(_answer(layout, out))


sdpa_math_cpu = sdpa_math  # a kernel of its own, with the facts of the CPU


# --- pages, copied together


def paged_gather(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    *,
    page_table: Tensor,
    seq_lens: Tensor | None = None,
) -> Tensor:
    """Copies each sequence's pages together, then attends with a mask of the lengths, by two matrix products."""
    k, v, bias = _gathered(q, k_cache, v_cache, is_causal, window, page_table, seq_lens)
    out, _ = torch._scaled_dot_product_attention_math(
        q.transpose(1, 2), k, v, bias, 0.0, False, None, scale=scale, enable_gqa=True
    )
    return _one(_answer("bshd", out))


def paged_flash_cpu(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    *,
    page_table: Tensor,
    seq_lens: Tensor | None = None,
) -> Tensor:
    """The same by the CPU's blocked kernel."""
    k, v, bias = _gathered(q, k_cache, v_cache, is_causal, window, page_table, seq_lens)
    out, _ = torch._scaled_dot_product_flash_attention_for_cpu(
        q.transpose(1, 2), k, v, 0.0, False, attn_mask=bias, scale=scale
    )
    return _one(_answer("bshd", out))


def paged_efficient(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    *,
    page_table: Tensor,
    seq_lens: Tensor | None = None,
) -> Tensor:
    """The same by the memory-efficient kernel. It knows no groups: the query heads that share a key head become
    queries of that head."""
    k, v, bias = _gathered(q, k_cache, v_cache, is_causal, window, page_table, seq_lens)
    batch, q_len, q_heads, head_dim = q.shape
    kv_heads = k.shape[1]
    group = q_heads // kv_heads
    queries = q.view(batch, q_len, kv_heads, group, head_dim).permute(0, 2, 3, 1, 4).flatten(2, 3)
    bias = bias[:, :, None].expand(-1, -1, group, -1, -1).flatten(2, 3)
    out, *_ = torch._scaled_dot_product_efficient_attention(
        queries, k, v, _aligned(bias, queries, k), False, 0.0, False, scale=scale
    )
    return out.view(batch, kv_heads, group, q_len, -1).permute(0, 3, 1, 2, 4).reshape(batch, q_len, q_heads, -1)


def _gathered(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    is_causal: bool,
    window: int | None,
    page_table: Tensor,
    seq_lens: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values [B,Hkv,T,D] of every page in the tables, and the bias [B,1,Sq,T] that hides what is unused."""
    capacity = page_table.shape[1] * k_cache.shape[1]
    if seq_lens is None:
        seq_lens = torch.full((page_table.shape[0],), capacity, device=q.device)
    lengths = seq_lens[:, None, None, None]
    k, v = (gather_pages(cache, page_table, seq_lens).transpose(1, 2) for cache in (k_cache, v_cache))
    position = torch.arange(capacity, device=q.device)
    behind = torch.arange(q.shape[1], device=q.device)[:, None] + lengths - q.shape[1] - position
    return k, v, _additive((position < lengths) & _band(behind, is_causal, window), q.dtype)


# --- FlexAttention


def flex(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    alibi_slopes: Tensor | None = None,
    layout: str = "bshd",
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """FlexAttention, compiled at the first call of each combination of dtype, heads and features (seconds)."""
    q, k, v = _heads_first(layout, q, k, v)
    # Past its limit of compilations torch would go on uncompiled, with every score in memory, and only log it.
    with torch._dynamo.config.patch(recompile_limit=1024, accumulated_recompile_limit=4096):
        out, aux = _compiled_flex()(
            q,
            k,
            v,
            score_mod=_score_mod(_scalar(softcap, q.device), alibi_slopes, k.shape[2] - q.shape[2]),
            block_mask=_block_mask(is_causal, window, q.shape[2], k.shape[2], q.device),
            scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
            return_aux=flex_module.AuxRequest(lse=True),
            # The kernel for few queries finds no tiling for some group sizes.
            kernel_options={"FORCE_USE_FLEX_ATTENTION": True},
        )
    return _answer(layout, out, aux.lse if return_lse else None)


@functools.cache
def _compiled_flex() -> Callable[..., Any]:
    return torch.compile(flex_module.flex_attention, fullgraph=True)


@functools.lru_cache(maxsize=64)
def _scalar(value: float | None, device: torch.device) -> Tensor | None:
    """On the device and as a tensor: a second float would make the compiler trace a symbol, which it cannot lower."""
    return None if value is None else torch.tensor(value, dtype=torch.float32, device=device)


def _score_mod(softcap: Tensor | None, slopes: Tensor | None, ahead: int) -> Callable[..., Tensor] | None:
    """The cap, then ALiBi; `ahead` is kv_len - q_len."""
    if softcap is None and slopes is None:
        return None

    def modify(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        if slopes is not None:
            slope = slopes[h] if slopes.ndim == 1 else slopes[b, h]
            score = score - slope.to(score.dtype) * (i + ahead - j).abs()
        return score

    return modify


@functools.lru_cache(maxsize=64)
def _block_mask(is_causal: bool, window: int | None, q_len: int, kv_len: int, device: torch.device) -> Any:
    """Which blocks are worth visiting; costs more than a call, so the last ones are kept."""
    if not is_causal and window is None:
        return None

    def visible(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return _band(i + (kv_len - q_len) - j, is_causal, window)

    return flex_module.create_block_mask(visible, None, None, q_len, kv_len, device=device)


# --- norms, rotary embedding and activations


def rms_norm(
    x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """torch's RMS norm; a residual is added, and rounded, before."""
    if residual is None:
        return functional.rms_norm(x, (x.shape[-1],), weight, eps)
    added = x + residual
    return functional.rms_norm(added, (x.shape[-1],), weight, eps), added


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """torch's layer norm."""
    return functional.layer_norm(x, (x.shape[-1],), weight, bias, eps)


def group_norm(
    x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """torch's group norm."""
    return functional.group_norm(x, num_groups, weight, bias, eps)


def rope(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """Two products for each half of the pairs, into place; rounded after each."""
    width, head_dim = cos.shape[-1], x.shape[-1]
    rotary_dim = width if width == head_dim else 2 * width
    out = torch.empty_like(x)
    first, second = _pairs(x, rotary_dim, interleaved)
    to_first, to_second = _pairs(out, rotary_dim, interleaved)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    (cos_1, cos_2), (sin_1, sin_2) = (
        _pairs(table, rotary_dim, interleaved) if width == head_dim else (table, table) for table in (cos, sin)
    )
    torch.mul(first, cos_1, out=to_first).addcmul_(second, sin_1, value=-1)
    torch.mul(second, cos_2, out=to_second).addcmul_(first, sin_2)
    if rotary_dim < head_dim:
        out[..., rotary_dim:] = x[..., rotary_dim:]
    return out


def _pairs(x: Tensor, rotary_dim: int, interleaved: bool) -> tuple[Tensor, Tensor]:
    """The first columns of all pairs, and the second ones."""
    if interleaved:
        return x[..., :rotary_dim:2], x[..., 1:rotary_dim:2]
    return x[..., : rotary_dim // 2], x[..., rotary_dim // 2 : rotary_dim]


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Two kernels; the activation is rounded between them."""
    return functional.silu(gate) * up


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """torch's GELU."""
    return functional.gelu(x, approximate=approximate)


def silu(x: Tensor) -> Tensor:
    """torch's SiLU."""
    return functional.silu(x)


# --- shapes and masks


def _heads_first(layout: str, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (q, k, v) if layout == "bhsd" else (q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))


def _answer(layout: str, out: Tensor, lse: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
    out = out if layout == "bhsd" else out.transpose(1, 2)
    return out if lse is None else (out, lse)


def _trains(*tensors: Tensor | None) -> bool:
    """Whether a backward pass will want the log-sum-exp; cuDNN takes up to a fifth longer to write it."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _one(answer: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    assert isinstance(answer, Tensor)
    return answer


def _mask(
    q: Tensor, k: Tensor, attn_mask: Tensor | None, is_causal: bool, window: int | None
) -> tuple[Tensor | None, bool]:
    """The mask to pass, and whether the kernel's own (top-left) causal mask says the rest."""
    q_len, kv_len = q.shape[2], k.shape[2]
    if window is None and (not is_causal or q_len == 1):
        return attn_mask, False  # a single query, aligned to the bottom right, sees every key
    if window is None and attn_mask is None and q_len == kv_len:
        return None, True
    i = torch.arange(q_len, device=q.device)[:, None]
    band = _band(i + (kv_len - q_len) - torch.arange(kv_len, device=q.device), is_causal, window)
    if attn_mask is None:
        return band[None, None], False
    if attn_mask.dtype == torch.bool:
        return attn_mask & band, False
    return attn_mask.masked_fill(~band, -math.inf), False


def _band(behind: Tensor, is_causal: bool, window: int | None) -> Tensor:
    """Which keys, `behind` positions before the query, a causal mask and a window leave."""
    if window is not None:
        return (behind >= 0) & (behind < window)
    return behind >= 0 if is_causal else torch.ones_like(behind, dtype=torch.bool)


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as what is added to the scores, which is all that the operators know; another one as it is."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -math.inf)


def _aligned(bias: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """The whole bias [B,H,Sq,Skv], as a view of rows that start at multiples of 16 bytes, which CUTLASS needs."""
    kv_len = k.shape[2]
    padded = functional.pad(bias.expand(*bias.shape[:3], kv_len), (0, -kv_len % 16))
    return padded[..., :kv_len].expand(q.shape[0], q.shape[1], q.shape[2], kv_len)

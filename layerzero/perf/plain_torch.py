"""What people write without LayerZero: each operation as the plain torch expression for it, to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from layerzero.operations.call import Call

NAME = "plain torch"  # as a kernel's name in reports; no kernel's id has a space


def plain(call: Call) -> Callable[[], Any] | None:
    """The call in plain torch, or None where there is no one expression that people would write."""
    written = _PLAIN.get(call.operation)
    return None if written is None else written(call)


def _attention(call: Call) -> Callable[[], Any] | None:
    unknown = call.kwargs.keys() - {"is_causal", "page_table", "seq_lens", "scale", "layout"}
    if unknown or "cu_seqlens_q" in call.kwargs:
        return None
    return _paged(call) if "page_table" in call.kwargs else _dense(call)


def _dense(call: Call) -> Callable[[], Any] | None:
    q, k, v = call.args
    if call.kwargs.get("layout", "bshd") == "bshd":
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    causal = call.kwargs.get("is_causal", False) and q.shape[2] > 1
    if causal and q.shape[2] != k.shape[2]:
        return None  # torch aligns the mask to the other corner
    scale, grouped = call.kwargs.get("scale"), q.shape[1] != k.shape[1]
    return lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale, enable_gqa=grouped)


def _paged(call: Call) -> Callable[[], Any] | None:
    """Gather the pages, then SDPA over what is one contiguous cache again; every page is full."""
    q, k_cache, v_cache = call.args
    if q.shape[1] != 1:
        return None
    table, scale = call.kwargs["page_table"], call.kwargs.get("scale")
    grouped = q.shape[2] != k_cache.shape[2]

    def run() -> Any:
        k, v = (cache[table].flatten(1, 2).transpose(1, 2) for cache in (k_cache, v_cache))
        return functional.scaled_dot_product_attention(q.transpose(1, 2), k, v, scale=scale, enable_gqa=grouped)

    return run


def _rms_norm(call: Call) -> Callable[[], Any]:
    (x,), weight = call.args, call.kwargs.get("weight")
    eps, residual = call.kwargs.get("eps", 1e-6), call.kwargs.get("residual")

    def run() -> Any:
        total = x if residual is None else x + residual
        out = functional.rms_norm(total, x.shape[-1:], weight, eps)
        return out if residual is None else (out, total)

    return run


def _layer_norm(call: Call) -> Callable[[], Any]:
    (x,), eps = call.args, call.kwargs.get("eps", 1e-5)
    weight, bias = call.kwargs.get("weight"), call.kwargs.get("bias")
    return lambda: functional.layer_norm(x, x.shape[-1:], weight, bias, eps)


def _rope(call: Call) -> Callable[[], Any] | None:
    x, cos, sin = call.args
    half = x.shape[-1] // 2
    if call.kwargs or cos.shape[-1] != half:
        return None
    cos, sin = (torch.cat((table, table), -1)[..., None, :] for table in (cos, sin))  # as model code prepares them
    return lambda: x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def _swiglu(call: Call) -> Callable[[], Any]:
    gate, up = call.args
    return lambda: functional.silu(gate) * up


def _gelu(call: Call) -> Callable[[], Any]:
    (x,), approximate = call.args, call.kwargs.get("approximate", "none")
    return lambda: functional.gelu(x, approximate=approximate)


def _silu(call: Call) -> Callable[[], Any]:
    (x,) = call.args
    return lambda: functional.silu(x)


def _sample(call: Call) -> Callable[[], Any] | None:
    """A sort, a cut and a draw, as in the usual generation loops."""
    (logits,), method = call.args, call.kwargs["method"]
    if call.kwargs.keys() - {"method", "k", "p", "temperature"}:
        return None
    logits = logits if logits.ndim == 2 else logits[None]
    temperature = call.kwargs.get("temperature", 1.0)

    def top_k() -> Any:
        best, ids = (logits / temperature).topk(call.kwargs["k"])
        return ids.gather(-1, torch.multinomial(best.float().softmax(-1), 1))

    def top_p() -> Any:
        ordered, ids = (logits.float() / temperature).softmax(-1).sort(descending=True)
        kept = ordered.masked_fill(ordered.cumsum(-1) - ordered >= call.kwargs["p"], 0.0)
        return ids.gather(-1, torch.multinomial(kept, 1))

    return {"topk": top_k, "topp": top_p, "greedy": lambda: logits.argmax(-1)}[method]


_PLAIN: Mapping[str, Callable[[Call], Callable[[], Any] | None]] = {
    "attention": _attention,
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "rope": _rope,
    "swiglu": _swiglu,
    "gelu": _gelu,
    "silu": _silu,
    "sample": _sample,
}

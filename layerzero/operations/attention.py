"""`lz.attention`: softmax(scale * Q K^T) V over dense keys and values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from layerzero.check.expressions import Value
from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.tensors import (
    EIGHT_BIT_FLOATS,
    FLOATS,
    check_choice,
    check_count,
    check_device,
    check_flag,
    check_number,
    check_same_dtype,
    check_shape,
    check_tensor,
    common_fields,
    dtype_name,
    error,
    shape,
)

if TYPE_CHECKING:
    from torch import Tensor

OPERATION = "attention"

PARAMETERS: Parameters = {
    "q": ParameterRole((*OPERAND, "dtype", "batch", "q_len", "q_heads", "head_dim"), ("backward", "gqa")),
    "k": ParameterRole((*OPERAND, "kv_dtype", "kv_len", "kv_heads"), ("backward", "gqa", "mixed_kv")),
    "v": ParameterRole((*OPERAND, "v_head_dim"), ("backward", "uneven_v")),
    "attn_mask": ParameterRole(
        ("mask_kind", "mask_dtype", "mask_requires_grad"), ("mask_bool", "mask_additive", "mask_grad")
    ),
    "is_causal": ParameterRole(("causal",), ("causal",)),
    "dropout_p": ParameterRole(("dropout",), ("dropout",)),
    "scale": ParameterRole(("scale",), ("scale",)),
    "window": ParameterRole(("window",), ("window",)),
    "softcap": ParameterRole(("softcap",), ("softcap",)),
    "alibi_slopes": ParameterRole(("has_alibi",), ("alibi",)),
    "sinks": ParameterRole(("has_sinks",), ("sinks",)),
    "enable_gqa": ParameterRole((), ("gqa",), hint=True),
    "layout": ParameterRole(("layout",), ("bhsd",)),
    "phase": ParameterRole(("phase",), hint=True),
    "return_lse": ParameterRole(("return_lse",), ("lse",)),
}


def read(
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
    enable_gqa: bool | None = None,
    layout: str = "bshd",
    phase: str | None = None,
    return_lse: bool = False,
) -> Call:
    """Check the arguments of `lz.attention` and read the context from them; a mask reaches the kernel as 4-D.

    Raises:
        ArgumentError: An argument does not fit; the layout is never guessed.
    """
    check_choice("layout", layout, ("bshd", "bhsd"))
    check_flag("is_causal", is_causal)
    check_flag("return_lse", return_lse)
    words = "[batch, seq, heads, head_dim]" if layout == "bshd" else "[batch, heads, seq, head_dim]"
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        check_tensor(name, tensor, words, 4)
        check_device(name, tensor, q, "q")
    seq, heads = (1, 2) if layout == "bshd" else (2, 1)
    dtype, kv_dtype = operand_dtypes(q, k, v, "k", "v")
    batch, q_len, q_heads, head_dim = q.shape[0], q.shape[seq], q.shape[heads], q.shape[3]
    kv_len, kv_heads, v_head_dim = k.shape[seq], k.shape[heads], v.shape[3]
    if k.shape[0] != batch or k.shape[3] != head_dim:
        raise error("k", f"batch {batch} and head_dim {head_dim} as `q`, in {words}", shape(k))
    if v.shape[:3] != k.shape[:3]:
        raise error("v", f"the batch, seq and heads of `k`, {list(k.shape[:3])}, in {words}", shape(v))
    check_heads(q_heads, kv_heads, head_dim, v_head_dim, "k")
    check_gqa_hint(enable_gqa, q_heads, kv_heads)

    context: dict[str, Value] = {
        **common_fields(dtype, q, k, v),
        "batch": batch,
        "q_len": q_len,
        "kv_len": kv_len,
        "q_heads": q_heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "v_head_dim": v_head_dim,
        "kv_dtype": kv_dtype,
        "causal": is_causal,
        "return_lse": return_lse,
        "layout": layout,
        "paged": False,
        "phase": resolve_phase(phase, q_len, kv_len),
    }
    kwargs: dict[str, Any] = {}
    if attn_mask is not None:
        kwargs["attn_mask"] = _read_mask(attn_mask, q, (batch, q_heads, q_len, kv_len), dtype, context)
    if is_causal:
        kwargs["is_causal"] = True
    if dropout_p != 0.0:
        check_number("dropout_p", dropout_p, "a probability, 0..1", 0.0, 1.0)
        context["dropout"] = kwargs["dropout_p"] = float(dropout_p)
    read_score_options(context, kwargs, scale=scale, window=window, softcap=softcap, sinks=sinks, q=q, q_heads=q_heads)
    if alibi_slopes is not None:
        check_shape("alibi_slopes", alibi_slopes, (q_heads,), (batch, q_heads), why=", a slope per query head")
        dtype_name("alibi_slopes", alibi_slopes, ("fp32",))
        check_device("alibi_slopes", alibi_slopes, q, "q")
        context["has_alibi"] = True
        context["requires_grad"] = context["requires_grad"] or _asks_gradient(alibi_slopes)
        kwargs["alibi_slopes"] = alibi_slopes
    if layout != "bshd":
        kwargs["layout"] = layout
    if return_lse:
        kwargs["return_lse"] = True
    return Call(OPERATION, context, (q, k, v), kwargs)


def operand_dtypes(q: Tensor, k: Tensor, v: Tensor, k_name: str, v_name: str) -> tuple[str, str]:
    """Names of q's and of the keys' dtype; they differ only where the keys and values are fp8."""
    dtype = dtype_name("q", q, FLOATS + EIGHT_BIT_FLOATS)
    check_same_dtype(v_name, v, k, k_name)
    if k.dtype == q.dtype:
        return dtype, dtype
    kv_dtype = dtype_name(k_name, k, FLOATS + EIGHT_BIT_FLOATS)
    if kv_dtype not in EIGHT_BIT_FLOATS:
        raise error(k_name, f"dtype {q.dtype}, that of `q`, or an fp8 dtype", k.dtype)
    return dtype, kv_dtype


def check_heads(q_heads: int, kv_heads: int, head_dim: int, v_head_dim: int, k_name: str) -> None:
    """Query heads come in equal groups, one for each head of the keys; no head is empty."""
    for name, size in (("q", q_heads), (k_name, kv_heads), ("q", head_dim), ("v", v_head_dim)):
        if size < 1:
            raise error(name, "at least one head of at least one element", size)
    if q_heads % kv_heads:
        raise error(k_name, f"a number of heads that divides the {q_heads} of `q`", kv_heads)


def check_gqa_hint(enable_gqa: bool | None, q_heads: int, kv_heads: int) -> None:
    """Grouped heads are implied by the shapes; only a `False` that contradicts them is an error."""
    if enable_gqa is None:
        return
    check_flag("enable_gqa", enable_gqa)
    if not enable_gqa and q_heads != kv_heads:
        raise error("enable_gqa", f"true or nothing, for {q_heads} query heads on {kv_heads} key heads", enable_gqa)


def resolve_phase(phase: str | None, q_len: int, kv_len: int) -> str:
    """decode if and only if one query meets more than one key; a phase that says otherwise is an error."""
    actual = "decode" if q_len == 1 and kv_len > 1 else "prefill"
    if phase is not None:
        check_choice("phase", phase, ("prefill", "decode"))
        if phase != actual:
            raise error("phase", f'"{actual}" or nothing, for {q_len} queries on {kv_len} keys', repr(phase))
    return actual


def read_score_options(
    context: dict[str, Value],
    kwargs: dict[str, Any],
    scale: float | None,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
    q: Tensor,
    q_heads: int,
) -> None:
    """Check what dense and paged attention share, and add it where it is given."""
    if scale is not None:
        check_number("scale", scale, "a finite number", -math.inf)
        context["scale"] = kwargs["scale"] = float(scale)
    if window is not None:
        check_count("window", window, "a number of keys, at least 1, or None")
        context["window"] = kwargs["window"] = window
    if softcap is not None and softcap != 0.0:  # 0.0 is how the flash-attention family says "none"
        check_number("softcap", softcap, "a number above 0, or None", 0.0)
        context["softcap"] = kwargs["softcap"] = float(softcap)
    if sinks is not None:
        check_shape("sinks", sinks, (q_heads,), why=", a logit per query head")
        check_device("sinks", sinks, q, "q")
        dtype_name("sinks", sinks)
        context["has_sinks"] = True
        context["requires_grad"] = context["requires_grad"] or _asks_gradient(sinks)
        kwargs["sinks"] = sinks


def _read_mask(
    mask: Tensor, q: Tensor, full: tuple[int, int, int, int], dtype: str, context: dict[str, Value]
) -> Tensor:
    """The mask as 4-D, each dimension full or 1, and its fields in `context`."""
    import torch

    words = f"a shape that broadcasts to [batch, heads, q_len, kv_len] = {list(full)}"
    check_tensor("attn_mask", mask, words, 2, 3, 4)
    check_device("attn_mask", mask, q, "q")
    spread = mask if mask.ndim == 4 else mask.reshape((1,) * (4 - mask.ndim) + tuple(mask.shape))
    if any(size not in (1, wanted) for size, wanted in zip(spread.shape, full, strict=True)):
        raise error("attn_mask", words, shape(mask))
    if mask.dtype == torch.bool:
        context["mask_kind"] = "bool"
        return spread
    if not mask.is_floating_point() or mask.dtype not in (q.dtype, torch.float32):
        added = "torch.float32" if q.dtype == torch.float32 else f"{q.dtype} or torch.float32"
        raise error("attn_mask", f"dtype torch.bool (true attends) or {added} (added)", mask.dtype)
    context["mask_kind"] = "additive"
    context["mask_dtype"] = dtype_name("attn_mask", mask, (dtype, "fp32"))
    context["mask_requires_grad"] = _asks_gradient(mask)
    return spread


def _asks_gradient(tensor: Tensor) -> bool:
    import torch

    return torch.is_grad_enabled() and tensor.requires_grad


def answers(q: Tensor, k: Tensor, v: Tensor, *options: Any) -> list[Tensor]:
    """Uninitialised answers of the right shapes, for a compiler; `options` in the order of `read`."""
    import torch

    layout, return_lse = options[9], options[11]
    out = q.new_empty((*q.shape[:-1], v.shape[-1]), dtype=torch.bfloat16 if q.itemsize == 1 else q.dtype)
    if not return_lse:
        return [out]
    heads, length = (q.shape[2], q.shape[1]) if layout == "bshd" else (q.shape[1], q.shape[2])
    return [out, q.new_empty((q.shape[0], heads, length), dtype=torch.promote_types(q.dtype, torch.float32))]

"""`lz.paged_attention`: operation `attention` with the keys and values in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerzero.check.expressions import Value
from layerzero.operations.attention import check_heads, operand_dtypes, read_score_options, resolve_phase
from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.tensors import (
    check_device,
    check_flag,
    check_shape,
    check_tensor,
    common_fields,
    error,
    shape,
)
from layerzero.operations.validation import looks_at_values

if TYPE_CHECKING:
    from torch import Tensor

OPERATION = "attention"

PARAMETERS: Parameters = {
    "q": ParameterRole((*OPERAND, "dtype", "q_len", "q_heads", "head_dim"), ("backward", "gqa")),
    "k_cache": ParameterRole((*OPERAND, "kv_dtype", "kv_heads", "page_size"), ("gqa", "mixed_kv", "paged")),
    "v_cache": ParameterRole((*OPERAND, "v_head_dim"), ("uneven_v",)),
    "page_table": ParameterRole(("paged", "batch", "kv_len"), ("paged",)),
    "seq_lens": ParameterRole(("has_seq_lens",)),
    "is_causal": ParameterRole(("causal",), ("causal",)),
    "cu_seqlens_q": ParameterRole(("varlen",), ("varlen",)),
    "scale": ParameterRole(("scale",), ("scale",)),
    "window": ParameterRole(("window",), ("window",)),
    "softcap": ParameterRole(("softcap",), ("softcap",)),
    "sinks": ParameterRole(("has_sinks",), ("sinks",)),
}


def read(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    page_table: Tensor,
    seq_lens: Tensor | None = None,
    is_causal: bool = True,
    cu_seqlens_q: Tensor | None = None,
    scale: float | None = None,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Call:
    """Check the arguments of `lz.paged_attention` and read the context; see validation.py on the values of tables.

    Raises:
        ArgumentError: An argument does not fit.
    """
    check_flag("is_causal", is_causal)
    check_tensor("page_table", page_table, "int32 [batch, max_pages]", 2)
    batch, max_pages = page_table.shape
    if cu_seqlens_q is None:
        check_tensor("q", q, "[batch, q_len, heads, head_dim] (or, with `cu_seqlens_q`, 3 dimensions)", 4)
        if q.shape[0] != batch:
            raise error("q", f"batch {batch}, the rows of `page_table`", shape(q))
    else:
        check_tensor("q", q, "[total, heads, head_dim], as `cu_seqlens_q` is given", 3)
    for name, cache in (("k_cache", k_cache), ("v_cache", v_cache)):
        check_tensor(name, cache, "[pages, page_size, heads, head_dim]", 4)
        check_device(name, cache, q, "q")
    dtype, kv_dtype = operand_dtypes(q, k_cache, v_cache, "k_cache", "v_cache")
    q_len, q_heads, head_dim = q.shape[-3], q.shape[-2], q.shape[-1]
    _, page_size, kv_heads, _ = k_cache.shape
    if k_cache.shape[3] != head_dim:
        raise error("k_cache", f"head_dim {head_dim}, that of `q`", shape(k_cache))
    if v_cache.shape[:3] != k_cache.shape[:3]:
        raise error(
            "v_cache", f"the pages, page_size and heads of `k_cache`, {list(k_cache.shape[:3])}", shape(v_cache)
        )
    if page_size < 1:
        raise error("k_cache", "a page_size of at least 1", shape(k_cache))
    check_heads(q_heads, kv_heads, head_dim, v_cache.shape[3], "k_cache")
    _check_index("page_table", page_table, (batch, max_pages), q)
    kv_len = max_pages * page_size

    context: dict[str, Value] = {
        **common_fields(dtype, q, k_cache, v_cache),
        "batch": batch,
        "q_len": q_len,
        "kv_len": kv_len,
        "q_heads": q_heads,
        "kv_heads": kv_heads,
        "head_dim": head_dim,
        "v_head_dim": v_cache.shape[3],
        "kv_dtype": kv_dtype,
        "causal": is_causal,
        "layout": "bshd",
        "paged": True,
        "page_size": page_size,
        "varlen": cu_seqlens_q is not None,
        "has_seq_lens": seq_lens is not None,
        "phase": resolve_phase(None, q_len, kv_len),
    }
    kwargs: dict[str, Any] = {"page_table": page_table}
    if seq_lens is not None:
        _check_index("seq_lens", seq_lens, (batch,), q)
        kwargs["seq_lens"] = seq_lens
    if cu_seqlens_q is not None:
        _check_index("cu_seqlens_q", cu_seqlens_q, (batch + 1,), q)
        kwargs["cu_seqlens_q"] = cu_seqlens_q
    if is_causal:  # the default of an adapter is that of `attention`: not causal
        kwargs["is_causal"] = True
    read_score_options(context, kwargs, scale=scale, window=window, softcap=softcap, sinks=sinks, q=q, q_heads=q_heads)
    if looks_at_values(page_table, context["graph_capture"] is True):
        check_values(q, k_cache, page_table, seq_lens, cu_seqlens_q)
    return Call(OPERATION, context, (q, k_cache, v_cache), kwargs)


def look(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    page_table: Tensor,
    seq_lens: Tensor | None,
    is_causal: bool,
    cu_seqlens_q: Tensor | None,
    *options: Any,
) -> None:
    """Look at the values of a call whose tensors look like those of an earlier one; as `read` does."""
    check_values(q, k_cache, page_table, seq_lens, cu_seqlens_q)


def check_values(
    q: Tensor, k_cache: Tensor, page_table: Tensor, seq_lens: Tensor | None, cu_seqlens_q: Tensor | None
) -> None:
    """Look at the values of the table, lengths and offsets of a paged call; waits for the device.

    Raises:
        ArgumentError: A length exceeds its pages, a page in use does not exist, or the offsets do not rise from 0 to
            the number of queries.
    """
    import torch

    table = page_table.cpu()
    pages, page_size = k_cache.shape[:2]
    capacity = table.shape[1] * page_size
    used = torch.ones_like(table, dtype=torch.bool)
    if seq_lens is not None:
        lengths = seq_lens.cpu()
        wrong = (lengths < 0) | (lengths > capacity)
        if wrong.any():
            b = int(wrong.nonzero()[0])
            given = f"{int(lengths[b])} at {b}"
            raise error("seq_lens", f"lengths in 0..{capacity}, the capacity of `page_table`", given)
        used = torch.arange(0, capacity, page_size) < lengths[:, None]
    wrong = used & ((table < 0) | (table >= pages))
    if wrong.any():
        b, at = wrong.nonzero()[0].tolist()
        raise error("page_table", f"pages in 0..{pages - 1} for the keys in use", f"{int(table[b, at])} in row {b}")
    if cu_seqlens_q is not None:
        offsets = cu_seqlens_q.tolist()
        if offsets[0] != 0 or offsets[-1] != q.shape[0] or offsets != sorted(offsets):
            raise error("cu_seqlens_q", f"offsets that rise from 0 to {q.shape[0]}", offsets)


def _check_index(argument: str, value: Any, wanted: tuple[int, ...], q: Tensor) -> None:
    check_shape(argument, value, wanted)
    import torch

    if value.dtype != torch.int32:
        raise error(argument, "dtype torch.int32", value.dtype)
    check_device(argument, value, q, "q")


def answers(q: Tensor, k_cache: Tensor, v_cache: Tensor, *options: Any) -> list[Tensor]:
    """Uninitialised answers of the right shapes, for a compiler."""
    import torch

    shape = (*q.shape[:-1], v_cache.shape[-1])
    return [q.new_empty(shape, dtype=torch.bfloat16 if q.itemsize == 1 else q.dtype)]

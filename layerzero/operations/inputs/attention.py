"""Fields of `attention` -> calls of `lz.attention` and, where `paged` holds, of `lz.paged_attention`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from layerzero.check.expressions import Value
from layerzero.operations import attention, paged_attention
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import Drawing, in_memory, torch_device, whole

if TYPE_CHECKING:
    from torch import Tensor

TYPICAL: Mapping[str, Value] = {
    "dtype": "fp32",
    "batch": 2,
    "q_len": 7,
    "kv_len": 7,
    "q_heads": 4,
    "kv_heads": 4,
    "head_dim": 64,
}

_PAGED = ("page_size", "has_seq_lens", "varlen")
_DENSE: Mapping[str, Value] = {
    "layout": "bshd", "mask_kind": "none", "has_alibi": False, "dropout": 0.0, "return_lse": False,
    "mask_requires_grad": False,
}  # fmt: skip
_EIGHT_BITS = ("fp8_e4m3", "fp8_e5m2")


def settle(values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
    """See Inputs."""
    values = in_memory(values)
    if values.get("phase") == "decode":
        values |= {"q_len": 1, "kv_len": max(2, whole(values, "kv_len"))}
    values.pop("phase", None)  # it follows from the lengths
    if any(values.get(name) for name in _PAGED if name in wished):
        values["paged"] = True
    settled = _paged(values, wished) if values.get("paged") is True else _dense(values, wished)
    if settled is None:
        return None
    dtype, kv_dtype = settled["dtype"], settled.get("kv_dtype", settled["dtype"])
    if dtype == "int8" or (kv_dtype != dtype and kv_dtype not in _EIGHT_BITS):
        return None
    if settled.get("requires_grad") and (dtype in _EIGHT_BITS or kv_dtype in _EIGHT_BITS):
        return None
    return settled


def _paged(values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
    if any(values.get(name, default) != default for name, default in _DENSE.items()):
        return None  # `lz.paged_attention` has no such argument
    values.pop("mask_dtype", None)
    size = whole(values, "page_size") if "page_size" in values else 16
    length = whole(values, "kv_len")
    if "kv_len" in wished and "page_size" not in wished and length and length % size:
        size = length  # a table of one page
    values |= {"page_size": size, "kv_len": -(-length // size) * size}
    return values


def _dense(values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
    for name in _PAGED:
        values.pop(name, None)
    if "mask_dtype" in values or values.get("mask_requires_grad"):
        if "mask_kind" in wished and values.get("mask_kind") != "additive":
            values.pop("mask_dtype", None)
            values.pop("mask_requires_grad", None)
        else:
            values["mask_kind"] = "additive"
    if values.get("mask_kind") == "additive":
        values.setdefault("mask_dtype", values["dtype"])
        if values["mask_dtype"] not in (values["dtype"], "fp32"):
            return None
    return values


def cost(values: Mapping[str, Value]) -> int:
    """See Inputs."""
    scores = whole(values, "batch") * whole(values, "q_heads") * whole(values, "q_len") * whole(values, "kv_len")
    widths = whole(values, "head_dim") + whole(values, "v_head_dim")
    operands = whole(values, "batch") * (
        whole(values, "q_heads") * whole(values, "q_len") + whole(values, "kv_heads") * whole(values, "kv_len")
    )
    return max(scores, operands) * widths


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs."""
    draw = Drawing(values, seed)
    options: dict[str, Any] = {"is_causal": values["causal"]}
    if "scale" in values:
        options["scale"] = values["scale"]
    if values["window"]:
        options["window"] = values["window"]
    if values["softcap"]:
        options["softcap"] = values["softcap"]
    if values["has_sinks"]:
        options["sinks"] = draw.plain(whole(values, "q_heads"))
    return _make_paged(draw, options) if values["paged"] else _make_dense(draw, options)


def _make_dense(draw: Drawing, options: dict[str, Any]) -> Call:
    values = draw.values
    batch, q_len, kv_len, q_heads, kv_heads, head_dim, v_head_dim = (
        whole(values, name) for name in ("batch", "q_len", "kv_len", "q_heads", "kv_heads", "head_dim", "v_head_dim")
    )

    def operand(length: int, heads: int, width: int, dtype: Value) -> Tensor:
        shape = (batch, length, heads, width) if values["layout"] == "bshd" else (batch, heads, length, width)
        return draw.operand(*shape, dtype=dtype)

    q = operand(q_len, q_heads, head_dim, values["dtype"])
    k = operand(kv_len, kv_heads, head_dim, values["kv_dtype"])
    v = operand(kv_len, kv_heads, v_head_dim, values["kv_dtype"])
    if values["mask_kind"] != "none":
        options["attn_mask"] = _mask(draw, (batch, q_heads, q_len, kv_len))
    if values["has_alibi"]:
        options["alibi_slopes"] = draw.plain(q_heads, dtype="fp32").abs() / 8
    return attention.read(
        q,
        k,
        v,
        **options,
        dropout_p=_number(values["dropout"]),
        layout=str(values["layout"]),
        return_lse=values["return_lse"] is True,
    )


def _number(value: Value) -> float:
    assert isinstance(value, float)
    return value


def _mask(draw: Drawing, shape: tuple[int, ...]) -> Tensor:
    """A quarter of the keys is masked, and everything that the first query of each head could see."""
    values = draw.values
    keep = draw.plain(*shape, dtype="fp32") > -0.7
    keep[..., :1, :] = False
    if values["mask_kind"] == "bool":
        return keep
    bias = draw.plain(*shape, dtype=values["mask_dtype"]).masked_fill(~keep, -float("inf"))
    return bias.requires_grad_() if values["mask_requires_grad"] is True else bias


def _make_paged(draw: Drawing, options: dict[str, Any]) -> Call:
    """Pages are handed out in a shuffled order; what lies past a sequence's length would change the answer."""
    import torch

    values, device = draw.values, torch_device(draw.values)
    batch, q_len, kv_len, q_heads, kv_heads, head_dim, v_head_dim, page_size = (
        whole(values, name)
        for name in ("batch", "q_len", "kv_len", "q_heads", "kv_heads", "head_dim", "v_head_dim", "page_size")
    )
    width, generator = kv_len // page_size, torch.Generator().manual_seed(draw.seed)
    pages = batch * width + 3
    order = torch.randperm(pages, generator=generator)[: batch * width]
    table = order.reshape(batch, width).to(torch.int32)
    k_cache = draw.operand(pages, page_size, kv_heads, head_dim, dtype=values["kv_dtype"])
    v_cache = draw.operand(pages, page_size, kv_heads, v_head_dim, dtype=values["kv_dtype"])
    if values["has_seq_lens"]:
        lengths = torch.randint(min(q_len, kv_len), kv_len + 1, (batch,), generator=generator)
        unused = torch.ones(pages, page_size, dtype=torch.bool)
        for b, length in enumerate(lengths.tolist()):
            at = torch.arange(length)
            unused[table[b, at // page_size].long(), at % page_size] = False
        with torch.no_grad():
            for cache in (k_cache, v_cache):
                cache.copy_(cache.double().masked_fill(unused[:, :, None, None].to(device), 64.0).to(cache.dtype))
        options["seq_lens"] = lengths.to(torch.int32).to(device)
    if values["varlen"]:
        cuts = torch.randint(0, q_len + 1, (max(batch - 1, 0),), generator=generator).sort().values
        ends = [torch.zeros(1, dtype=torch.int64), cuts, torch.full((1,), q_len)] if batch else [torch.zeros(1)]
        options["cu_seqlens_q"] = torch.cat(ends).to(torch.int32).to(device)
        q = draw.operand(q_len, q_heads, head_dim)
    else:
        q = draw.operand(batch, q_len, q_heads, head_dim)
    return paged_attention.read(q, k_cache, v_cache, page_table=table.to(device), **options)

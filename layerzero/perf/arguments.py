"""Context fields -> a real call with random tensors that is described by just these fields.

What is made is read back by the operation's own reader: a field that the tensors do not have is an error, so that no
measurement is filed under a call that was not made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ArgumentError
from layerzero.operations import (
    attention,
    gelu,
    group_norm,
    layer_norm,
    paged_attention,
    rms_norm,
    rope,
    sample,
    silu,
    swiglu,
)
from layerzero.operations.call import Call
from layerzero.semantics.context import complete

DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

# What a call may be described by without its tensors showing it: where it is made, and what it is made in.
AROUND = ("device", "device_name", "sm", "arch", "cpu_isa", "sm_count", "memory_gib", "graph_capture", "deterministic")


def make_call(program: Program, scope: Scope, given: Mapping[str, Value], device: torch.device) -> Call:
    """A call whose context holds the given fields, on a device; fields that are not given have their defaults.

    Raises:
        ArgumentError: There is no such call, or no way to make it here.
        ContextError: The fields do not fit the operation.
    """
    values = complete(program, scope, given).values
    maker = _MAKERS.get(scope.operation)
    if maker is None:
        raise ArgumentError(f"`{scope.operation}` cannot be measured: no way to make its calls is known")
    call = maker(_Tensors(values, device))
    made = complete(program, Scope(scope.operation), {**call.context, **_around(given)}).values
    for name, value in given.items():
        if made.get(name) != value:
            has = made.get(name, "absent")
            raise ArgumentError(f"no call of `{scope}` with {name} = {value} is known to be made: it has {has}")
    call.context.update(_around(given))
    return call


def _around(given: Mapping[str, Value]) -> dict[str, Value]:
    return {name: given[name] for name in AROUND if name in given}


class _Tensors:
    """Random tensors for field values; N(0, 1), from a fixed seed."""

    def __init__(self, values: Mapping[str, Value], device: torch.device) -> None:
        self.values, self.device = values, device
        self._generator = torch.Generator(device).manual_seed(0)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def dtype(self, field: str = "dtype") -> torch.dtype:
        name = self.values[field]
        if name not in DTYPES:
            raise ArgumentError(f"no random tensors of {field} = {name} are made here")
        return DTYPES[str(name)]

    def normal(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        wanted = dtype or self.dtype()
        return torch.randn(shape, generator=self._generator, device=self.device, dtype=wanted)

    def weight(self, size: int) -> Tensor | None:
        return self.normal(size, dtype=self.dtype("weight_dtype")) if self.get("has_weight", True) else None

    def bias(self, size: int) -> Tensor | None:
        return self.normal(size, dtype=self.dtype("weight_dtype")) if self.get("has_bias", False) else None


def _attention(t: _Tensors) -> Call:
    return _paged(t) if t["paged"] else _dense(t)


def _scores(t: _Tensors) -> dict[str, Any]:
    """What dense and paged attention share beside the tensors."""
    found: dict[str, Any] = {"is_causal": t["causal"], "scale": t.get("scale")}
    found |= {"window": t["window"] or None, "softcap": t["softcap"] or None}
    found["sinks"] = t.normal(t["q_heads"]) if t["has_sinks"] else None
    return found


def _dense(t: _Tensors) -> Call:
    def tensor(length: int, heads: int, dim: int, dtype: torch.dtype) -> Tensor:
        shape = (length, heads) if t["layout"] == "bshd" else (heads, length)
        return t.normal(t["batch"], *shape, dim, dtype=dtype)

    q = tensor(t["q_len"], t["q_heads"], t["head_dim"], t.dtype())
    k = tensor(t["kv_len"], t["kv_heads"], t["head_dim"], t.dtype("kv_dtype"))
    v = tensor(t["kv_len"], t["kv_heads"], t["v_head_dim"], t.dtype("kv_dtype"))
    slopes = t.normal(t["q_heads"], dtype=torch.float32).abs() if t["has_alibi"] else None
    return attention.read(
        q,
        k,
        v,
        attn_mask=_mask(t),
        dropout_p=t["dropout"],
        alibi_slopes=slopes,
        layout=t["layout"],
        return_lse=t["return_lse"],
        **_scores(t),
    )


def _mask(t: _Tensors) -> Tensor | None:
    """Lets every query see its own position, so that no row is empty."""
    if t["mask_kind"] == "none":
        return None
    shape = (t["q_len"], t["kv_len"])
    if t["mask_kind"] == "bool":
        return torch.ones(shape, dtype=torch.bool, device=t.device).tril(t["kv_len"] - t["q_len"])
    return t.normal(*shape, dtype=t.dtype("mask_dtype" if "mask_dtype" in t.values else "dtype"))


def _paged(t: _Tensors) -> Call:
    """Pages in a shuffled order, as after some time of serving; every page is full."""
    batch, page_size, kv_len = t["batch"], t["page_size"], t["kv_len"]
    pages, left = divmod(kv_len, page_size)
    if left or t["varlen"]:
        wanted = "queries of one length" if t["varlen"] else f"a kv_len that page_size = {page_size} divides"
        raise ArgumentError(f"paged calls are made here with {wanted}")
    shape = (batch * pages, page_size, t["kv_heads"])
    order = torch.randperm(batch * pages, generator=torch.Generator().manual_seed(0))
    table = order.to(device=t.device, dtype=torch.int32).view(batch, pages)
    lengths = torch.full((batch,), kv_len, dtype=torch.int32, device=t.device) if t["has_seq_lens"] else None
    return paged_attention.read(
        t.normal(batch, t["q_len"], t["q_heads"], t["head_dim"]),
        t.normal(*shape, t["head_dim"], dtype=t.dtype("kv_dtype")),
        t.normal(*shape, t["v_head_dim"], dtype=t.dtype("kv_dtype")),
        table,
        seq_lens=lengths,
        **_scores(t),
    )


def _rms_norm(t: _Tensors) -> Call:
    x = t.normal(t["rows"], t["hidden_size"])
    residual = torch.randn_like(x) if t["has_residual"] else None
    return rms_norm.read(x, t.weight(t["hidden_size"]), t.get("eps", 1e-6), residual)


def _layer_norm(t: _Tensors) -> Call:
    size = t["hidden_size"]
    return layer_norm.read(t.normal(t["rows"], size), t.weight(size), t.bias(size), t.get("eps", 1e-5))


def _group_norm(t: _Tensors) -> Call:
    size = t["channels"]
    x = t.normal(t.get("batch", 1), size, t["spatial"])
    return group_norm.read(x, t["num_groups"], t.weight(size), t.bias(size), t.get("eps", 1e-5))


def _rope(t: _Tensors) -> Call:
    batch, length = t.get("batch", 1), t.get("q_len", 1)
    width = t["rotary_dim"] if t["tables"] == "full" else t["rotary_dim"] // 2
    angles = torch.rand((batch, length, width) if t["per_sequence"] else (length, width), device=t.device)
    cos, sin = (table(angles).to(t.dtype("table_dtype")) for table in (torch.cos, torch.sin))
    return rope.read(t.normal(batch, length, t.get("q_heads", 1), t["head_dim"]), cos, sin, t["interleaved"])


def _swiglu(t: _Tensors) -> Call:
    rows, size = t["rows"], t.get("hidden_size", 1)
    if t["packed"]:
        return swiglu.read(*t.normal(rows, 2 * size).chunk(2, -1))
    return swiglu.read(t.normal(rows, size), t.normal(rows, size))


def _gelu(t: _Tensors) -> Call:
    return gelu.read(t.normal(t["rows"], t.get("hidden_size", 1)), t["approximate"])


def _silu(t: _Tensors) -> Call:
    return silu.read(t.normal(t["rows"], t.get("hidden_size", 1)))


def _sample(t: _Tensors) -> Call:
    logits = t.normal(t.get("batch", 1), t["vocab"])
    if t["method"] == "greedy":
        return sample.read_greedy(logits)
    temperature = t.get("temperature", 1.0)
    if t["method"] == "topk":
        return sample.read_topk(logits, t.get("top_k", 50), temperature)
    return sample.read_topp(logits, t.get("top_p", 0.9), temperature)


_MAKERS: Mapping[str, Callable[[_Tensors], Call]] = {
    "attention": _attention,
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rope": _rope,
    "swiglu": _swiglu,
    "gelu": _gelu,
    "silu": _silu,
    "sample": _sample,
}

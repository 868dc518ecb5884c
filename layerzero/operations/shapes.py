"""A shape -> the context of a call that has it; a context -> a call that has it, of zeros.

So plans and warm-ups speak of calls that nobody has made yet: `(8, 2048, 32, 128)` of attention is batch 8, 2048
queries and keys, 32 heads of 128. What the shape does not say (fewer heads of the keys, a window) is given by field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from layerzero.check.expressions import Value
from layerzero.check.program import Scope
from layerzero.errors import ArgumentError
from layerzero.operations.tensors import dtype_named

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Shape = tuple[int, ...]
Values = Mapping[str, Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Zeros:
    """Tensors of zeros on one device: `zeros(2, 7, dtype="bf16")`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, *sizes: Any, dtype: Any) -> Tensor:
        import torch

        return torch.zeros(tuple(map(int, sizes)), dtype=dtype_named(dtype), device=self.device)

    def pages(self, rows: Any, pages: int) -> Tensor:
        """A page table that names each page once."""
        import torch

        return torch.arange(int(rows) * pages, dtype=torch.int32, device=self.device).reshape(int(rows), pages)


@dataclass(frozen=True, slots=True)
class CallShape:
    """`words` name the dimensions; `example` makes the arguments of the public call from a completed context."""

    words: tuple[str, ...]
    fields: Callable[[Shape, str | None], dict[str, Value]]
    example: Callable[[Values, Zeros], Arguments]
    more: bool = False  # dimensions before the first


def fields_of(scope: Scope, shape: object) -> dict[str, Value]:
    """The context fields that a shape gives.

    Raises:
        ArgumentError: It is not a shape of the operation.
    """
    known = _known(scope)
    wanted = f"{'(..., ' if known.more else '('}{', '.join(known.words)})"
    sizes = tuple(shape) if isinstance(shape, tuple | list) else ()
    whole = all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes)
    fits = len(sizes) >= len(known.words) if known.more else len(sizes) == len(known.words)
    if not whole or not fits:
        raise ArgumentError(f"argument `shapes`: wanted {wanted} for `{scope.operation}`, given {shape!r}")
    return known.fields(sizes, scope.view)


def example(scope: Scope, values: Values, device: torch.device) -> Arguments:
    """Arguments of the public call that has a completed context.

    Raises:
        ArgumentError: The operation has no such calls.
    """
    return _known(scope).example(values, Zeros(device))


def _known(scope: Scope) -> CallShape:
    found = SHAPES.get(scope.operation)
    if found is None:
        raise ArgumentError(f"`{scope.operation}` has no shapes; with shapes are {', '.join(sorted(SHAPES))}")
    return found


# ---------------------------------------------------------------- attention


def _attention_fields(shape: Shape, view: str | None) -> dict[str, Value]:
    """A decoding call has one query; the shape is that of its keys."""
    batch, length, heads, head_dim = shape
    queries = 1 if view in ("decode", "paged") else length
    sizes = {"batch": batch, "q_len": queries, "kv_len": length, "q_heads": heads, "kv_heads": heads}
    return {**sizes, "head_dim": head_dim}


def _attention_example(values: Values, zeros: Zeros) -> Arguments:
    kwargs = _options(values, {"causal": "is_causal", "window": "window", "softcap": "softcap", "scale": "scale"})
    if values.get("has_sinks"):
        kwargs["sinks"] = zeros(values["q_heads"], dtype=values["dtype"])
    return (_paged if values.get("paged") else _dense)(values, zeros, kwargs)


def _dense(values: Values, zeros: Zeros, kwargs: dict[str, Any]) -> Arguments:
    kwargs |= _options(values, {"dropout": "dropout_p", "return_lse": "return_lse"})
    bhsd = values.get("layout") == "bhsd"

    def tensor(length: str, heads: str, width: str, dtype: str) -> Tensor:
        inner = (values[heads], values[length]) if bhsd else (values[length], values[heads])
        return zeros(values["batch"], *inner, values[width], dtype=values[dtype])

    if bhsd:
        kwargs["layout"] = "bhsd"
    if values.get("has_alibi"):
        kwargs["alibi_slopes"] = zeros(values["q_heads"], dtype="fp32")
    if values.get("mask_kind", "none") != "none":
        dtype = "bool" if values["mask_kind"] == "bool" else values.get("mask_dtype", values["dtype"])
        mask = zeros(values["batch"], values["q_heads"], values["q_len"], values["kv_len"], dtype=dtype)
        kwargs["attn_mask"] = ~mask if dtype == "bool" else mask
    q = tensor("q_len", "q_heads", "head_dim", "dtype")
    k, v = (tensor("kv_len", "kv_heads", width, "kv_dtype") for width in ("head_dim", "v_head_dim"))
    return (q, k, v), kwargs


def _paged(values: Values, zeros: Zeros, kwargs: dict[str, Any]) -> Arguments:
    size = int(values.get("page_size", 16))
    table = zeros.pages(values["batch"], -(-int(values["kv_len"]) // size))
    caches = [
        zeros(table.numel(), size, values["kv_heads"], values[width], dtype=values["kv_dtype"])
        for width in ("head_dim", "v_head_dim")
    ]
    q = zeros(values["batch"], values["q_len"], values["q_heads"], values["head_dim"], dtype=values["dtype"])
    return (q, *caches, table), {"is_causal": False, **kwargs}


# ---------------------------------------------------------------- rows


def _row_fields(shape: Shape, view: str | None) -> dict[str, Value]:
    return {"rows": prod(shape[:-1]), "hidden_size": shape[-1]}


def _norm_example(values: Values, zeros: Zeros) -> Arguments:
    x = zeros(values["rows"], values["hidden_size"], dtype=values["dtype"])
    return (x,), {**_weights(values, zeros, "hidden_size"), **_options(values, {"eps": "eps"})}


def _weights(values: Values, zeros: Zeros, width: str) -> dict[str, Any]:
    named = {"weight": "has_weight", "bias": "has_bias"}
    made = {name: zeros(values[width], dtype=values["weight_dtype"]) for name, field in named.items() if values[field]}
    if values.get("has_residual"):
        made["residual"] = zeros(values["rows"], values["hidden_size"], dtype=values["dtype"])
    return made


def _elementwise_example(values: Values, zeros: Zeros, operands: int = 1) -> Arguments:
    tensors = tuple(zeros(values["rows"], values["hidden_size"], dtype=values["dtype"]) for _ in range(operands))
    return tensors, _options(values, {"approximate": "approximate"} if "approximate" in values else {})


def _group_norm_fields(shape: Shape, view: str | None) -> dict[str, Value]:
    batch, channels, spatial = shape
    return {"batch": batch, "channels": channels, "spatial": spatial}


def _group_norm_example(values: Values, zeros: Zeros) -> Arguments:
    x = zeros(values["batch"], values["channels"], values["spatial"], dtype=values["dtype"])
    options = {**_weights(values, zeros, "channels"), **_options(values, {"eps": "eps"})}
    return (x, int(values["num_groups"])), options


# ---------------------------------------------------------------- positions and tokens


def _rope_fields(shape: Shape, view: str | None) -> dict[str, Value]:
    batch, length, heads, head_dim = shape
    return {"batch": batch, "q_len": length, "q_heads": heads, "head_dim": head_dim}


def _rope_example(values: Values, zeros: Zeros) -> Arguments:
    x = zeros(values["batch"], values["q_len"], values["q_heads"], values["head_dim"], dtype=values["dtype"])
    rotary = int(values["rotary_dim"])
    rows = (values["batch"],) if values.get("per_sequence") else ()
    columns = rotary if values.get("tables") == "full" else rotary // 2
    tables = [zeros(*rows, values["q_len"], columns, dtype=values["table_dtype"]) for _ in range(2)]
    return (x, *tables), _options(values, {"interleaved": "interleaved"})


def _sample_fields(shape: Shape, view: str | None) -> dict[str, Value]:
    return {"batch": shape[0], "vocab": shape[1]}


def _sample_example(values: Values, zeros: Zeros) -> Arguments:
    logits = zeros(values["batch"], values["vocab"], dtype=values["dtype"])
    if values["method"] == "greedy":
        return (logits,), {}
    return (logits,), _options(values, {"top_k": "k", "top_p": "p", "temperature": "temperature"})


def _options(values: Values, names: Mapping[str, str]) -> dict[str, Any]:
    """Keyword arguments of the fields that are set, by the names of the parameters."""
    return {name: values[field] for field, name in names.items() if values.get(field) not in (None, False, 0, "none")}


_ROWS = ("hidden_size",)
SHAPES: Mapping[str, CallShape] = {
    "attention": CallShape(("batch", "seq", "heads", "head_dim"), _attention_fields, _attention_example),
    "rms_norm": CallShape(_ROWS, _row_fields, _norm_example, more=True),
    "layer_norm": CallShape(_ROWS, _row_fields, _norm_example, more=True),
    "group_norm": CallShape(("batch", "channels", "spatial"), _group_norm_fields, _group_norm_example),
    "swiglu": CallShape(_ROWS, _row_fields, partial(_elementwise_example, operands=2), more=True),
    "gelu": CallShape(_ROWS, _row_fields, _elementwise_example, more=True),
    "silu": CallShape(_ROWS, _row_fields, _elementwise_example, more=True),
    "rope": CallShape(("batch", "seq", "heads", "head_dim"), _rope_fields, _rope_example),
    "sample": CallShape(("batch", "vocab"), _sample_fields, _sample_example),
}

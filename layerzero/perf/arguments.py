"""Context fields -> a real call with random tensors that is described by just these fields.

What is made is read back by the operation's own reader: a field that the tensors do not have is an error, so that no
measurement is filed under a call that was not made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ArgumentError
from layerzero.operations import paged_attention
from layerzero.operations.call import Call
from layerzero.operations.inputs import inputs_of
from layerzero.operations.inputs.drawing import Drawing, whole
from layerzero.semantics.context import complete

if TYPE_CHECKING:
    import torch

# What a call may be described by without its tensors showing it: where it is made, and what it is made in.
AROUND = ("device", "device_name", "sm", "arch", "cpu_isa", "sm_count", "memory_gib", "graph_capture", "deterministic")


def make_call(program: Program, scope: Scope, given: Mapping[str, Value], device: torch.device) -> Call:
    """A call whose context holds the given fields, on a device; fields that are not given have their defaults.

    Raises:
        ArgumentError: There is no such call, or no way to make it here.
        ContextError: The fields do not fit the operation.
    """
    inputs = inputs_of(scope.operation)
    if inputs is None:
        raise ArgumentError(f"`{scope.operation}` cannot be measured: its calls take no tensors")
    values = {**inputs.TYPICAL, **complete(program, scope, {**given, "device": device.type}).values}
    serving = scope.operation == "attention" and values["paged"] is True and values["has_seq_lens"] is True
    call = _served_pages(values) if serving and not values["varlen"] else inputs.make(values, 0)
    around = {name: given[name] for name in AROUND if name in given}
    made = complete(program, Scope(scope.operation), {**call.context, **around}).values
    for name, value in given.items():
        if made.get(name) != value:
            has = made.get(name, "absent")
            raise ArgumentError(f"no call of `{scope}` with {name} = {value} is known to be made: it has {has}")
    call.context.update(around)
    return call


def _served_pages(values: Mapping[str, Value]) -> Call:
    """Pages in a shuffled order, as after some time of serving, each of them full: what is measured is the whole."""
    import torch

    draw, batch, page_size = Drawing(values, 0), whole(values, "batch"), whole(values, "page_size")
    pages, left = divmod(whole(values, "kv_len"), page_size)
    if left:
        raise ArgumentError(f"paged calls are made here with a kv_len that page_size = {page_size} divides")
    device, heads = str(values["device"]), whole(values, "kv_heads")
    order = torch.randperm(batch * pages, generator=torch.Generator().manual_seed(0)).to(torch.int32)
    lengths = torch.full((batch,), whole(values, "kv_len"), dtype=torch.int32, device=device)
    options: dict[str, Any] = {"is_causal": values["causal"], "scale": values.get("scale")}
    options |= {name: values[name] or None for name in ("window", "softcap")}
    return paged_attention.read(
        draw.plain(batch, whole(values, "q_len"), whole(values, "q_heads"), whole(values, "head_dim")),
        draw.plain(batch * pages, page_size, heads, whole(values, "head_dim"), dtype=values["kv_dtype"]),
        draw.plain(batch * pages, page_size, heads, whole(values, "v_head_dim"), dtype=values["kv_dtype"]),
        order.to(device).view(batch, pages),
        seq_lens=lengths,
        **options,
    )

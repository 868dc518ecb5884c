"""Calls that are made from context fields have those fields."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from layerzero.check import load_text, require
from layerzero.check.program import Program, Scope
from layerzero.operations.call import Call
from layerzero.operations.inputs import inputs_of
from layerzero.semantics.context import complete

OPERATIONS = tuple("attention rms_norm layer_norm group_norm rope alibi swiglu gelu silu sample linear".split())
ROWS = ("rms_norm", "layer_norm", "swiglu", "gelu", "silu")


@functools.cache
def program() -> Program:
    return require(load_text(""))


def made(operation: str, seed: int = 1, **wish: Any) -> Call:
    inputs = inputs_of(operation)
    assert inputs is not None
    given = inputs.settle({**inputs.TYPICAL, "device": "cpu", **wish}, wish.keys())
    assert given is not None, wish
    return inputs.make(complete(program(), Scope(operation), given).values, seed)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_typical_call_is_what_it_says(operation: str) -> None:
    inputs = inputs_of(operation)
    assert inputs is not None
    context = made(operation).context
    assert {name: context[name] for name in inputs.TYPICAL} == dict(inputs.TYPICAL)


@pytest.mark.parametrize(
    ("operation", "wish"),
    [
        *((o, {"contiguous": False}) for o in (*ROWS, "attention", "rope", "sample", "linear")),
        *((o, {"inner_contiguous": False}) for o in (*ROWS, "attention", "rope", "sample", "linear")),
        *((o, {"aligned": False}) for o in (*ROWS, "attention", "rope", "sample", "linear")),
        *((o, {"requires_grad": True}) for o in (*ROWS, "attention", "rope", "linear")),
        *((o, {"dtype": "bf16"}) for o in OPERATIONS),
        *((o, {"rows": 0}) for o in (*ROWS, "linear")),
        ("rms_norm", {"has_residual": True}),
        ("rms_norm", {"has_weight": False}),
        ("layer_norm", {"has_bias": True, "weight_dtype": "bf16"}),
        ("swiglu", {"packed": True, "requires_grad": True}),
        ("swiglu", {"packed": True, "rows": 1, "hidden_size": 3}),
        ("rope", {"tables": "full"}),
        ("rope", {"rotary_dim": 16, "per_sequence": True, "table_dtype": "fp64"}),
        ("attention", {"layout": "bhsd", "return_lse": True, "kv_heads": 2}),
        ("attention", {"mask_kind": "bool"}),
        ("attention", {"mask_dtype": "fp32", "dtype": "bf16"}),
        ("attention", {"mask_requires_grad": True}),
        ("attention", {"has_alibi": True, "has_sinks": True, "softcap": 2.0, "window": 3, "scale": 0.5}),
        ("attention", {"page_size": 4, "has_seq_lens": True, "dtype": "bf16", "kv_dtype": "fp8_e4m3"}),
        ("attention", {"varlen": True, "batch": 3, "q_len": 9}),
        ("attention", {"dropout": 0.5, "v_head_dim": 32}),
        ("sample", {"top_k": 3}),
        ("sample", {"top_p": 0.3, "temperature": 0.5, "has_generator": True}),
        ("linear", {"weight_dtype": "fp64", "has_bias": True}),
        ("linear", {"weight_format": "int8", "in_features": 33}),
        ("linear", {"weight_format": "fp8", "weight_dtype": "fp8_e5m2", "scales": "channel", "dtype": "fp8_e4m3"}),
        ("linear", {"weight_format": "gptq", "weight_bits": 2, "has_group_index": True, "plain_zeros": True}),
        ("linear", {"weight_format": "awq", "group_size": 16, "has_bias": True, "dtype": "fp16"}),
    ],
    ids=str,
)
def test_a_wish_is_fulfilled(operation: str, wish: dict[str, Any]) -> None:
    context = made(operation, **wish).context
    assert {name: context[name] for name in wish} == wish


@pytest.mark.parametrize(
    ("operation", "wish"),
    [
        ("attention", {"page_size": 4, "layout": "bhsd"}),
        ("attention", {"dtype": "int8"}),
        ("attention", {"kv_dtype": "bf16"}),
        ("attention", {"mask_dtype": "fp64"}),
        ("linear", {"weight_format": "awq", "has_group_index": True}),
        ("linear", {"weight_format": "gptq", "group_size": 24}),
        ("linear", {"weight_format": "gptq", "out_features": 33}),
        ("linear", {"weight_format": "int8", "scales": "group"}),
    ],
    ids=str,
)
def test_what_no_call_can_have_is_not_made(operation: str, wish: dict[str, Any]) -> None:
    inputs = inputs_of(operation)
    assert inputs is not None
    assert inputs.settle({**inputs.TYPICAL, "device": "cpu", **wish}, wish.keys()) is None


def test_a_seed_gives_the_same_tensors_and_another_gives_others() -> None:
    one, same, other = made("attention"), made("attention"), made("attention", seed=2)
    assert torch.equal(one.args[0], same.args[0])
    assert not torch.equal(one.args[0], other.args[0])
    assert not torch.equal(one.args[0], one.args[1])


def test_unused_slots_of_a_cache_would_change_the_answer() -> None:
    call = made("attention", page_size=4, has_seq_lens=True, kv_len=16)
    lengths, table = call.kwargs["seq_lens"].tolist(), call.kwargs["page_table"]
    assert any(length < 16 for length in lengths)
    for b, length in enumerate(lengths):
        for position in range(16):
            slot = call.args[1][table[b, position // 4].long(), position % 4]
            assert (slot == 64.0).all().item() is (position >= length)

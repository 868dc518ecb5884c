"""The table of parameters of each call, against signatures, the prelude and what is really read."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from layerzero.backends.weights import AWQWeight, Fp8Weight, GPTQWeight, Int8Weight
from layerzero.check import program_from_text
from layerzero.check.program import Program
from layerzero.operations import (
    alibi,
    attention,
    detokenize,
    gelu,
    group_norm,
    layer_norm,
    linear,
    paged_attention,
    rms_norm,
    rope,
    sample,
    sample_speculative,
    silu,
    swiglu,
    tokenize,
)
from layerzero.operations.call import AMBIENT, Call, Parameters
from layerzero.semantics.context import read_context

X = torch.ones(2, 3, 4, 8)
ROWS = torch.ones(3, 8)
TOKENS = torch.zeros(2, 2, dtype=torch.int64)
TABLE = torch.zeros(2, 2, dtype=torch.int32)
RANKS = str(Path(__file__).with_name("one.tiktoken"))
WORDS = torch.zeros(8, 8, dtype=torch.int32)

Entry = tuple[str, str, Callable[..., Call], Parameters, list[Call]]

CALLS: list[Entry] = [
    (
        "attention",
        "attention",
        attention.read,
        attention.PARAMETERS,
        [
            attention.read(X, X, X),
            attention.read(
                X,
                X,
                X,
                attn_mask=torch.zeros(3, 3),
                is_causal=True,
                dropout_p=0.5,
                scale=0.5,
                window=2,
                softcap=3.0,
                alibi_slopes=torch.ones(4),
                sinks=torch.ones(4),
                phase="prefill",
                enable_gqa=True,
                return_lse=True,
            ),
            attention.read(X, X, X, layout="bhsd"),
        ],
    ),
    (
        "paged_attention",
        "attention",
        paged_attention.read,
        paged_attention.PARAMETERS,
        [
            paged_attention.read(X, X, X, TABLE),
            paged_attention.read(
                torch.ones(5, 4, 8),
                X,
                X,
                TABLE,
                seq_lens=torch.ones(2, dtype=torch.int32),
                cu_seqlens_q=torch.tensor([0, 2, 5], dtype=torch.int32),
                is_causal=False,
                scale=1.0,
                window=3,
                softcap=2.0,
                sinks=torch.ones(4),
            ),
        ],
    ),
    (
        "rms_norm",
        "rms_norm",
        rms_norm.read,
        rms_norm.PARAMETERS,
        [rms_norm.read(ROWS), rms_norm.read(ROWS, torch.ones(8), residual=ROWS)],
    ),
    (
        "layer_norm",
        "layer_norm",
        layer_norm.read,
        layer_norm.PARAMETERS,
        [layer_norm.read(ROWS), layer_norm.read(ROWS, torch.ones(8), torch.ones(8), eps=0.1)],
    ),
    ("group_norm", "group_norm", group_norm.read, group_norm.PARAMETERS, [group_norm.read(X, 3)]),
    ("rope", "rope", rope.read, rope.PARAMETERS, [rope.read(X, torch.ones(3, 4), torch.ones(3, 4), interleaved=True)]),
    ("alibi", "alibi", alibi.read, alibi.PARAMETERS, [alibi.read(4, 3, 3), alibi.read(4, 3, 3, dtype=torch.float64)]),
    ("swiglu", "swiglu", swiglu.read, swiglu.PARAMETERS, [swiglu.read(ROWS, ROWS)]),
    ("gelu", "gelu", gelu.read, gelu.PARAMETERS, [gelu.read(ROWS), gelu.read(ROWS, "tanh")]),
    ("silu", "silu", silu.read, silu.PARAMETERS, [silu.read(ROWS)]),
    (
        "linear",
        "linear",
        linear.read,
        linear.PARAMETERS,
        [
            linear.read(ROWS, ROWS),
            linear.read(ROWS, ROWS, torch.ones(3)),
            linear.read(ROWS, Int8Weight.of(ROWS)),
            linear.read(ROWS, Fp8Weight.of(ROWS)),
            linear.read(ROWS, GPTQWeight(WORDS[:1], WORDS[:1, :1], ROWS[:1], torch.zeros(8, dtype=torch.int32))),
            linear.read(ROWS, AWQWeight(WORDS[:, :1], WORDS[:1, :1], ROWS[:1])),
        ],
    ),
    (
        "sample_topk",
        "sample",
        sample.read_topk,
        sample.TOPK_PARAMETERS,
        [sample.read_topk(ROWS, k=2, temperature=0.5, generator=torch.Generator())],
    ),
    ("sample_topp", "sample", sample.read_topp, sample.TOPP_PARAMETERS, [sample.read_topp(ROWS, p=0.5)]),
    ("sample_greedy", "sample", sample.read_greedy, sample.GREEDY_PARAMETERS, [sample.read_greedy(ROWS)]),
    (
        "sample_speculative",
        "sample_speculative",
        sample_speculative.read,
        sample_speculative.PARAMETERS,
        [
            sample_speculative.read(TOKENS, X[..., 0, :]),
            sample_speculative.read(TOKENS, X[..., 0, :], X[:, :2, 0], (-1, -1), 0.5, torch.Generator()),
        ],
    ),
    ("tokenize", "tokenize", tokenize.read, tokenize.PARAMETERS, [tokenize.read("a", RANKS, special=True)]),
    ("detokenize", "detokenize", detokenize.read, detokenize.PARAMETERS, [detokenize.read([0], RANKS)]),
]

every_call = pytest.mark.parametrize(
    ("name", "operation", "read", "parameters", "calls"), CALLS, ids=[entry[0] for entry in CALLS]
)


@pytest.fixture(scope="module")
def program() -> Program:
    return program_from_text('policy "words" version 1')


@every_call
def test_table_signature_and_public_call_agree(
    name: str, operation: str, read: Callable[..., Call], parameters: Parameters, calls: list[Call]
) -> None:
    import layerzero as lz

    signature = inspect.signature(read).parameters
    assert list(parameters) == list(signature)
    public = inspect.signature(getattr(lz, name)).parameters
    assert list(public) == list(signature)
    assert {p: public[p].default for p in public} == {p: signature[p].default for p in signature}


@every_call
def test_every_parameter_selects_with_declared_words(
    program: Program, name: str, operation: str, read: Callable[..., Call], parameters: Parameters, calls: list[Call]
) -> None:
    declared = program.operations[operation]
    fields, features = {*declared.needs, *declared.optional}, set(declared.features)
    for parameter, role in parameters.items():
        assert set(role.fields) <= fields, parameter
        assert set(role.features) <= features, parameter
        assert role.fields or role.hint, f"{parameter} changes the result and selects nothing"


@every_call
def test_what_is_read_is_in_the_table_and_in_the_prelude(
    program: Program, name: str, operation: str, read: Callable[..., Call], parameters: Parameters, calls: list[Call]
) -> None:
    listed = {field for role in parameters.values() for field in role.fields} | set(AMBIENT)
    if operation == "attention":
        listed |= {"paged", "phase", "layout"}
    for call in calls:
        assert call.operation == operation
        assert set(call.context) <= listed, name
        scope, values = read_context(program, {"operation": operation, **call.context})
        assert scope.operation == operation
        assert len(values) == len(call.context)


def test_the_arguments_that_equal_their_default_are_left_out() -> None:
    assert attention.read(X, X, X, dropout_p=0.0, window=None, softcap=0.0, layout="bshd").kwargs == {}
    assert rms_norm.read(ROWS, None, 1e-6).kwargs == {}
    hints: dict[str, Any] = {"phase": "prefill", "enable_gqa": True}
    assert attention.read(X, X, X, **hints).kwargs == {}

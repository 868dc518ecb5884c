"""Wrong arguments name the argument, what was wanted and what was given; right ones become the right context."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from layerzero.backends.weights import Fp8Weight, GPTQWeight, Int8Weight
from layerzero.errors import ArgumentError
from layerzero.operations import (
    alibi,
    attention,
    gelu,
    group_norm,
    layer_norm,
    linear,
    paged_attention,
    rms_norm,
    rope,
    sample,
    sample_speculative,
    swiglu,
)
from layerzero.operations.validation import set_validation

Q, K = torch.ones(2, 3, 4, 8), torch.ones(2, 5, 2, 8)
WORDS = torch.zeros(8, 8, dtype=torch.int32)
PAGES, TABLE = torch.ones(9, 16, 2, 8), torch.zeros(2, 3, dtype=torch.int32)
X = torch.ones(3, 8)
DRAFT, LOGITS = torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 3, 4)
META = torch.ones(2, 5, 2, 8, device="meta")


draft = sample_speculative.read


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


WRONG: list[tuple[Callable[[], Any], str, str, str]] = [
    (lambda: attention.read(Q[0], K, K), "q", "[batch, seq, heads, head_dim]", "[3, 4, 8]"),
    (lambda: attention.read("q", K, K), "q", "a tensor", "str"),
    (lambda: attention.read(Q.to_sparse(), K, K), "q", "a dense tensor", "sparse"),
    (lambda: attention.read(Q, K[:1], K), "k", "batch 2", "[1, 5, 2, 8]"),
    (lambda: attention.read(Q, K[..., :7], K), "k", "head_dim 8", "[2, 5, 2, 7]"),
    (lambda: attention.read(Q, K, K[:, :4]), "v", "[2, 5, 2]", "[2, 4, 2, 8]"),
    (lambda: attention.read(Q[:, :, :3], K, K), "k", "divides the 3", "2"),
    (lambda: attention.read(Q, K.double(), K.double()), "k", "float32", "float64"),
    (lambda: attention.read(Q, K, K.half()), "v", "float32", "float16"),
    (lambda: attention.read(Q.int(), K.int(), K.int()), "q", "dtype fp64", "int32"),
    (lambda: attention.read(Q, META, K), "k", "cpu", "meta"),
    (lambda: attention.read(Q, K, K, is_causal=1), "is_causal", "a bool", "1"),
    (lambda: attention.read(Q, K, K, dropout_p=1.5), "dropout_p", "0..1", "1.5"),
    (lambda: attention.read(Q, K, K, dropout_p=float("nan")), "dropout_p", "0..1", "nan"),
    (lambda: attention.read(Q, K, K, scale=float("inf")), "scale", "finite", "inf"),
    (lambda: attention.read(Q, K, K, window=0), "window", "at least 1", "0"),
    (lambda: attention.read(Q, K, K, window=2.0), "window", "at least 1", "2.0"),
    (lambda: attention.read(Q, K, K, softcap=-1.0), "softcap", "above 0", "-1.0"),
    (lambda: attention.read(Q, K, K, attn_mask=torch.ones(3, 4).bool()), "attn_mask", "[2, 4, 3, 5]", "[3, 4]"),
    (lambda: attention.read(Q, K, K, attn_mask=torch.ones(3, 5).int()), "attn_mask", "torch.bool", "int32"),
    (lambda: attention.read(Q, K, K, alibi_slopes=torch.ones(2)), "alibi_slopes", "[4]", "[2]"),
    (lambda: attention.read(Q, K, K, alibi_slopes=torch.ones(4).half()), "alibi_slopes", "fp32", "float16"),
    (lambda: attention.read(Q, K, K, sinks=torch.ones(2)), "sinks", "[4]", "[2]"),
    (lambda: attention.read(Q, K, K, layout="sbhd"), "layout", '"bhsd"', "sbhd"),
    (lambda: attention.read(Q, K, K, enable_gqa=False), "enable_gqa", "4 query heads", "False"),
    (lambda: attention.read(Q, K, K, phase="decode"), "phase", '"prefill"', "decode"),
    (lambda: paged_attention.read(Q, PAGES, PAGES, TABLE.long()), "page_table", "int32", "int64"),
    (lambda: paged_attention.read(Q, PAGES, PAGES, TABLE[:1]), "q", "batch 1", "[2, 3, 4, 8]"),
    (lambda: paged_attention.read(Q, PAGES[0], PAGES, TABLE), "k_cache", "page_size", "[16, 2, 8]"),
    (lambda: paged_attention.read(Q, PAGES, PAGES[:8], TABLE), "v_cache", "[9, 16, 2]", "[8, 16, 2, 8]"),
    (lambda: paged_attention.read(Q, PAGES, PAGES, TABLE, seq_lens=ints(1)), "seq_lens", "[2]", "[1]"),
    (lambda: paged_attention.read(Q[0], PAGES, PAGES, TABLE, cu_seqlens_q=ints(0)), "cu_seqlens_q", "[3]", "[1]"),
    (
        lambda: paged_attention.read(Q, PAGES, PAGES, TABLE, cu_seqlens_q=ints(0, 1, 2)),
        "q",
        "[total, heads",
        "[2, 3, 4, 8]",
    ),
    (lambda: rms_norm.read(X, torch.ones(7)), "weight", "[8]", "[7]"),
    (lambda: rms_norm.read(X, residual=X[:2]), "residual", "[3, 8]", "[2, 8]"),
    (lambda: rms_norm.read(X, residual=X.double()), "residual", "float32", "float64"),
    (lambda: rms_norm.read(X, eps=-1.0), "eps", "at least 0", "-1.0"),
    (lambda: rms_norm.read(torch.ones(())), "x", "hidden_size", "[]"),
    (lambda: layer_norm.read(X, torch.ones(8), torch.ones(8).half()), "bias", "float32", "float16"),
    (lambda: group_norm.read(Q, 2), "num_groups", "3 channels", "2"),
    (lambda: group_norm.read(X[0], 2), "x", "[batch, channels, ...]", "[8]"),
    (
        lambda: attention.read(Q, K, K, attn_mask=torch.ones(3, 5).int()),
        "attn_mask",
        "attends) or torch.float32",
        "int32",
    ),
    (lambda: rope.read(Q[:1], torch.ones(7, 4), torch.ones(7, 4)), "cos", "[3, 4] or [1, 3, 4], a row", "[7, 4]"),
    (lambda: rope.read(Q, torch.ones(3, 5), torch.ones(3, 5)), "cos", "1..4", "[3, 5]"),
    (lambda: rope.read(Q, torch.ones(7, 4), torch.ones(7, 4)), "cos", "3 positions", "[7, 4]"),
    (lambda: rope.read(Q, torch.ones(3, 4), torch.ones(3, 3)), "sin", "[3, 4]", "[3, 3]"),
    (lambda: alibi.read(0, 1, 1), "num_heads", "at least 1", "0"),
    (lambda: swiglu.read(X, X[:1]), "up", "[3, 8]", "[1, 8]"),
    (lambda: gelu.read(X, "fast"), "approximate", '"tanh"', "fast"),
    (lambda: linear.read(X, torch.ones(4, 7)), "weight", "in_features 8", "[4, 7]"),
    (lambda: linear.read(X, torch.ones(8)), "weight", "[out_features, in_features]", "[8]"),
    (lambda: linear.read(X, [1.0]), "weight", "Int8Weight", "list"),
    (lambda: linear.read(X, torch.ones(4, 8), torch.ones(8)), "bias", "[4]", "[8]"),
    (lambda: linear.read(X, torch.ones(4, 8), torch.ones(4).half()), "bias", "float32", "float16"),
    (lambda: linear.read(X, Int8Weight(X, torch.ones(3))), "weight.values", "int8", "float32"),
    (lambda: linear.read(X, Int8Weight(X.to(torch.int8), torch.ones(8))), "weight.scale", "[3]", "[8]"),
    (lambda: linear.read(X, Fp8Weight(X.to(torch.float8_e4m3fn), torch.ones(1))), "weight.scale", "[]", "[1]"),
    (lambda: linear.read(X, GPTQWeight(WORDS[:1], WORDS[:3, :1], X)), "weight.scales", "divides the 8", "[3, 8]"),
    (lambda: linear.read(X, GPTQWeight(WORDS[:1], WORDS[:1], X[:1])), "weight.qzeros", "[1, 1]", "[1, 8]"),
    (lambda: linear.read(X, GPTQWeight(X[:1], WORDS[:1], X[:1])), "weight.qweight", "int32", "float32"),
    (lambda: linear.read(X, GPTQWeight(WORDS[:1], WORDS[:1, :1], X[:1], bits=3)), "weight.bits", "2, 4 or 8", "3"),
    (lambda: sample.read_topk(X, k=0), "k", "at least 1", "0"),
    (lambda: sample.read_topp(X, p=0.0), "p", "above 0", "0.0"),
    (lambda: sample.read_topp(X, p=1.1), "p", "at most 1", "1.1"),
    (lambda: sample.read_topk(X, temperature=0.0), "temperature", "above 0", "0.0"),
    (lambda: sample.read_topk(X, generator=3), "generator", "torch.Generator", "int"),
    (lambda: sample.read_greedy(torch.ones(3, 0)), "logits", "at least one token", "[3, 0]"),
    (lambda: draft(torch.ones(1, 2), LOGITS), "draft_tokens", "int64", "float32"),
    (lambda: draft(DRAFT, LOGITS[:, :2]), "target_logits", "[1, 3, 4]", "[1, 2, 4]"),
    (lambda: draft(DRAFT, LOGITS, LOGITS), "draft_logits", "[1, 2, 4]", "[1, 3, 4]"),
    (lambda: draft(DRAFT, LOGITS, LOGITS[:, :2].half()), "draft_logits", "float32", "float16"),
    (lambda: draft(DRAFT, LOGITS, parents=(-1,)), "parents", "2 of them", "(-1,)"),
    (lambda: draft(DRAFT, LOGITS, parents=(-1, 1)), "parents", "an earlier one", "1 for token 1"),
    (lambda: draft(DRAFT, LOGITS, temperature=0.0), "temperature", "above 0", "0.0"),
    (lambda: draft(DRAFT, LOGITS, generator=3), "generator", "torch.Generator", "int"),
    (lambda: draft(DRAFT + 4, LOGITS), "draft_tokens", "0..3", "4..4"),
]


@pytest.mark.parametrize(("call", "argument", "wanted", "given"), WRONG)
def test_a_wrong_argument_is_named(call: Callable[[], Any], argument: str, wanted: str, given: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        call()
    message = str(caught.value)
    head, _, tail = message.partition(", given ")
    assert head.startswith(f"argument `{argument}`: wanted "), message
    assert wanted in head, message
    assert given in tail, message


def test_the_layout_is_taken_at_its_word() -> None:
    x = torch.ones(1, 16, 8, 64)  # either could be the heads
    assert attention.read(x, x, x).context["q_heads"] == 8
    assert attention.read(x, x, x, layout="bhsd").context["q_heads"] == 16


def test_strides_gradients_and_phase_are_read() -> None:
    step = attention.read(Q[:, :1], K, K).context
    assert (step["phase"], step["q_len"], step["kv_len"]) == ("decode", 1, 5)
    assert attention.read(Q, K, K).context["phase"] == "prefill"
    turned = torch.ones(2, 4, 3, 8).transpose(1, 2)
    assert not attention.read(turned, K, K).context["contiguous"]
    assert attention.read(turned, K, K).context["inner_contiguous"]
    assert not attention.read(torch.ones(2, 3, 8, 4).mT, K, K).context["inner_contiguous"]
    asking = Q.clone().requires_grad_()
    assert attention.read(asking, K, K).context["requires_grad"]
    with torch.no_grad():
        assert not attention.read(asking, K, K).context["requires_grad"]


def test_a_mask_reaches_the_kernel_with_four_dimensions() -> None:
    call = attention.read(Q, K, K, attn_mask=torch.ones(4, 1, 5).bool())
    assert call.kwargs["attn_mask"].shape == (1, 4, 1, 5)
    assert call.context["mask_kind"] == "bool"


def test_paged_lengths_are_the_capacity() -> None:
    call = paged_attention.read(Q, PAGES, PAGES, TABLE, seq_lens=ints(48, 3))
    assert (call.context["kv_len"], call.context["page_size"], call.context["paged"]) == (48, 16, True)


@pytest.mark.parametrize(
    ("lengths", "table", "wanted"),
    [
        (ints(49, 1), TABLE, "`seq_lens`: wanted lengths in 0..48, the capacity of `page_table`, given 49 at 0"),
        (ints(1, -1), TABLE, "`seq_lens`: wanted lengths in 0..48, the capacity of `page_table`, given -1 at 1"),
        (
            ints(17, 1),
            ints(0, 9, 0, 0, 0, 0).view(2, 3),
            "`page_table`: wanted pages in 0..8 for the keys in use, given 9",
        ),
        (ints(17, 1), ints(0, -1, 0, 0, 0, 0).view(2, 3), "given -1 in row 0"),
    ],
)
def test_lengths_and_pages_outside_of_the_cache(lengths: torch.Tensor, table: torch.Tensor, wanted: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(wanted)):
        paged_attention.read(Q, PAGES, PAGES, table, seq_lens=lengths)


def test_pages_past_a_length_may_be_anything() -> None:
    unused = ints(0, 9, -5, 0, 0, 0).view(2, 3)
    paged_attention.read(Q, PAGES, PAGES, unused, seq_lens=ints(16, 1))
    paged_attention.read(Q, PAGES, PAGES, ints(-1, -1, -1, -1, -1, -1).view(2, 3), seq_lens=ints(0, 0))


@pytest.mark.parametrize("offsets", [(0, 2, 1), (1, 2, 3), (0, 1, 2)])
def test_offsets_that_do_not_rise_over_all_queries(offsets: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match="cu_seqlens_q"):
        paged_attention.read(Q[0], PAGES, PAGES, TABLE, cu_seqlens_q=ints(*offsets))


def test_values_without_memory_are_not_looked_at() -> None:
    q, pages = torch.ones(2, 3, 4, 8, device="meta"), torch.ones(9, 16, 2, 8, device="meta")
    table = torch.full((2, 3), 99, dtype=torch.int32, device="meta")
    assert paged_attention.read(q, pages, pages, table).context["device"] == "meta"


@pytest.mark.gpu
def test_values_on_a_device_are_looked_at_where_that_is_asked_for() -> None:
    on = [t.cuda() for t in (Q, PAGES, PAGES, torch.full((2, 3), 99, dtype=torch.int32))]
    paged_attention.read(*on)
    set_validation("values")
    try:
        with pytest.raises(ArgumentError, match="page_table"):
            paged_attention.read(*on)
    finally:
        set_validation("arguments")


def test_rows_at_odd_places_are_misaligned() -> None:
    wide = torch.ones(2, 3, 4, 17)[..., :8]
    assert not attention.read(wide, K, K).context["aligned"]
    assert attention.read(torch.ones(2, 3, 4, 16)[..., :8], K, K).context["aligned"]
    assert attention.read(torch.ones(2, 3, 4, 9), torch.ones(2, 5, 2, 9), torch.ones(2, 5, 2, 9)).context["aligned"]

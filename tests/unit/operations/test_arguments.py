"""Wrong arguments name the argument, what was wanted and what was given; right ones become the right context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from layerzero.errors import ArgumentError
from layerzero.operations import (
    alibi,
    attention,
    gelu,
    group_norm,
    layer_norm,
    paged_attention,
    rms_norm,
    rope,
    sample,
    swiglu,
)

Q, K = torch.ones(2, 3, 4, 8), torch.ones(2, 5, 2, 8)
PAGES, TABLE = torch.ones(9, 16, 2, 8), torch.zeros(2, 3, dtype=torch.int32)
X = torch.ones(3, 8)
META = torch.ones(2, 5, 2, 8, device="meta")


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


WRONG: list[tuple[Callable[[], Any], str, str, str]] = [
    (lambda: attention.read(Q[0], K, K), "q", "[batch, seq, heads, head_dim]", "[3, 4, 8]"),
    (lambda: attention.read("q", K, K), "q", "a tensor", "str"),
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
    (lambda: rope.read(Q, torch.ones(3, 5), torch.ones(3, 5)), "cos", "1..4", "[3, 5]"),
    (lambda: rope.read(Q, torch.ones(7, 4), torch.ones(7, 4)), "cos", "3 positions", "[7, 4]"),
    (lambda: rope.read(Q, torch.ones(3, 4), torch.ones(3, 3)), "sin", "[3, 4]", "[3, 3]"),
    (lambda: alibi.read(0, 1, 1), "num_heads", "at least 1", "0"),
    (lambda: swiglu.read(X, X[:1]), "up", "[3, 8]", "[1, 8]"),
    (lambda: gelu.read(X, "fast"), "approximate", '"tanh"', "fast"),
    (lambda: sample.read_topk(X, k=0), "k", "at least 1", "0"),
    (lambda: sample.read_topp(X, p=0.0), "p", "above 0", "0.0"),
    (lambda: sample.read_topp(X, p=1.1), "p", "at most 1", "1.1"),
    (lambda: sample.read_topk(X, temperature=0.0), "temperature", "above 0", "0.0"),
    (lambda: sample.read_topk(X, generator=3), "generator", "torch.Generator", "int"),
    (lambda: sample.read_greedy(torch.ones(3, 0)), "logits", "at least one token", "[3, 0]"),
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


def test_paged_lengths_are_the_capacity_and_values_are_looked_at_on_request() -> None:
    call = paged_attention.read(Q, PAGES, PAGES, TABLE, seq_lens=ints(48, 3))
    assert (call.context["kv_len"], call.context["page_size"], call.context["paged"]) == (48, 16, True)
    paged_attention.check_values(call)
    for lengths, table, wanted in (
        (ints(49, 1), TABLE, "seq_lens"),
        (ints(-1, 1), TABLE, "seq_lens"),
        (ints(17, 1), ints(0, 9, 0, 0, 0, 0).view(2, 3), "page_table"),
        (ints(17, 1), ints(0, -1, 0, 0, 0, 0).view(2, 3), "page_table"),
    ):
        with pytest.raises(ArgumentError, match=wanted):
            paged_attention.check_values(paged_attention.read(Q, PAGES, PAGES, table, seq_lens=lengths))
    unused = ints(0, 9, -5, 0, 0, 0).view(2, 3)
    paged_attention.check_values(paged_attention.read(Q, PAGES, PAGES, unused, seq_lens=ints(16, 1)))
    for offsets in (ints(0, 2, 1), ints(1, 2, 3), ints(0, 1, 2)):
        with pytest.raises(ArgumentError, match="cu_seqlens_q"):
            paged_attention.check_values(paged_attention.read(Q[0], PAGES, PAGES, TABLE, cu_seqlens_q=offsets))

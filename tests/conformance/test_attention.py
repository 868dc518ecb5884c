"""Attention kernels over every feature they claim, alone and combined, against the definition in fp64."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from typing import Any

import conformance_expected as expected
import pytest
import torch
from conformance_compare import ATTENTION, DEVICES, DTYPES, assert_close, normal
from conformance_kernels import kernels, run, serves, serves_on
from torch import Tensor

from layerzero.operations import attention
from layerzero.operations.call import Call

Case = dict[str, Any]  # sizes and names of options; made into tensors by `build`

BASE: Case = {"batch": 2, "q_len": 7, "kv_len": 7, "q_heads": 4, "kv_heads": 4, "head_dim": 16}

ONE_BY_ONE: list[Case] = [
    {},
    *({"head_dim": d} for d in (1, 3, 8, 20, 64, 80, 128, 192, 256, 320)),
    *({"kv_heads": h} for h in (1, 2)),
    {"q_heads": 6, "kv_heads": 2},
    *(
        {"q_len": s, "kv_len": t, "causal": c}
        for s, t in ((1, 1), (1, 33), (5, 13), (13, 5), (65, 65), (33, 130), (130, 33), (1, 257))
        for c in (False, True)
    ),
    *({"window": w, "causal": c} for w in (1, 3, 7, 100) for c in (False, True)),
    {"window": 2, "q_len": 9, "kv_len": 4},
    {"window": 4, "q_len": 1, "kv_len": 19},
    {"window": 5, "q_len": 33, "kv_len": 70, "kv_heads": 2},
    *({"scale": s, "causal": True} for s in (0.5, 0.0, -0.1, 3.0)),
    *({"softcap": s} for s in (0.7, 30.0)),
    {"v_head_dim": 8},
    {"head_dim": 24, "v_head_dim": 40, "causal": True},
    *({"layout": "bhsd", "kv_heads": h, "causal": c} for h in (1, 4) for c in (False, True)),
    {"layout": "bhsd", "kv_len": 13},
    *({"strides": s} for s in ("transposed", "inner", "wide")),
    *({"mask": m, "mask_shape": s} for m in ("bool", "same", "fp32") for s in ("full", "heads", "batch", "keys", "2d")),
    *({"mask": m, "dead": True, "causal": c} for m in ("bool", "same", "fp32") for c in (False, True)),
    {"mask": "bool", "dead": True, "kv_len": 21, "kv_heads": 2, "causal": True},
    {"mask": "same", "window": 3, "kv_len": 11},
    {"mask": "bool", "mask_shape": "queries"},
    *({"alibi": a, "causal": c} for a in ("heads", "batch") for c in (False, True)),
    {"alibi": "heads", "q_len": 5, "kv_len": 19, "kv_heads": 2},
    *({"sinks": True, **more} for more in ({}, {"causal": True}, {"mask": "bool", "dead": True})),
    *(
        {"lse": True, **more}
        for more in (
            {},
            {"causal": True, "kv_len": 12},
            {"causal": True, "q_len": 12},
            {"softcap": 5.0, "alibi": "heads", "window": 4},
            {"mask": "bool", "dead": True},
            {"sinks": True, "layout": "bhsd"},
        )
    ),
    *({"batch": 0, "lse": flag} for flag in (False, True)),
    {"q_len": 0},
    {"kv_len": 0, "causal": True},
    {"kv_len": 0, "sinks": True, "lse": True},
    {"q_len": 0, "kv_len": 0},
    {"batch": 1, "q_len": 1, "kv_len": 1, "q_heads": 1, "kv_heads": 1, "head_dim": 1},
    {"large": True, "causal": True},
    # Sizes of models, which are all that some kernels take.
    *(
        {"head_dim": d, "kv_heads": 2, "batch": b, **more}
        for d in (64, 128)
        for b in (1, 2)
        for more in (
            {"causal": True, "kv_len": 40},
            {"q_len": 1, "kv_len": 33},
            {"q_len": 1, "kv_len": 48, "window": 5, "lse": True},
            {"softcap": 5.0, "causal": True, "lse": True},
            {"scale": 0.2, "sinks": True},
        )
    ),
]


def combined(count: int) -> list[Case]:
    """Random combinations, the same in every run: features that are right alone may be wrong together."""
    draw = random.Random(20261123)
    cases = []
    for _ in range(count):
        kv_heads = draw.choice((1, 2, 3))
        case: Case = {
            "batch": draw.choice((1, 2, 3)),
            "q_len": draw.choice((1, 2, 5, 17)),
            "kv_len": draw.choice((1, 4, 17, 40)),
            "kv_heads": kv_heads,
            "q_heads": kv_heads * draw.choice((1, 2, 3)),
            "head_dim": draw.choice((8, 16, 24, 33)),
            "causal": draw.random() < 0.5,
            "layout": draw.choice(("bshd", "bhsd")),
        }
        options: list[Case] = [
            {"window": draw.choice((1, 4, 9))},
            {"softcap": 8.0},
            {"scale": 0.3},
            {"mask": draw.choice(("bool", "same", "fp32")), "dead": draw.random() < 0.3},
            {"alibi": draw.choice(("heads", "batch"))},
            {"sinks": True},
            {"lse": True},
            {"v_head_dim": draw.choice((8, 16))},
            {"strides": draw.choice(("transposed", "inner", "wide"))},
        ]
        for option in draw.sample(options, draw.choice((0, 1, 1, 2, 3))):
            case |= option
        cases.append(case)
    return cases


def build(case: Case, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """The keyword arguments of the public call for a case."""
    c = BASE | case
    layout = c.get("layout", "bshd")

    def operand(seq: int, heads: int, dim: int, seed: int) -> Tensor:
        shape = (c["batch"], seq, heads, dim) if layout == "bshd" else (c["batch"], heads, seq, dim)
        make: Callable[..., Tensor] = lambda *s: normal(*s, dtype=dtype, device=device, seed=seed)  # noqa: E731
        match c.get("strides"):
            case "transposed":  # as a model gives it: the other layout, seen through a transpose
                return make(shape[0], shape[2], shape[1], shape[3]).transpose(1, 2)
            case "inner":  # the last dimension is not the fastest
                return make(shape[0], shape[3], shape[1], shape[2]).permute(0, 2, 3, 1)
            case "wide":  # a slice of a packed qkv
                return make(*shape[:3], 3 * dim)[..., dim : 2 * dim]
        return make(*shape)

    q = operand(c["q_len"], c["q_heads"], c["head_dim"], 1)
    k = operand(c["kv_len"], c["kv_heads"], c["head_dim"], 2)
    v = operand(c["kv_len"], c["kv_heads"], c.get("v_head_dim", c["head_dim"]), 3)
    if c.get("large"):
        q, k = q * 8, k * 8
    options: dict[str, Any] = {"is_causal": c.get("causal", False), "layout": layout}
    options |= {name: c[name] for name in ("scale", "window", "softcap") if name in c}
    if "mask" in c:
        options["attn_mask"] = _mask(c, dtype, device)
    if "alibi" in c:
        shape = (c["q_heads"],) if c["alibi"] == "heads" else (c["batch"], c["q_heads"])
        options["alibi_slopes"] = normal(*shape, dtype=torch.float32, device=device, seed=5).abs()
    if c.get("sinks"):
        options["sinks"] = normal(c["q_heads"], dtype=dtype, device=device, seed=6)
    if c.get("lse"):
        options["return_lse"] = True
    return {"q": q, "k": k, "v": v, **options}


def _mask(c: Case, dtype: torch.dtype, device: str) -> Tensor:
    b, h, s, t = c["batch"], c["q_heads"], c["q_len"], c["kv_len"]
    shapes = {"full": (b, h, s, t), "heads": (1, h, s, t), "batch": (b, 1, s, t), "keys": (b, 1, 1, t)}
    shape = (shapes | {"2d": (s, t), "queries": (b, h, s, 1)})[c.get("mask_shape", "full")]
    keep = normal(*shape, dtype=torch.float32, device=device, seed=7) > -0.7
    if c.get("dead"):
        keep[..., 0, :] = False
        keep[..., -1, :] = False
    if c["mask"] == "bool":
        return keep
    bias = normal(*shape, dtype=torch.float32, device=device, seed=8).masked_fill(~keep, -math.inf)
    return bias.to(dtype if c["mask"] == "same" else torch.float32)


ALL = [*ONE_BY_ONE, *combined(60)]


def combinations() -> list[Any]:
    """(kernel, dtype, device) wherever the facts accept at least one case."""
    found = []
    for dtype in DTYPES:
        calls = [attention.read(**build(case, dtype, "cpu")) for case in ALL]
        for kernel in kernels("attention"):
            for device in ("cpu", "cuda"):
                if any(serves_on(kernel, call, device) for call in calls):
                    marks = [pytest.mark.gpu] if device == "cuda" else []
                    found.append(pytest.param(kernel, dtype, device, marks=marks, id=f"{kernel}-{dtype}-{device}"))
    return found


COMBINATIONS = combinations()


@functools.cache
def definition(number: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The definition is slow; each case is computed once for all kernels and devices."""
    return expected.attention(**build(ALL[number], dtype, "cpu"))


@pytest.mark.parametrize(("kernel", "dtype", "device"), COMBINATIONS)
def test_kernel_agrees(kernel: str, dtype: torch.dtype, device: str) -> None:
    for number, case in enumerate(ALL):
        call = attention.read(**build(case, dtype, device))
        if serves(kernel, call):
            _check(run(kernel, call), *definition(number, dtype), call, dtype, f"{kernel} on {case}")


def test_every_kernel_has_a_case() -> None:
    covered = {combination.values[0] for combination in COMBINATIONS}
    paged = {kernel for kernel in kernels("attention") if "paged" in kernel}  # test_paged_attention.py
    assert covered | paged == set(kernels("attention"))


def _check(got: Any, out: Tensor, lse: Tensor, call: Call, dtype: torch.dtype, what: str) -> None:
    if call.kwargs.get("return_lse"):
        got, got_lse = got
        # Scores come from rounded inputs only, so the log-sum-exp is as exact as fp32 sums; kernels answer in fp32.
        assert_close(got_lse, lse, max(1e-5, ATTENTION[dtype] / 2), f"{what}, lse")
    assert got.dtype == dtype, what
    assert_close(got, out, ATTENTION[dtype], what)
    dead = lse == -math.inf
    if call.kwargs.get("layout", "bshd") == "bshd":
        got = got.transpose(1, 2)
    assert not got.detach().cpu()[dead].any(), f"{what}: a row that attends nothing is not zero"


@pytest.mark.parametrize("device", DEVICES)
def test_dropout_keeps_the_mean_and_drops(device: str) -> None:
    arguments = build({"batch": 1, "q_heads": 1, "kv_heads": 1, "kv_len": 400}, torch.float32, device)
    arguments["v"] = torch.ones_like(arguments["v"])
    call = attention.read(**arguments, dropout_p=0.5)
    for kernel in kernels("attention"):
        if serves(kernel, call):
            torch.manual_seed(0)
            out = run(kernel, call)
            assert out.std() > 0.01, f"{kernel} drops nothing"
            assert abs(out.mean().item() - 1.0) < 0.2, f"{kernel} does not keep the mean"


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_agree_with_the_reference(device: str) -> None:
    for case in ({}, {"causal": True, "kv_len": 9}, {"kv_heads": 2, "window": 3}, {"mask": "bool", "dead": True}):
        arguments = build(case, torch.float32, device)
        wanted = _gradients("reference.attention", arguments)
        assert all(g.isfinite().all() for g in wanted), case
        for kernel in kernels("attention"):
            if serves(kernel, attention.read(**_asking(arguments))):
                for got, want in zip(_gradients(kernel, arguments), wanted, strict=True):
                    assert_close(got, want.cpu().double(), 1e-4, f"gradient of {kernel} on {case}")


def _asking(arguments: dict[str, Any]) -> dict[str, Any]:
    return arguments | {name: arguments[name].clone().requires_grad_() for name in "qkv"}


def _gradients(kernel: str, arguments: dict[str, Any]) -> list[Tensor]:
    call = attention.read(**_asking(arguments))
    out = run(kernel, call)
    (out * normal(*out.shape, dtype=out.dtype, device=str(out.device), seed=9)).sum().backward()
    return [t.grad for t in call.args]

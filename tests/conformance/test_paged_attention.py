"""Paged kernels against the definition, with stale table entries and NaN in every slot that is not in use."""

from __future__ import annotations

from typing import Any

import conformance_expected as expected
import pytest
import torch
from conformance_compare import ATTENTION, DTYPES, assert_close, normal
from conformance_kernels import kernels, run, serves, serves_on

from layerzero.operations import paged_attention

CASES: list[dict[str, Any]] = [
    {},
    {"kv_heads": 1},
    {"is_causal": False},
    {"q_len": 1},
    {"q_len": 1, "kv_heads": 1, "page_size": 1},
    {"page_size": 16, "lengths": (40, 1, 33)},
    {"lengths": (7, 0, 2)},
    {"lengths": (0, 0, 0)},
    {"lengths": None},
    {"lengths": None, "is_causal": False, "q_len": 1},
    {"window": 3},
    {"window": 3, "is_causal": False},
    {"softcap": 4.0},
    {"scale": 0.2},
    {"sinks": True},
    {"v_head_dim": 8},
    {"varlen": (2, 5, 1)},
    {"varlen": (0, 3, 0), "kv_heads": 1},
    {"varlen": (4, 1, 9), "window": 2, "is_causal": False},
    {"varlen": (3, 2, 1), "lengths": None},
    {"lengths": ()},
    # Sizes of models, which are all that some kernels take.
    *(
        {"head_dim": d, "page_size": p, "lengths": (40, 1, 33), **more}
        for d, p in ((64, 16), (128, 16), (64, 256))
        for more in ({}, {"q_len": 1}, {"window": 3, "softcap": 4.0}, {"varlen": (2, 5, 1)}, {"lengths": None})
    ),
]


def build(case: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Pages are handed out in a shuffled order, so that no two sequences' pages are neighbours."""
    page_size, heads, kv_heads, dim = case.get("page_size", 4), 4, case.get("kv_heads", 2), case.get("head_dim", 16)
    lengths = case.get("lengths", (11, 4, 7))
    used = (12, 8, 12) if lengths is None else lengths
    width = max((-(-length // page_size) for length in used), default=1) + (0 if lengths is None else 1)
    if lengths is None:
        used = (width * page_size,) * 3
    batch = len(used)
    pages = batch * width + 3
    order = torch.randperm(pages, generator=torch.Generator().manual_seed(3))[: batch * width]
    table = order.reshape(batch, width).to(torch.int32)
    caches = [
        normal(pages, page_size, kv_heads, d, dtype=dtype, device="cpu", seed=s)
        for d, s in ((dim, 1), (case.get("v_head_dim", dim), 2))
    ]
    live = torch.zeros(pages, page_size, dtype=torch.bool)
    for b, length in enumerate(used):
        for position in range(length):
            live[table[b, position // page_size].item(), position % page_size] = True
        table[b, -(-length // page_size) :] = -1 if b % 2 else 10**6  # stale: never to be followed
    for cache in caches:
        cache[~live] = float("nan")
    arguments: dict[str, Any] = {
        "k_cache": caches[0].to(device),
        "v_cache": caches[1].to(device),
        "page_table": table.to(device),
        "is_causal": case.get("is_causal", True),
    }
    if "varlen" in case:
        counts = torch.tensor((0, *case["varlen"]))
        arguments["cu_seqlens_q"] = counts.cumsum(0).to(torch.int32).to(device)
        arguments["q"] = normal(sum(case["varlen"]), heads, dim, dtype=dtype, device=device, seed=4)
    else:
        arguments["q"] = normal(batch, case.get("q_len", 3), heads, dim, dtype=dtype, device=device, seed=4)
    if lengths is not None:
        arguments["seq_lens"] = torch.tensor(lengths, dtype=torch.int32, device=device)
    arguments |= {name: case[name] for name in ("window", "softcap", "scale") if name in case}
    if case.get("sinks"):
        arguments["sinks"] = normal(heads, dtype=dtype, device=device, seed=5)
    return arguments


def on_cpu(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in arguments.items()}


CALLS = [paged_attention.read(**build(case, torch.bfloat16, "cpu")) for case in CASES]
PAGED = {
    (kernel, device): None
    for device in ("cpu", "cuda")
    for kernel in kernels("attention")
    if any(serves_on(kernel, call, device) for call in CALLS)
}


def test_there_is_a_paged_kernel_besides_the_reference() -> None:
    assert len({kernel for kernel, _ in PAGED}) >= 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("kernel", "device"),
    [pytest.param(*pair, marks=[pytest.mark.gpu] if pair[1] == "cuda" else []) for pair in PAGED],
)
def test_kernel_agrees(kernel: str, dtype: torch.dtype, device: str) -> None:
    served = 0
    for case in CASES:
        arguments = build(case, dtype, device)
        call = paged_attention.read(**arguments)
        if not serves(kernel, call):
            continue
        served += 1
        paged_attention.look(*(arguments.get(name) for name in paged_attention.PARAMETERS))
        got = run(kernel, call)
        assert got.dtype == dtype
        assert_close(got, expected.paged_attention(**on_cpu(arguments)), ATTENTION[dtype], f"{kernel} on {case}")
    assert served or device != "cpu", f"{kernel} serves nothing"

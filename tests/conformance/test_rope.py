"""Rotary embeddings: prefill and decoding, halves and neighbours, partial, per sequence."""

from __future__ import annotations

from typing import Any

import conformance_expected as expected
import pytest
import torch
from conformance_compare import DEVICES, DTYPES, ROWS, assert_close, normal
from conformance_kernels import kernels, run, serves
from torch import Tensor

from layerzero.operations import rope

CASES: list[dict[str, Any]] = [
    case | {"interleaved": interleaved}
    for interleaved in (False, True)
    for case in (
        {"shape": (2, 7, 3, 16), "width": 8},
        {"shape": (2, 7, 3, 16), "width": 16},
        {"shape": (2, 7, 3, 16), "width": 3},  # rotates 6 of 16
        {"shape": (2, 7, 3, 16), "width": 8, "per": 2},
        {"shape": (2, 7, 3, 16), "width": 16, "per": 2},
        {"shape": (2, 7, 3, 16), "width": 8, "per": 1},
        {"shape": (3, 1, 3, 16), "width": 8},
        {"shape": (7, 3, 16), "width": 8},
        {"shape": (2, 7, 3, 17), "width": 8},
        {"shape": (1, 1, 1, 2), "width": 1},
        {"shape": (0, 7, 3, 16), "width": 8},
        {"shape": (2, 0, 3, 16), "width": 8},
        {"shape": (2, 7, 3, 16), "width": 8, "table_dtype": torch.float32},
        {"shape": (2, 7, 3, 16), "width": 8, "strided": True},
    )
]


def build(case: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Any]:
    shape = case["shape"]
    if case.get("strided"):  # heads first in memory, as a model holds it
        x = normal(shape[0], shape[2], shape[1], shape[3], dtype=dtype, device=device, seed=1).transpose(1, 2)
    else:
        x = normal(*shape, dtype=dtype, device=device, seed=1)
    rows = (shape[-3], case["width"])
    angle = normal(*((case["per"], *rows) if "per" in case else rows), dtype=torch.float64, device=device, seed=2) * 9
    tables = {"cos": angle.cos(), "sin": angle.sin()}
    return {
        "x": x,
        **{name: table.to(case.get("table_dtype", dtype)) for name, table in tables.items()},
        "interleaved": case["interleaved"],
    }


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", kernels("rope"))
def test_kernel_agrees(kernel: str, dtype: torch.dtype, device: str) -> None:
    served = 0
    for case in CASES:
        arguments = build(case, dtype, device)
        call = rope.read(**arguments)
        if serves(kernel, call):
            served += 1
            got = run(kernel, call)
            assert got.dtype == dtype
            assert_close(got, expected.rope(**arguments), ROWS[dtype], f"{kernel} on {case}")
    assert served or device != "cpu", f"{kernel} serves nothing"


def test_a_step_of_decoding_is_the_last_row_of_prefill() -> None:
    arguments = build({"shape": (1, 9, 2, 8), "width": 4, "interleaved": False}, torch.float32, "cpu")
    step: dict[str, Tensor] = {"x": arguments["x"][:, -1:], "cos": arguments["cos"][-1:], "sin": arguments["sin"][-1:]}
    for kernel in kernels("rope"):
        if serves(kernel, rope.read(**arguments)) and serves(kernel, rope.read(**step)):
            assert torch.equal(run(kernel, rope.read(**step)), run(kernel, rope.read(**arguments))[:, -1:])


def test_scores_depend_on_the_distance_alone() -> None:
    position = torch.arange(12, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.1, 0.01, 0.001])
    q, k = normal(1, 1, 1, 8, dtype=torch.float64, device="cpu", seed=1).expand(1, 12, 1, 8), torch.ones(1, 12, 1, 8)
    tables = {"cos": position.cos(), "sin": position.sin()}
    for kernel in kernels("rope"):
        if not serves(kernel, rope.read(q, **tables)):
            continue
        turned = [run(kernel, rope.read(t, **tables))[0, :, 0] for t in (q, k.double())]
        scores = turned[0] @ turned[1].T
        assert_close(scores.diagonal(3)[1:], scores.diagonal(3)[:-1], 1e-12, kernel)

"""RMS norms, alone and with the fused residual add."""

from __future__ import annotations

from typing import Any

import conformance_expected as expected
import pytest
import torch
from conformance_compare import DEVICES, DTYPES, ROWS, assert_close, normal
from conformance_kernels import kernels, run, serves

from layerzero.operations import rms_norm

CASES: list[dict[str, Any]] = [
    *({"shape": s} for s in ((3, 64), (64,), (2, 5, 33), (1, 1), (0, 16), (2, 0, 16), (7, 4097))),
    {"shape": (3, 64), "weight": False},
    {"shape": (3, 64), "eps": 1e-2},
    {"shape": (3, 64), "factor": 300.0},  # 300^2 is more than fp16 holds
    {"shape": (3, 64), "factor": 0.0},
    {"shape": (3, 64), "factor": 1e-4},
    {"shape": (3, 64), "weight_dtype": torch.float32},
    {"shape": (6, 40), "strided": True},
    {"shape": (3, 64), "residual": True},
    {"shape": (2, 3, 64), "residual": True, "factor": 300.0, "weight": False},
]


def build(case: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Any]:
    shape = case["shape"]
    x = normal(*shape, dtype=dtype, device=device, seed=1) * case.get("factor", 1.0)
    if case.get("strided"):
        x = x.mT.contiguous().mT
    arguments: dict[str, Any] = {"x": x, "eps": case.get("eps", 1e-6)}
    if case.get("weight", True):
        arguments["weight"] = normal(shape[-1], dtype=case.get("weight_dtype", dtype), device=device, seed=2)
    if case.get("residual"):
        arguments["residual"] = normal(*shape, dtype=dtype, device=device, seed=3)
    return arguments


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", kernels("rms_norm"))
def test_kernel_agrees(kernel: str, dtype: torch.dtype, device: str) -> None:
    served = 0
    for case in CASES:
        arguments = build(case, dtype, device)
        call = rms_norm.read(**arguments)
        if not serves(kernel, call):
            continue
        served += 1
        got, what = run(kernel, call), f"{kernel} on {case}"
        if "residual" in arguments:
            got, added = got
            assert_close(added, arguments["x"].cpu().double() + arguments["residual"].cpu().double(), ROWS[dtype], what)
            assert added.dtype == dtype, what
        assert got.dtype == dtype, what
        assert_close(got, expected.rms_norm(**arguments), ROWS[dtype] * 2, what)
    assert served or device != "cpu" or dtype != torch.float32, f"{kernel} serves nothing"


def test_fp16_does_not_overflow_at_300() -> None:
    x = torch.full((1, 64), 300.0, dtype=torch.float16)
    for kernel in kernels("rms_norm"):
        call = rms_norm.read(x)
        if serves(kernel, call):
            assert torch.equal(run(kernel, call), torch.ones_like(x)), kernel

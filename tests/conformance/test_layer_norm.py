"""Layer norms."""

from __future__ import annotations

from typing import Any

import conformance_expected as expected
import pytest
import torch
from conformance_compare import DEVICES, DTYPES, ROWS, assert_close, normal
from conformance_kernels import kernels, run, serves

from layerzero.operations import layer_norm

CASES: list[dict[str, Any]] = [
    *({"shape": s} for s in ((3, 64), (64,), (2, 5, 33), (2, 1), (0, 16), (7, 4097))),
    {"shape": (3, 64), "weight": False},
    {"shape": (3, 64), "bias": False},
    {"shape": (3, 64), "weight": False, "bias": False},
    {"shape": (3, 64), "eps": 1e-1},
    {"shape": (3, 64), "shift": 30.0},
    {"shape": (3, 64), "weight_dtype": torch.float32},
    {"shape": (6, 40), "strided": True},
]


def build(case: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Any]:
    x = normal(*case["shape"], dtype=dtype, device=device, seed=1) + case.get("shift", 0.0)
    if case.get("strided"):
        x = x.mT.contiguous().mT
    affine = {
        name: normal(x.shape[-1], dtype=case.get("weight_dtype", dtype), device=device, seed=seed)
        for name, seed in (("weight", 2), ("bias", 3))
        if case.get(name, True)
    }
    return {"x": x, "eps": case.get("eps", 1e-5), **affine}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", kernels("layer_norm"))
def test_kernel_agrees(kernel: str, dtype: torch.dtype, device: str) -> None:
    served = 0
    for case in CASES:
        arguments = build(case, dtype, device)
        call = layer_norm.read(**arguments)
        if serves(kernel, call):
            served += 1
            got = run(kernel, call)
            assert got.dtype == dtype
            assert_close(got, expected.layer_norm(**arguments), ROWS[dtype], f"{kernel} on {case}")
    assert served or device != "cpu", f"{kernel} serves nothing"

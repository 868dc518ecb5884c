"""Group norms."""

from __future__ import annotations

from typing import Any

import conformance_expected as expected
import pytest
import torch
from conformance_compare import DEVICES, DTYPES, ROWS, assert_close, normal
from conformance_kernels import kernels, run, serves

from layerzero.operations import group_norm

CASES: list[dict[str, Any]] = [
    {"shape": (2, 12, 5), "groups": 3},
    {"shape": (2, 12, 5), "groups": 1},
    {"shape": (2, 12, 5), "groups": 12},
    {"shape": (3, 8), "groups": 2},
    {"shape": (1, 6, 3, 7), "groups": 3},
    {"shape": (2, 4, 2, 3, 5), "groups": 2},
    {"shape": (0, 4, 3), "groups": 2},
    {"shape": (2, 12, 5), "groups": 3, "weight": False},
    {"shape": (2, 12, 5), "groups": 3, "bias": False},
    {"shape": (2, 12, 5), "groups": 3, "weight": False, "bias": False},
    {"shape": (2, 12, 5), "groups": 3, "eps": 0.1},
    {"shape": (2, 12, 5), "groups": 3, "weight_dtype": torch.float32},
    {"shape": (2, 12, 6), "groups": 3, "strided": True},
]


def build(case: dict[str, Any], dtype: torch.dtype, device: str) -> dict[str, Any]:
    x = normal(*case["shape"], dtype=dtype, device=device, seed=1)
    if case.get("strided"):
        x = x.mT.contiguous().mT
    affine = {
        name: normal(x.shape[1], dtype=case.get("weight_dtype", dtype), device=device, seed=seed)
        for name, seed in (("weight", 2), ("bias", 3))
        if case.get(name, True)
    }
    return {"x": x, "num_groups": case["groups"], "eps": case.get("eps", 1e-5), **affine}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", kernels("group_norm"))
def test_kernel_agrees(kernel: str, dtype: torch.dtype, device: str) -> None:
    served = 0
    for case in CASES:
        arguments = build(case, dtype, device)
        call = group_norm.read(**arguments)
        if serves(kernel, call):
            served += 1
            got = run(kernel, call)
            assert got.dtype == dtype
            assert_close(got, expected.group_norm(**arguments), ROWS[dtype], f"{kernel} on {case}")
    assert served or device != "cpu", f"{kernel} serves nothing"

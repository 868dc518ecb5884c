"""gelu kernels."""

from __future__ import annotations

from typing import Any

import conformance_expected as expected
import pytest
import torch
from conformance_compare import DEVICES, DTYPES, ROWS, assert_close, normal
from conformance_kernels import kernels, run, serves
from torch import Tensor

from layerzero.operations import gelu

SHAPES = ((3, 64), (2, 5, 33), (1,), (0, 8), (4, 0), (7, 4097))


def inputs(shape: tuple[int, ...], dtype: torch.dtype, device: str, seed: int) -> Tensor:
    """Wide enough for both tails; the transposed view of a matrix for (3, 64)."""
    x = normal(*shape, dtype=dtype, device=device, seed=seed) * 5
    return x.mT.contiguous().mT if shape == (3, 64) else x


def cases(dtype: torch.dtype, device: str) -> list[tuple[dict[str, Any], Tensor]]:
    """Arguments and what the definition gives for them."""
    return [
        ({"x": x, "approximate": approximate}, expected.gelu(x, approximate))
        for x in (inputs(shape, dtype, device, 1) for shape in SHAPES)
        for approximate in ("none", "tanh")
    ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", kernels("gelu"))
def test_kernel_agrees(kernel: str, dtype: torch.dtype, device: str) -> None:
    served = 0
    for arguments, wanted in cases(dtype, device):
        call = gelu.read(**arguments)
        if serves(kernel, call):
            served += 1
            got = run(kernel, call)
            assert got.dtype == dtype
            assert_close(got, wanted, ROWS[dtype], f"{kernel} on {list(wanted.shape)}")
    assert served or device != "cpu", f"{kernel} serves nothing"

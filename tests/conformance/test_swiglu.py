"""swiglu kernels."""

from __future__ import annotations

from typing import Any

import conformance_expected as expected
import pytest
import torch
from conformance_compare import DEVICES, DTYPES, ROWS, assert_close, normal
from conformance_kernels import kernels, run, serves
from torch import Tensor

from layerzero.operations import swiglu

SHAPES = ((3, 64), (2, 5, 33), (1,), (0, 8), (4, 0), (7, 4097))


def inputs(shape: tuple[int, ...], dtype: torch.dtype, device: str, seed: int) -> Tensor:
    """Wide enough for both tails; the transposed view of a matrix for (3, 64)."""
    x = normal(*shape, dtype=dtype, device=device, seed=seed) * 5
    return x.mT.contiguous().mT if shape == (3, 64) else x


def cases(dtype: torch.dtype, device: str) -> list[tuple[dict[str, Any], Tensor]]:
    """Arguments and what the definition gives for them."""
    found = []
    for shape in SHAPES:
        gate, up = inputs(shape, dtype, device, 1), inputs(shape, dtype, device, 2)
        found.append(({"gate": gate, "up": up}, expected.silu(gate) * up.cpu().double()))
    for shape in ((3, 64), (2, 5, 32), (1, 1, 8), (4, 4097)):  # the halves of a fused projection
        gate, up = normal(*shape[:-1], 2 * shape[-1], dtype=dtype, device=device, seed=3).mul(5).chunk(2, -1)
        found.append(({"gate": gate, "up": up}, expected.silu(gate) * up.cpu().double()))
    return found


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kernel", kernels("swiglu"))
def test_kernel_agrees(kernel: str, dtype: torch.dtype, device: str) -> None:
    served = 0
    for arguments, wanted in cases(dtype, device):
        call = swiglu.read(**arguments)
        if serves(kernel, call):
            served += 1
            got = run(kernel, call)
            assert got.dtype == dtype
            assert_close(got, wanted, ROWS[dtype], f"{kernel} on {list(wanted.shape)}")
    assert served or device != "cpu", f"{kernel} serves nothing"

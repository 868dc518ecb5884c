"""The tolerances of README.md, and the devices on which cases run."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

ATTENTION = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3.2e-2}
ROWS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
DTYPES = tuple(ATTENTION)
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))


def assert_close(got: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Shapes agree, nothing is NaN, infinities agree, and the rest lies within the tolerance."""
    assert got.shape == expected.shape, f"{what}: shape {list(got.shape)}, expected {list(expected.shape)}"
    wide = got.detach().cpu().double()
    assert not wide.isnan().any(), f"{what}: NaN"
    infinite = expected.isinf()
    assert torch.equal(wide[infinite], expected[infinite]), f"{what}: infinities differ"
    error = ((wide - expected).abs() / (1 + expected.abs()))[~infinite]
    worst = error.max().item() if error.numel() else 0.0
    assert worst <= tolerance, f"{what}: off by {worst:.2e}, more than {tolerance:.0e}"


def normal(*shape: int, dtype: torch.dtype, device: str, seed: int = 0) -> Tensor:
    """Drawn in fp32 on the CPU, the same for every dtype and device up to rounding."""
    generator = torch.Generator().manual_seed(hash((shape, seed)) % 2**31)
    return torch.randn(*shape, generator=generator).to(device=device, dtype=dtype)

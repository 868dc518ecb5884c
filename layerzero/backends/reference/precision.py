"""The dtype in which the reference computes, and the one in which it answers."""

from __future__ import annotations

import torch


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """fp64 stays; everything narrower is computed in fp32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def result(dtype: torch.dtype) -> torch.dtype:
    """The dtype of an output: that of the input, except that 8-bit inputs give bf16, as the fp8 kernels do."""
    return torch.bfloat16 if dtype.itemsize == 1 else dtype

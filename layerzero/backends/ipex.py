"""Intel Extension for PyTorch: the functional calls of its part for language models."""

from __future__ import annotations

from intel_extension_for_pytorch.llm import functional
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """No residual: the fused call adds in another order on some devices."""
    out: Tensor = functional.rms_norm(x, weight, eps)
    return out


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up in one pass."""
    out: Tensor = functional.silu_mul(gate, up)
    return out

"""Gated and plain activations, computed in fp32 (fp64 for fp64) and rounded once."""

from __future__ import annotations

import torch
from torch import Tensor

from layerzero.backends.reference.precision import accumulator, result


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, element by element."""
    wide = accumulator(gate.dtype)
    return (_silu(gate.to(wide)) * up.to(wide)).to(result(gate.dtype))


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return _silu(x.to(accumulator(x.dtype))).to(result(x.dtype))


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """x * P(N(0,1) <= x), exact or with the tanh approximation."""
    wide = x.to(accumulator(x.dtype))
    if approximate == "tanh":
        inner = 0.7978845608028654 * (wide + 0.044715 * wide**3)  # sqrt(2 / pi)
        out = 0.5 * wide * (1.0 + torch.tanh(inner))
    else:
        out = 0.5 * wide * torch.erfc(-wide * 0.7071067811865476)  # sqrt(1/2); erfc keeps the far left tail
    return out.to(result(x.dtype))


def _silu(wide: Tensor) -> Tensor:
    return wide * torch.sigmoid(wide)

"""ZenDNN, by the operators of package zentorch."""

from __future__ import annotations

import torch
import zentorch  # noqa: F401 - registers the operators
from torch import Tensor

from layerzero.backends.layouts import rows

operators = torch.ops.zentorch


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    is_causal: bool = False,
    scale: float | None = None,
    layout: str = "bshd",
) -> Tensor:
    """Heads first, as torch's own; the causal mask is aligned to the top left."""
    q, k, v = (t if layout == "bhsd" else t.transpose(1, 2) for t in (q, k, v))
    out: Tensor
    out, _ = operators.zentorch_sdpa(q, k, v, 0.0, is_causal, scale=scale)
    return out if layout == "bhsd" else out.transpose(1, 2)


def rms_norm(
    x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """Always as [rows, hidden]: of other shapes the operator makes something else. A residual is added before."""
    added = x if residual is None else x + residual
    out: Tensor = operators.zentorch_rms_norm(rows(added), weight, eps).view_as(x)
    return out if residual is None else (out, added)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A dense weight."""
    out: Tensor = operators.zentorch_linear_unary(x, weight, bias)
    return out

"""quack's CuTe DSL kernels, package quack-kernels."""

from __future__ import annotations

from quack.rmsnorm import layernorm_fwd, rmsnorm
from quack.rotary import apply_rotary_emb
from torch import Tensor

from layerzero.backends.layouts import rows


def rms_norm(
    x: Tensor, weight: Tensor | None = None, eps: float = 1e-6, residual: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """The residual is added in the same kernel, out of place."""
    if residual is None:
        out: Tensor = rmsnorm(x, weight, eps=eps)
        return out
    normed, added = rmsnorm(x, weight, residual=residual, eps=eps, prenorm=True)
    return normed, added


def layer_norm(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """fp32 weight and bias."""
    out: Tensor = layernorm_fwd(rows(x), weight, bias, eps).view(x.shape)
    return out


def rope(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """One table [S,W] for all sequences."""
    out: Tensor = apply_rotary_emb(x.view(-1, *x.shape[-3:]), cos, sin, interleaved=interleaved).view(x.shape)
    return out

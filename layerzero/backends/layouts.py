"""Tensors in the layout of a call -> in the layout of a library, as views: no element is moved but where
`inner_contiguous` says so, which kernels declare (`set copies_inner_strided = true`) and a rule prices."""

from __future__ import annotations

from torch import Tensor


def sequence_first(layout: str, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[B,H,S,D] seen as [B,S,H,D]; tensors that are in that layout already as they are."""
    return (q, k, v) if layout == "bshd" else (q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))


def inner_contiguous(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """With a last dimension of stride 1: those that have it as they are, the others copied."""
    if q.stride(-1) == 1 and k.stride(-1) == 1 and v.stride(-1) == 1:  # nearly always, and called before each kernel
        return q, k, v
    return _inner_contiguous(q), _inner_contiguous(k), _inner_contiguous(v)


def _inner_contiguous(t: Tensor) -> Tensor:
    return t if t.stride(-1) == 1 or t.shape[-1] < 2 else t.contiguous()


def answer(layout: str, out: Tensor, lse: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
    """An output [B,S,H,D] in the layout of the call, with the log-sum-exp where there is one."""
    out = out if layout == "bshd" else out.transpose(1, 2)
    return out if lse is None else (out, lse)


def window_size(window: int | None) -> tuple[int, int]:
    """A window of w keys, the query's own included, as (left, right) in the flash-attention family."""
    return (-1, -1) if window is None else (window - 1, 0)


def rows(x: Tensor) -> Tensor:
    """[..., N] seen as [rows, N]."""
    return x.reshape(-1, x.shape[-1])


def packed_halves(gate: Tensor) -> Tensor:
    """The contiguous [..., 2 N] whose first half `gate` is; field `packed` says that there is one."""
    return gate.as_strided((*gate.shape[:-1], 2 * gate.shape[-1]), gate.stride())

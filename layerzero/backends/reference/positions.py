"""Rotary embedding and ALiBi."""

from __future__ import annotations

import torch
from torch import Tensor

from layerzero.backends.reference.precision import accumulator, result


def rope(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """Rotates pairs of columns of x [B,S,H,D] (or [S,H,D]) by the angles of its positions.

    `cos` and `sin` are [S,W] or [B,S,W] and hold the very positions of x (in decoding: one row). W = R/2 <= D/2 has a
    column per pair and rotates the first R columns; W = D has a column per column. A pair is (i, i + R/2), or
    (2i, 2i + 1) when `interleaved`.
    """
    wide = accumulator(x.dtype)
    width = cos.shape[-1]
    rotary_dim = width if width == x.shape[-1] else 2 * width
    cos, sin = (_per_column(t.to(wide), rotary_dim, interleaved) for t in (cos, sin))
    rotated, kept = x[..., :rotary_dim].to(wide), x[..., rotary_dim:]
    out = rotated * cos + _quarter_turn(rotated, interleaved) * sin
    return torch.cat([out.to(result(x.dtype)), kept.to(result(x.dtype))], dim=-1)


def _per_column(table: Tensor, rotary_dim: int, interleaved: bool) -> Tensor:
    """[..,S,W] -> [..,S,1,R]: one entry for each rotated column, the same for every head."""
    if table.shape[-1] != rotary_dim:
        table = table.repeat_interleave(2, dim=-1) if interleaved else torch.cat([table, table], dim=-1)
    return table.unsqueeze(-2)


def _quarter_turn(x: Tensor, interleaved: bool) -> Tensor:
    """(a, b) -> (-b, a) for each pair."""
    if interleaved:
        return torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


def alibi(
    num_heads: int,
    q_len: int,
    kv_len: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The bias -slope * |i + kv_len - q_len - j| as [num_heads, q_len, kv_len], for use as an additive mask."""
    i = torch.arange(q_len, device=device)[:, None]
    j = torch.arange(kv_len, device=device)
    distance = (i + kv_len - q_len - j).abs()
    return (-alibi_slopes(num_heads, device)[:, None, None] * distance).to(dtype)


def alibi_slopes(num_heads: int, device: torch.device | str = "cpu") -> Tensor:
    """fp32 [num_heads]: 2^(-8/n), 2^(-16/n), ... for n heads; past a power of two, every second slope of the next."""
    power = 1 << (num_heads.bit_length() - 1)
    slopes = _geometric(power) + _geometric(2 * power)[::2][: num_heads - power]
    return torch.tensor(slopes, dtype=torch.float32, device=device)


def _geometric(heads: int) -> list[float]:
    return [2.0 ** (-8.0 * (h + 1) / heads) for h in range(heads)]

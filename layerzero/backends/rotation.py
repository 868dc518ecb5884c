"""cos and sin for the very positions of a call -> the cache and positions that vLLM-style rotary kernels read."""

from __future__ import annotations

import torch
from torch import Tensor


def cos_sin_cache(cos: Tensor, sin: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """[S,W] or [B,S,W] -> [rows, 2 W]: a row per position, first its cosines, then its sines."""
    return torch.cat([cos, sin], dim=-1).reshape(-1, 2 * cos.shape[-1]).to(dtype or cos.dtype)


def positions(tokens: Tensor, cos: Tensor) -> Tensor:
    """int64 [tokens]: the row of the cache for each token; a table [S,W] is used again for every sequence."""
    number, known = tokens.shape[0], cos.shape[:-1].numel()
    found = torch.arange(number, device=tokens.device)
    return found if number == known else found % known

"""torch's causal attention -> what `lz.attention` is asked for.

torch aligns its mask to the top left, `lz` to the bottom right; both are the same for as many queries as keys.
"""

from __future__ import annotations

import torch
from torch import Tensor


def from_top_left(query: Tensor, key: Tensor, seq: int) -> tuple[Tensor | None, bool]:
    """The mask and `is_causal` for causal attention as torch means it; `seq` is the dimension of queries and keys."""
    q_len, kv_len = query.shape[seq], key.shape[seq]
    if q_len == kv_len:
        return None, True
    return torch.ones(q_len, kv_len, dtype=torch.bool, device=query.device).tril(), False

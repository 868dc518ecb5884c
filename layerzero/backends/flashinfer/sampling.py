"""FlashInfer's samplers: by rejection, without a sort."""

from __future__ import annotations

import torch
from flashinfer.sampling import top_k_sampling_from_probs, top_p_sampling_from_probs
from torch import Tensor

from layerzero.backends.layouts import rows


def sample_topk(
    logits: Tensor,
    method: str = "topk",
    k: int = 50,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Among the k likeliest, by rejection."""
    return _tokens(logits, top_k_sampling_from_probs(_probabilities(logits, temperature), k, generator=generator))


def sample_topp(
    logits: Tensor,
    method: str = "topp",
    p: float = 0.9,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Among the fewest whose probabilities reach p, by rejection."""
    return _tokens(logits, top_p_sampling_from_probs(_probabilities(logits, temperature), p, generator=generator))


def _probabilities(logits: Tensor, temperature: float) -> Tensor:
    """fp32 [rows, V]."""
    return torch.softmax(rows(logits).float() / temperature, dim=-1)


def _tokens(logits: Tensor, drawn: Tensor) -> Tensor:
    return drawn.to(torch.int64).view(logits.shape[:-1])

"""Next tokens from logits."""

from __future__ import annotations

import torch
from torch import Tensor

from layerzero.backends.reference.precision import accumulator


def sample(
    logits: Tensor,
    method: str = "greedy",
    k: int = 50,
    p: float = 0.9,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token id, int64, per row of logits [..., V].

    Args:
        logits: Unnormalised log-probabilities; -inf excludes a token.
        method: "greedy" takes the largest; "topk" draws among the k largest (all of them when k > V); "topp" draws
            among the fewest whose probabilities reach p, at least one.
        k: For "topk".
        p: For "topp".
        temperature: Divides the logits first.
        generator: Of the draw; torch's default unless given.
    """
    if method == "greedy":
        return logits.argmax(dim=-1)
    wide = logits.to(accumulator(logits.dtype)) / temperature
    if method == "topk":
        values, tokens = wide.topk(min(k, wide.shape[-1]), dim=-1)
        return _draw(values.softmax(dim=-1), tokens, generator)
    values, tokens = wide.sort(dim=-1, descending=True)
    probabilities = values.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    # The first token has nothing before it; rounding must not drop it either.
    keep = (before < p) | (torch.arange(wide.shape[-1], device=wide.device) == 0)
    return _draw(probabilities * keep, tokens, generator)


def _draw(weights: Tensor, tokens: Tensor, generator: torch.Generator | None) -> Tensor:
    """One of `tokens` per row, with probability proportional to its weight."""
    if weights.numel() == 0:
        return tokens.new_empty(weights.shape[:-1])
    rows = weights.reshape(-1, weights.shape[-1])
    chosen = torch.multinomial(rows, 1, generator=generator).reshape(*weights.shape[:-1], 1)
    return tokens.gather(-1, chosen).squeeze(-1)

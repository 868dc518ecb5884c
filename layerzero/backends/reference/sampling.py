"""Next tokens from logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from layerzero.backends.drafts import depth
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


def sample_speculative(
    draft_tokens: Tensor,
    target_logits: Tensor,
    draft_logits: Tensor | None = None,
    parents: Sequence[int] | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Walks down the draft of each row by rejection sampling, so that what is kept is distributed as the target's own.

    A token is kept with probability p / q, where p is what the target and q what the draft gave it. One that is not
    leaves max(p - q, 0) to choose from: by the next token with the same parent, or for the token after the last kept.

    Args:
        draft_tokens: int64 [B, K].
        target_logits: [B, K + 1, V]: after the beginning, and after each token of the draft.
        draft_logits: [B, K, V] that each token was drawn from; tokens with one parent without replacement, in this
            order. None: proposed without chance.
        parents: For each token an earlier one, or -1 for the beginning; None is a chain.
        temperature: Divides all logits first.
        generator: Of the draws; torch's default unless given.

    Returns:
        The new tokens, int64 [B, longest path + 1], and which of the draft they were, [B, longest path]; both filled
        up with -1.
    """
    batch, count = draft_tokens.shape
    dtype = accumulator(target_logits.dtype)
    target = (target_logits.to(dtype) / temperature).softmax(dim=-1)
    draft = None if draft_logits is None else (draft_logits.to(dtype) / temperature).softmax(dim=-1)
    chances = torch.rand(batch, count, generator=generator, dtype=dtype, device=target.device)
    longest = depth(parents, count)
    tokens = draft_tokens.new_full((batch, longest + 1), -1)
    nodes = draft_tokens.new_full((batch, longest), -1)
    for row in range(batch):
        at, kept, left = -1, 0, target[row, 0]
        refused: list[int] = []
        for node, parent in enumerate(range(-1, count - 1) if parents is None else parents):
            if parent != at:
                continue
            token = int(draft_tokens[row, node])
            proposed = torch.zeros_like(left) if draft is None else draft[row, node].clone()
            if draft is None:
                proposed[token] = 1
            proposed[refused] = 0  # drawn without replacement
            proposed /= proposed.sum().clamp(min=torch.finfo(dtype).tiny)
            if chances[row, node] * proposed[token] < left[token]:
                tokens[row, kept], nodes[row, kept] = token, node
                at, kept, left, refused = node, kept + 1, target[row, node + 1], []
            else:
                rest = (left - proposed).clamp(min=0)
                left = rest / rest.sum() if rest.sum() > 0 else left  # nothing is left of equals, but by rounding
                refused.append(token)
        tokens[row, kept] = torch.multinomial(left, 1, generator=generator)[0]
    return tokens, nodes

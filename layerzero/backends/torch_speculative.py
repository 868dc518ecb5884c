"""Rejection sampling of a draft in plain torch, all rows at once; nothing waits for the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from layerzero.backends.drafts import depth
from layerzero.backends.reference.precision import accumulator


def chain(
    draft_tokens: Tensor,
    target_logits: Tensor,
    draft_logits: Tensor | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Each token follows the one before it: all are judged at once, and those after the first refused one are none."""
    batch, count = draft_tokens.shape
    target, draft = _probabilities(target_logits, draft_logits, temperature)
    wished = target[:, :count].gather(2, draft_tokens[..., None]).squeeze(2)
    proposed = 1.0 if draft is None else draft.gather(2, draft_tokens[..., None]).squeeze(2)
    chances = torch.rand(batch, count, generator=generator, dtype=target.dtype, device=target.device)
    kept = (chances * proposed < wished).long().cumprod(1).sum(1)
    left = _at(target, kept)
    if count:
        last = kept.clamp(max=count - 1)
        taken = _one(draft_tokens.gather(1, last[:, None]), left) if draft is None else _at(draft, last)
        left = torch.where((kept < count)[:, None], _rest(left, taken), left)
    places = torch.arange(count + 1, device=kept.device)
    drafted = places[:count] < kept[:, None]
    tokens = torch.nn.functional.pad(draft_tokens.masked_fill(~drafted, -1), (0, 1), value=-1)
    tokens = torch.where(places == kept[:, None], torch.multinomial(left, 1, generator=generator), tokens)
    return tokens, places[:count].expand(batch, count).masked_fill(~drafted, -1)


def tree(
    draft_tokens: Tensor,
    target_logits: Tensor,
    draft_logits: Tensor | None = None,
    parents: Sequence[int] | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The tokens in their order; each is judged in the rows that have come to its parent."""
    assert parents is not None, "a draft without parents is a chain"
    batch, count = draft_tokens.shape
    target, draft = _probabilities(target_logits, draft_logits, temperature)
    chances = torch.rand(batch, count, generator=generator, dtype=target.dtype, device=target.device)
    longest = depth(parents, count)
    tokens = draft_tokens.new_full((batch, longest + 1), -1)
    nodes = draft_tokens.new_full((batch, longest), -1)
    at = draft_tokens.new_full((batch, 1), -1)
    kept = torch.zeros_like(at)
    left, refused = target[:, 0], torch.zeros_like(target[:, 0], dtype=torch.bool)
    for node, parent in enumerate(parents):
        token = draft_tokens[:, node : node + 1]
        proposed = _one(token, left) if draft is None else draft[:, node]
        proposed = proposed.masked_fill(refused, 0.0)
        proposed = proposed / proposed.sum(-1, keepdim=True).clamp(min=torch.finfo(proposed.dtype).tiny)
        fits = chances[:, node : node + 1] * proposed.gather(1, token) < left.gather(1, token)
        here = at == parent
        keep, refuse = here & fits, here & ~fits
        tokens = torch.where(keep, tokens.scatter(1, kept, token), tokens)
        nodes = torch.where(keep, nodes.scatter(1, kept.clamp(max=longest - 1), node), nodes)
        left = torch.where(keep, target[:, node + 1], torch.where(refuse, _rest(left, proposed), left))
        refused = torch.where(keep, False, refused | refuse & _one(token, left).bool())
        at, kept = at.masked_fill(keep, node), kept + keep
    return tokens.scatter(1, kept, torch.multinomial(left, 1, generator=generator)), nodes


def _probabilities(target: Tensor, draft: Tensor | None, temperature: float) -> tuple[Tensor, Tensor | None]:
    dtype = accumulator(target.dtype)
    wished = (target.to(dtype) / temperature).softmax(-1)
    return wished, None if draft is None else (draft.to(dtype) / temperature).softmax(-1)


def _at(probabilities: Tensor, place: Tensor) -> Tensor:
    """[batch, places, vocab], [batch] -> [batch, vocab]"""
    wide = place[:, None, None].expand(-1, 1, probabilities.shape[2])
    return probabilities.gather(1, wide).squeeze(1)


def _one(token: Tensor, like: Tensor) -> Tensor:
    """All the probability on one token: [batch, 1] -> [batch, vocab]"""
    return torch.zeros_like(like).scatter(1, token, 1.0)


def _rest(wished: Tensor, proposed: Tensor) -> Tensor:
    """What a refused proposal leaves to choose from; of two equals, which only rounding refuses, the first."""
    rest = (wished - proposed).clamp(min=0)
    total = rest.sum(-1, keepdim=True)
    return torch.where(total > 0, rest / total, wished)

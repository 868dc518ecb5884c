"""`lz.sample_speculative`: what a target model keeps of the tokens that a draft proposed, and the token after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.sample import check_generator
from layerzero.operations.tensors import (
    check_device,
    check_number,
    check_same_dtype,
    check_shape,
    check_tensor,
    common_fields,
    dtype_name,
    error,
    given,
    shape,
)
from layerzero.operations.validation import looks_at_values

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OPERATION = "sample_speculative"

# Tokens have no gradient, so `requires_grad` is no field of sampling.
_OPERAND = OPERAND[:-1]
PARAMETERS: Parameters = {
    "draft_tokens": ParameterRole(("batch", "draft_tokens", *_OPERAND[3:])),
    "target_logits": ParameterRole((*_OPERAND, "dtype", "batch", "vocab")),
    "draft_logits": ParameterRole(("has_draft_logits", *_OPERAND[3:]), ("draft_logits",)),
    "parents": ParameterRole(("drafted",), ("chain", "tree")),
    "temperature": ParameterRole(("temperature",), ("temperature",)),
    "generator": ParameterRole(("has_generator",), ("generator",)),
}


def read(
    draft_tokens: Tensor,
    target_logits: Tensor,
    draft_logits: Tensor | None = None,
    parents: Sequence[int] | None = None,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Call:
    """Check the arguments of `lz.sample_speculative` and read the context."""
    check_tensor("draft_tokens", draft_tokens, "[batch, draft_tokens]", 2)
    check_tensor("target_logits", target_logits, "[batch, draft_tokens + 1, vocab]", 3)
    batch, count = draft_tokens.shape
    vocab = target_logits.shape[2]
    if vocab < 1:
        raise error("target_logits", "at least one token to choose from", shape(target_logits))
    check_shape("target_logits", target_logits, (batch, count + 1, vocab), why=", a row after each token of the draft")
    dtype = dtype_name("target_logits", target_logits)
    if str(draft_tokens.dtype) != "torch.int64":
        raise error("draft_tokens", "dtype torch.int64", draft_tokens.dtype)
    check_device("draft_tokens", draft_tokens, target_logits, "target_logits")
    if draft_logits is not None:
        check_shape("draft_logits", draft_logits, (batch, count, vocab))
        check_same_dtype("draft_logits", draft_logits, target_logits, "target_logits")
        check_device("draft_logits", draft_logits, target_logits, "target_logits")
    check_number("temperature", temperature, "a number above 0", 0.0)
    if temperature == 0:
        raise error("temperature", "a number above 0", repr(temperature))
    tree = _tree(parents, count)
    operands = [draft_tokens, target_logits] + ([] if draft_logits is None else [draft_logits])
    context = common_fields(dtype, *operands)
    del context["requires_grad"]
    if looks_at_values(draft_tokens, context["graph_capture"] is True):
        _check_tokens(draft_tokens, vocab)
    context |= {
        "batch": batch,
        "vocab": vocab,
        "draft_tokens": count,
        "drafted": "chain" if tree is None else "tree",
        "has_draft_logits": draft_logits is not None,
        "temperature": float(temperature),
        "has_generator": generator is not None,
    }
    if generator is not None:
        check_generator(generator, target_logits, "target_logits")
    kwargs = given(
        draft_logits=(draft_logits, None),
        parents=(tree, None),
        temperature=(temperature, 1.0),
        generator=(generator, None),
    )
    return Call(OPERATION, context, (draft_tokens, target_logits), kwargs)


def _tree(parents: Any, count: int) -> tuple[int, ...] | None:
    """The parents of a tree; None where each token follows the one before it, however that was said."""
    if parents is None:
        return None
    wanted = "for each token of the draft an earlier one, or -1 for the beginning"
    if not isinstance(parents, Sequence) or len(parents) != count:
        raise error("parents", f"{wanted}: {count} of them", repr(parents))
    for node, parent in enumerate(parents):
        if isinstance(parent, bool) or not isinstance(parent, int) or not -1 <= parent < node:
            raise error("parents", wanted, f"{parent!r} for token {node}")
    return None if all(parent == node - 1 for node, parent in enumerate(parents)) else tuple(parents)


def _check_tokens(tokens: Tensor, vocab: int) -> None:
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab:
        raise error("draft_tokens", f"tokens in 0..{vocab - 1}", f"{int(tokens.min())}..{int(tokens.max())}")


def answers(
    draft_tokens: Tensor, target_logits: Tensor, draft_logits: Any = None, parents: Any = None, *options: Any
) -> list[Tensor]:
    """Uninitialised answers of the right shapes, for a compiler."""
    from layerzero.backends.drafts import depth

    batch, count = draft_tokens.shape
    longest = depth(_tree(parents, count), count)
    return [draft_tokens.new_empty(batch, longest + 1), draft_tokens.new_empty(batch, longest)]

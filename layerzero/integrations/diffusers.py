"""Diffusion models -> LayerZero: importing this module gives diffusers an attention backend `layerzero`.

    import layerzero.integrations.diffusers

    pipeline.transformer.set_attention_backend("layerzero")

Transformers that dispatch their attention take it by name, for one model or, as `diffusers`' own context manager
`attention_backend("layerzero")` has it, for a block. Models that call torch's `scaled_dot_product_attention` themselves
(the UNets) go through LayerZero under `lz.intercept()`.
"""

from __future__ import annotations

from typing import Any

from layerzero import api as lz
from layerzero.errors import ArgumentError, MissingDependencyError

try:
    import torch
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
except ImportError as error:
    if (error.name or "").partition(".")[0] not in ("torch", "diffusers"):
        raise
    raise MissingDependencyError(
        f"models of `diffusers` need the extra `diffusers`: pip install 'layerzero[diffusers]' ({error})"
    ) from error

from layerzero.integrations.causal import from_top_left  # which imports torch

NAME = "layerzero"


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    _parallel_config: Any = None,
    **unknown: Any,
) -> Any:
    """The backend: what diffusers' `native` computes, by the kernel that the policy chooses.

    Args:
        query: [batch, queries, heads, head_dim].
        key: [batch, keys, heads, head_dim].
        value: [batch, keys, heads, v_head_dim].
        attn_mask: Boolean (true attends) or additive; [batch, keys], or broadcasts to [batch, heads, queries, keys].
        dropout_p: Probability of a zero.
        is_causal: Aligned to the top left, as torch has it.
        scale: Factor of the scores; 1 / sqrt(head_dim) if None.
        enable_gqa: Fewer heads of keys than of queries are meant.
        return_lse: Also return the log-sum-exp of the scores, fp32 [batch, heads, queries].

    Returns:
        The output [batch, queries, heads, v_head_dim], or (output, lse).

    Raises:
        ArgumentError: The call asks for something that LayerZero would have to leave out.
    """
    if _parallel_config is not None:
        raise ArgumentError(f"`parallel_config`: the attention backend `{NAME}` does not split attention over devices")
    if unknown:
        raise ArgumentError(f"the attention backend `{NAME}` does not take `{'`, `'.join(sorted(unknown))}`")
    if is_causal and attn_mask is not None:
        raise ArgumentError("`is_causal` and `attn_mask` exclude each other")
    if attn_mask is not None and attn_mask.ndim == 2 and attn_mask.shape == (query.shape[0], key.shape[1]):
        attn_mask = attn_mask[:, None, None, :]
    if is_causal:
        attn_mask, is_causal = from_top_left(query, key, 1)
    return lz.attention(
        query,
        key,
        value,
        attn_mask,
        is_causal,
        dropout_p=dropout_p,
        scale=scale,
        enable_gqa=enable_gqa or None,
        return_lse=return_lse,
    )


class _Every(set[str]):
    """The names of arguments that a backend is handed. Diffusers drops what is not in it; `attention` refuses it."""

    def __contains__(self, name: object) -> bool:
        return True


def _member() -> Any:
    """The name among diffusers' own, which are an enumeration that has no other way in."""
    if NAME not in AttentionBackendName._value2member_map_:
        member = str.__new__(AttentionBackendName, NAME)
        member._name_, member._value_ = NAME.upper(), NAME
        member._sort_order_ = len(AttentionBackendName)
        AttentionBackendName._member_names_.append(member._name_)
        AttentionBackendName._member_map_[member._name_] = member
        AttentionBackendName._value2member_map_[NAME] = member
    return AttentionBackendName(NAME)


_AttentionBackendRegistry.register(_member())(attention)
_AttentionBackendRegistry._supported_arg_names[_member()] = _Every()

"""A Hugging Face model -> the same model whose attention, norms, rotary embedding and MLP go through `lz.*`.

Importing this module registers the attention function `layerzero`, so that any decoder written against transformers'
attention interface takes `attn_implementation="layerzero"`. `apply(model)` does that and redirects the other three
as well, for this one model object; `undo()`, or leaving the `with` block, puts everything back:

    with lz_transformers.apply(model) as applied:
        print(applied.replaced, applied.left)
        model.generate(...)

Continuous batching takes no names that transformers does not know: `apply(model, paged=True)` leaves the model its
`sdpa` and serves the calls that come with a paged cache.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from layerzero import api as lz
from layerzero.errors import ArgumentError, MissingDependencyError

try:
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import causal_mask_function, sdpa_mask

    from layerzero.integrations import transformers_modules as modules
except ImportError as error:
    if (error.name or "").partition(".")[0] not in ("torch", "transformers"):
        raise
    raise MissingDependencyError(
        f"models of `transformers` need the extra `transformers`: pip install 'layerzero[transformers]' ({error})"
    ) from error

NAME = "layerzero"
_SDPA = "sdpa"  # the one implementation without kernels of its own for which continuous batching makes masks

# A mask that says no more than "causal, window w" carries w under this name; see `attention_mask`.
_WINDOW = "_layerzero_window"

# Arguments that some models pass and that change the result: refused, because ignoring them would be silent.
_REFUSED = {
    "cache": "a paged cache; `apply(model, paged=True)` serves continuous batching",
    "cu_seq_lens_q": "packed sequences by cu_seq_lens; leave them out, the position ids say where sequences start",
    "block_indices": "block-sparse attention",
    "head_mask": "head masks",
}


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Transformers' attention interface over `lz.attention`.

    Args:
        module: The layer; its `is_causal` counts where the call does not say.
        query: [batch, heads, queries, head_dim].
        key: [batch, kv_heads, keys, head_dim]; heads are not repeated, grouped heads are the kernel's business.
        value: [batch, kv_heads, keys, v_head_dim].
        attention_mask: As `attention_mask` below makes it, or the user's own: boolean (true attends) or additive.
        dropout: Probability of a zero.
        scaling: Factor of the scores; 1 / sqrt(head_dim) if None.
        is_causal: Aligned to the bottom right.
        softcap: Scores become softcap * tanh(scores / softcap).
        s_aux: Attention sinks, one logit per query head.
        position_bias: Learned bias, added to the scores; broadcasts to [batch, heads, queries, keys].
        **kwargs: What transformers hands to every layer. `sliding_window` is not read here: as in transformers' own
            SDPA function the mask carries the window, also for models that do not pass it.

    Returns:
        The output [batch, queries, heads, v_head_dim], and None for the weights, which no fused kernel makes.
    """
    _refuse(kwargs)
    window = getattr(attention_mask, _WINDOW, None)
    bias = attention_mask if window is None else None
    causal = bias is None and bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if position_bias is not None:
        bias = _add(position_bias, bias)
    out = lz.attention(
        query,
        key,
        value,
        is_causal=causal,
        attn_mask=bias,
        dropout_p=dropout,
        scale=scaling,
        window=window,
        softcap=softcap,
        sinks=s_aux if s_aux is not None else kwargs.get("sinks"),
        layout="bhsd",
    )
    return out.transpose(1, 2).contiguous(), None


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """`attention` for continuous batching, in the place of transformers' `sdpa`.

    The queries of all requests are packed, and the mask says who sees whom; the cache holds the keys and values in
    pages and answers with those that this step needs. A call without such a cache is transformers' own.
    """
    cache = kwargs.pop("cache", None)
    if cache is None:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return plain
    key, value = cache.update(key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=kwargs)
    if attention_mask is None:
        raise ArgumentError("`attention_mask`: packed requests without a mask would see each other")
    kwargs.pop("cu_seq_lens_q", None)  # the mask says it
    return attention(module, query, key, value, attention_mask, **kwargs)


def attention_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: Any = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    config: Any = None,
    **kwargs: Any,
) -> torch.Tensor | None:
    """Transformers' mask interface: None where `is_causal` says it all, else a boolean mask.

    A kernel serves "causal" far better than a mask that happens to be causal, so the mask is left out where the last
    query is the last key and nothing is padded. Where a window bites, the mask is made (a layer may look at it) and
    marked with the window; `attention` then asks for the window. A mask that was cut or joined on the way has lost the
    mark and counts as it is.

    Returns:
        Boolean [batch, 1, q_length, kv_length], true where a query attends, or None.
    """
    bites = local_size is not None and kv_length > local_size
    plain = (
        allow_is_causal_skip
        and isinstance(q_offset, int)
        and q_offset + q_length == kv_offset + kv_length
        and not _pads(attention_mask, kv_offset, kv_length)
    )
    if plain and not bites and (local_size is None or _is_window(local_size, config)):
        return None
    mask: torch.Tensor | None = sdpa_mask(
        batch_size=batch_size,
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        kv_offset=kv_offset,
        mask_function=mask_function,
        attention_mask=attention_mask,
        local_size=local_size,
        # transformers leaves the mask out by its own, top-left rule; ours was asked above.
        allow_is_causal_skip=False,
        **kwargs,
    )
    if plain and mask is not None and _is_window(local_size, config):
        setattr(mask, _WINDOW, local_size)
    return mask


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, attention_mask)


class Applied:
    """What `apply` changed in one model. `replaced` counts by kind; `left` names each module that stays, and why."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.replaced: Counter[str] = Counter()
        self.left: dict[str, str] = {}
        self._patched: set[torch.nn.Module] = set()
        self._configs: list[tuple[Any, Any]] = []

    def _patch(self, module: torch.nn.Module, forward: Callable[..., Any], kind: str) -> None:
        module.forward = forward
        self._patched.add(module)
        self.replaced[kind] += 1

    def undo(self) -> None:
        """Puts the model back as it was; a second call changes nothing."""
        while self._patched:
            del self._patched.pop().forward
        # Outer configurations hand their value down, so the inner ones are put back after them.
        for config, implementation in self._configs:
            config._attn_implementation = implementation
        self._configs.clear()

    def __enter__(self) -> Applied:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


def apply(model: PreTrainedModel, paged: bool = False) -> Applied:
    """Sends the model's attention, RMS norms, rotary embedding and gated MLPs through LayerZero.

    A module is redirected only if it computes, on a small random input, what its replacement stands for; so an
    architecture with a variant of its own keeps it, and `left` says so. Nothing outside this model object changes.

    Args:
        model: Any model of `transformers`; not a compiled one.
        paged: For `generate_batch`: attention is served where a call has the paged cache of continuous batching.

    Returns:
        The record of the change, which undoes it.
    """
    if not isinstance(model, PreTrainedModel):
        raise ArgumentError(f"`model` must be a transformers.PreTrainedModel, not {type(model).__name__}")
    applied = Applied(model)
    applied._configs = [(config, config._attn_implementation) for config in _configs(model)]
    name = _SDPA if paged else NAME
    model.set_attn_implementation(name)
    for path, module in model.named_modules():
        foreign = "forward" in vars(module)  # what somebody else put there would not come back
        found = modules.replacement(module, model)
        if isinstance(found, modules.Left):
            applied.left[path] = found.reason
        elif found is not None:
            applied._patch(module, found.forward, found.kind)
        forward = modules.with_interface(module, _SDPA, paged_attention) if paged and not foreign else None
        if forward is not None:
            applied._patch(module, forward, "attention")
    if not paged and model.config._attn_implementation == NAME:
        applied.replaced["attention"] = 1
    if not applied.replaced["attention"]:
        applied.left["attention"] = "the model does not use transformers' attention interface"
    return applied


def _configs(model: PreTrainedModel) -> Iterator[Any]:
    """Every configuration in the model once, outer before inner."""
    seen: set[int] = set()
    waiting = [part.config for part in model.modules() if isinstance(part, PreTrainedModel)]
    while waiting:
        config = waiting.pop(0)
        if id(config) in seen:
            continue
        seen.add(id(config))
        yield config
        waiting += [inner for key in config.sub_configs if (inner := getattr(config, key, None)) is not None]


def _refuse(kwargs: dict[str, Any]) -> None:
    for name, what in _REFUSED.items():
        if kwargs.get(name) is not None:
            raise ArgumentError(f"`{name}`: the attention implementation `{NAME}` does not take {what}")
    if kwargs.get("output_attentions"):
        raise ArgumentError("`output_attentions`: kernels do not return weights; use attn_implementation='eager'")


def _is_window(local_size: int | None, config: Any) -> bool:
    """Whether a local size is a sliding window, and not the length of chunks that do not see each other."""
    chunk = getattr(config, "attention_chunk_size", None)
    return local_size is not None and local_size == getattr(config, "sliding_window", None) and local_size != chunk


def _pads(padding: torch.Tensor | None, kv_offset: int, kv_length: int) -> bool:
    """Whether a key of the cache is padding; `padding` is boolean [batch, tokens], true for tokens that count."""
    if padding is None:
        return False
    part = padding[:, kv_offset : kv_offset + kv_length]
    return part.shape[1] < kv_length or not bool(part.all())


def _add(position_bias: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if mask is None:
        return position_bias
    if mask.dtype == torch.bool:
        return torch.where(mask, position_bias, float("-inf"))
    return position_bias + mask

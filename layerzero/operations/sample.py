"""`lz.sample_topk`, `lz.sample_topp`, `lz.sample_greedy`: next tokens from logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerzero.operations.call import OPERAND, Call, ParameterRole, Parameters
from layerzero.operations.tensors import (
    check_count,
    check_number,
    check_tensor,
    common_fields,
    dtype_name,
    error,
    shape,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OPERATION = "sample"

# Tokens have no gradient, so `requires_grad` is no field of sampling.
_LOGITS_FIELDS = (*OPERAND[:-1], "dtype", "batch", "vocab")
_LOGITS = ParameterRole(_LOGITS_FIELDS)
_TEMPERATURE = ParameterRole(("temperature",), ("temperature",))
_GENERATOR = ParameterRole(("has_generator",), ("generator",))

# The method is the name of the public call: each sets field `method` and demands the feature of that name.
TOPK_PARAMETERS: Parameters = {
    "logits": _LOGITS,
    "k": ParameterRole(("top_k", "method"), ("topk",)),
    "temperature": _TEMPERATURE,
    "generator": _GENERATOR,
}
TOPP_PARAMETERS: Parameters = {
    "logits": _LOGITS,
    "p": ParameterRole(("top_p", "method"), ("topp",)),
    "temperature": _TEMPERATURE,
    "generator": _GENERATOR,
}
GREEDY_PARAMETERS: Parameters = {
    "logits": ParameterRole((*_LOGITS_FIELDS, "method"), ("greedy",)),
}


def read_topk(logits: Tensor, k: int = 50, temperature: float = 1.0, generator: torch.Generator | None = None) -> Call:
    """One of the k likeliest tokens (all, if there are fewer) per row of logits [V] or [B, V]."""
    check_count("k", k, "a number of tokens, at least 1")
    call = _read(logits, "topk", temperature, generator)
    call.context["top_k"] = call.kwargs["k"] = k
    return call


def read_topp(
    logits: Tensor, p: float = 0.9, temperature: float = 1.0, generator: torch.Generator | None = None
) -> Call:
    """One of the fewest tokens whose probabilities reach p, at least one, per row of logits [V] or [B, V]."""
    check_number("p", p, "a probability above 0, at most 1", 0.0, 1.0)
    if p == 0:
        raise error("p", "a probability above 0, at most 1 (`sample_greedy` takes the likeliest)", repr(p))
    call = _read(logits, "topp", temperature, generator)
    call.context["top_p"] = call.kwargs["p"] = float(p)
    return call


def read_greedy(logits: Tensor) -> Call:
    """The likeliest token per row of logits [V] or [B, V]."""
    return _read(logits, "greedy", 1.0, None)


def _read(logits: Tensor, method: str, temperature: float, generator: torch.Generator | None) -> Call:
    check_tensor("logits", logits, "[vocab] or [batch, vocab]", 1, 2)
    vocab = logits.shape[-1]
    if vocab < 1:
        raise error("logits", "at least one token to choose from", shape(logits))
    check_number("temperature", temperature, "a number above 0", 0.0)
    if temperature == 0:
        raise error("temperature", "a number above 0 (`sample_greedy` takes the likeliest)", repr(temperature))
    context = common_fields(dtype_name("logits", logits), logits)
    del context["requires_grad"]
    context |= {"batch": logits.shape[0] if logits.ndim == 2 else 1, "vocab": vocab, "method": method}
    kwargs: dict[str, Any] = {"method": method}
    if method != "greedy":
        context |= {"temperature": float(temperature), "has_generator": generator is not None}
    if temperature != 1.0:
        kwargs["temperature"] = temperature
    if generator is not None:
        check_generator(generator, logits)
        kwargs["generator"] = generator
    return Call(OPERATION, context, (logits,), kwargs)


def check_generator(generator: Any, logits: Tensor, name: str = "logits") -> None:
    """An error unless it draws on the device of the logits."""
    import torch

    if not isinstance(generator, torch.Generator):
        raise error("generator", "a torch.Generator", type(generator).__name__)
    if generator.device.type != logits.device.type:
        raise error("generator", f"device {logits.device}, that of `{name}`", generator.device)


def answers(logits: Tensor, *options: Any) -> list[Tensor]:
    """Uninitialised answers of the right shapes, for a compiler."""
    import torch

    return [logits.new_empty(logits.shape[:-1], dtype=torch.int64)]

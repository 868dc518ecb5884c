"""Unmodified models -> LayerZero: the calls of torch.nn.functional that have an `lz.*` twin are served by the policy.

    with lz.intercept() as seen:
        model(x)
    print(seen.served, seen.left)

Taken over are `scaled_dot_product_attention`, `rms_norm`, `layer_norm`, `silu` and `gelu`, also where a module of
torch.nn calls them. A call that means something `lz.*` does not say is left to torch as it is, counted with the reason
in `left`, and told of once in the log: nothing is approximated. It holds for the thread that entered it, as torch's
function modes do, and not inside the kernels themselves.

`torch.compile` traces through it without a break. What is in a graph is counted once, when it is traced.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

from layerzero import api as lz
from layerzero.errors import ArgumentError, MissingDependencyError

try:
    import torch
    from torch import Tensor
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode
except ImportError as error:
    if (error.name or "").partition(".")[0] != "torch":
        raise
    raise MissingDependencyError(
        f"intercepting torch's functions needs the extra `torch`: pip install 'layerzero[torch]' ({error})"
    ) from error

from layerzero.integrations.causal import from_top_left  # which imports torch

log = logging.getLogger("layerzero")

_KERNELS = "layerzero.backends."


class _LeftError(Exception):
    """The call is torch's; the message says why."""


def intercept() -> Intercept:
    """Serve torch's own calls by the policy in force, in this thread, for a `with` block.

    Returns:
        The mode, whose `served` and `left` tell what happened.
    """
    return Intercept()


class Intercept(TorchFunctionMode):
    """The mode of `lz.intercept`.

    Attributes:
        served: Operation -> how many calls `lz.*` took.
        left: (name of the function, reason) -> how many calls stayed with torch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.served: Counter[str] = Counter()
        self.left: Counter[tuple[str, str]] = Counter()
        # A mode that is made inside of a graph is part of it, and its counts are, too.
        self._traced = self._count if torch.compiler.is_compiling() else _counting(self)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        twin = _TWINS.get(func)
        if twin is None or (not torch.compiler.is_compiling() and _in_a_kernel()):
            return func(*args, **kwargs)
        operation, call = twin
        # A graph must not depend on how much was counted before: it counts what is in it, when it is traced.
        count = self._traced if torch.compiler.is_compiling() else self._count
        try:
            result = call(*args, **kwargs)
        except (_LeftError, ArgumentError) as reason:
            count(operation, func.__name__, str(reason))
            return func(*args, **kwargs)
        count(operation)
        return result

    def _count(self, operation: str, name: str = "", reason: str = "") -> None:
        if not reason:
            self.served[operation] += 1
            return
        if (name, reason) not in self.left:
            log.warning("`%s` is left to torch: %s", name, reason)
        self.left[name, reason] += 1


def _in_a_kernel() -> bool:
    """Whether a kernel of LayerZero makes the call: a call of `lz.*` that was decided is not decided again."""
    frame: FrameType | None = sys._getframe(2)  # what called torch, or the function of torch that asked
    for _ in range(4):
        if frame is None or frame.f_globals.get("__name__", "").startswith(_KERNELS):
            return frame is not None
        frame = frame.f_back
    return False


def _counting(seen: Intercept) -> Callable[..., None]:
    """`_count` as a compiler calls it: once, and with no trace of it in the graph."""

    def count(operation: str, name: str = "", reason: str = "") -> None:
        seen._count(operation, name, reason)

    constant: Callable[..., None] = torch.compiler.assume_constant_result(count)  # type: ignore[no-untyped-call]
    return constant


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """torch's attention is [batch, heads, seq, head_dim], and its causal mask is aligned to the top left."""
    if not (query.ndim == key.ndim == value.ndim == 4):
        raise _LeftError("it is not [batch, heads, seq, head_dim]")
    if query.shape[0] != key.shape[0] or key.shape[:3] != value.shape[:3] or query.shape[3] != key.shape[3]:
        raise _LeftError("its operands broadcast")
    if query.shape[1] != key.shape[1] and not enable_gqa:
        raise _LeftError("its heads broadcast without `enable_gqa`")
    if is_causal and attn_mask is not None:
        raise _LeftError("it is causal and has a mask")
    if attn_mask is not None and attn_mask.dtype not in (torch.bool, query.dtype):
        raise _LeftError("its mask is of another dtype")
    if is_causal:
        attn_mask, is_causal = from_top_left(query, key, 2)
    return lz.attention(query, key, value, attn_mask, is_causal, dropout_p=dropout_p, scale=scale, layout="bhsd")


def _rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Any:
    if tuple(normalized_shape) != tuple(input.shape[-1:]):
        raise _LeftError("it norms more than the last dimension")
    if eps is None:  # torch's own is that of the type it computes in
        eps = torch.finfo(torch.promote_types(input.dtype, torch.float32)).eps
    return lz.rms_norm(input, weight, eps=eps)


def _layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    if tuple(normalized_shape) != tuple(input.shape[-1:]):
        raise _LeftError("it norms more than the last dimension")
    return lz.layer_norm(input, weight, bias, eps=eps)


def _silu(input: Tensor, inplace: bool = False) -> Any:
    if inplace:
        raise _LeftError("it writes to its input")
    return lz.silu(input)


def _gelu(input: Tensor, approximate: str = "none") -> Any:
    return lz.gelu(input, approximate=approximate)  # type: ignore[arg-type]  # what it does not know it refuses


def _whole(*args: Any, **kwargs: Any) -> Any:
    raise _LeftError("torch runs its parts where no mode sees them")


_TWINS: dict[Callable[..., Any], tuple[str, Callable[..., Any]]] = {
    functional.scaled_dot_product_attention: ("attention", _attention),
    functional.rms_norm: ("rms_norm", _rms_norm),
    torch.rms_norm: ("rms_norm", _rms_norm),  # a compiler sees this one
    functional.layer_norm: ("layer_norm", _layer_norm),
    functional.silu: ("silu", _silu),
    functional.gelu: ("gelu", _gelu),
    functional.multi_head_attention_forward: ("attention", _whole),
}

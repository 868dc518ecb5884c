"""A kernel's answer and the reference's, computed in fp64 on the CPU from the same inputs -> how far they are apart.

Tolerances are those of tests/conformance/README.md: |got - expected| <= t * (1 + |expected|).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from layerzero.backends.probe import load_adapter
from layerzero.backends.weights import QUANTISED
from layerzero.check.program import Program
from layerzero.errors import LayerZeroError
from layerzero.operations.call import Call

_SUMS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3.2e-2}
_ROWS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
_EIGHT_BITS = {torch.float8_e4m3fn: 0.2, torch.float8_e5m2: 0.4}
_GRADIENTS = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 0.1}


class WrongAnswerError(LayerZeroError):
    """A kernel answered, and not what the operation means; `off` is by how much, where that is a number."""

    def __init__(self, message: str, off: float | None = None) -> None:
        super().__init__(message)
        self.off = off


def in_fp64(call: Call) -> Call:
    """The call on the CPU, with every float in fp64 and a quantised weight as the dense one that it stands for; what
    asks for a gradient still does."""

    def wide(value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return torch.float64
        if isinstance(value, torch.device):
            return torch.device("cpu")
        if isinstance(value, QUANTISED):
            value = value.dense(torch.float64)
        if not isinstance(value, Tensor):
            return value
        copied = value.detach().cpu().clone()
        copied = copied.double() if copied.is_floating_point() else copied
        return copied.requires_grad_() if value.requires_grad else copied

    kwargs = {name: wide(value) for name, value in call.kwargs.items()}
    return Call(call.operation, call.context, tuple(map(wide, call.args)), kwargs)


def expected(program: Program, call: Call) -> Any:
    """What the last fallback of the operation, its plain definition, answers."""
    kernel = program.kernels[program.operations[call.operation].fallback[-1]]
    adapter = load_adapter(kernel.adapter or "")
    if isinstance(adapter, str):
        raise LayerZeroError(f"no reference of `{call.operation}`: {adapter}")
    kwargs = {name: value for name, value in call.kwargs.items() if name != "dropout_p"}
    return adapter(*call.args, **kwargs)


def judge(program: Program, call: Call, wide: Call, answer: Any) -> float | None:
    """How far an answer is off at its worst, as a part of what is tolerated; None where it is drawn at random.

    Args:
        call: As it was made.
        wide: As it was before, see `in_fp64`.
        answer: What the kernel gave.

    Raises:
        WrongAnswerError: It is wrong.
    """
    if call.operation == "sample":
        _drawn(wide, answer)
        return None
    wanted = expected(program, wide)
    if call.context.get("dropout", 0.0):
        _dropped(answer, wanted, float(call.context["dropout"]))  # type: ignore[arg-type]
        return None
    answers, wants = _listed(answer), _listed(wanted)
    if len(answers) != len(wants):
        raise WrongAnswerError(f"it answers {len(answers)} tensors, not {len(wants)}")
    dtype = _dtype(call)
    result = torch.bfloat16 if dtype.itemsize == 1 else dtype
    if answers[0].dtype != result:
        raise WrongAnswerError(f"the answer is of {answers[0].dtype}, not {result}")
    table = _SUMS if call.operation in ("attention", "linear") else _ROWS
    limit = (table | _EIGHT_BITS)[dtype]
    worst = _off(answers[0], wants[0], limit, "the answer")
    for got, want in zip(answers[1:], wants[1:], strict=True):
        worst = max(worst, _off(got, want, max(1e-5, limit / 2), "the second answer"))
    if call.context.get("requires_grad") is True or call.context.get("mask_requires_grad") is True:
        worst = max(worst, _gradients(call, wide, answers[0], wants[0], _GRADIENTS[dtype]))
    return worst


def _dtype(call: Call) -> torch.dtype:
    asked = call.kwargs.get("dtype")
    if isinstance(asked, torch.dtype):
        return asked
    dtype: torch.dtype = call.args[0].dtype
    return dtype


def _listed(answer: Any) -> tuple[Tensor, ...]:
    found = answer if isinstance(answer, tuple | list) else (answer,)
    if not all(isinstance(one, Tensor) for one in found):
        raise WrongAnswerError(f"it answers a {type(answer).__name__}, not tensors")
    return tuple(found)


def _off(got: Tensor, want: Tensor, limit: float, what: str) -> float:
    if got.shape != want.shape:
        raise WrongAnswerError(f"{what} has shape {list(got.shape)}, not {list(want.shape)}")
    wide = got.detach().cpu().double()
    want = want.detach()
    if wide.isnan().any():
        raise WrongAnswerError(f"{what} holds NaN")
    infinite = want.isinf()
    if not torch.equal(wide[infinite], want[infinite]) or wide[~infinite].isinf().any():
        raise WrongAnswerError(f"infinities of {what} differ")
    error = ((wide - want).abs() / (1 + want.abs()))[~infinite]
    worst = error.max().item() if error.numel() else 0.0
    if worst > limit:
        raise WrongAnswerError(f"{what} is off by {worst:.1e}, more than {limit:.0e}", worst)
    return worst / limit


def _gradients(call: Call, wide: Call, got: Tensor, want: Tensor, limit: float) -> float:
    """Compares the gradients of all that asks for one, for one and the same gradient of the answer."""
    if not got.requires_grad:
        raise WrongAnswerError("the answer has no gradient")
    generator = torch.Generator().manual_seed(7)
    upstream = torch.randn(want.shape, generator=generator, dtype=torch.float64).to(got.dtype)
    own = torch.autograd.grad(got, _asking(call), upstream.to(got.device), allow_unused=True)
    others = torch.autograd.grad(want, _asking(wide), upstream.double(), allow_unused=True)
    worst = 0.0
    for one, other in zip(own, others, strict=True):
        if (one is None) != (other is None):
            raise WrongAnswerError("an input that asks for a gradient has none")
        if one is not None:
            worst = max(worst, _off(one, other, limit, "a gradient"))
    return worst


def _asking(call: Call) -> list[Tensor]:
    values = (*call.args, *call.kwargs.values())
    return [value for value in values if isinstance(value, Tensor) and value.requires_grad]


def _dropped(answer: Any, wanted: Any, probability: float) -> None:
    """The values are all 1: the mean over many rows is that without dropout, and rows differ."""
    got, want = _listed(answer)[0].detach().cpu().double(), _listed(wanted)[0].detach()
    if got.shape != want.shape or not got.isfinite().all():
        raise WrongAnswerError("the answer has another shape, or is not finite")
    if probability == 1.0:
        if got.any():
            raise WrongAnswerError("not everything is dropped")
        return
    rows = max(1, got[..., 0].numel())
    limit = 0.05 + 6 * math.sqrt(probability / (1 - probability) / rows)
    off = abs((got.mean() - want.mean()).item()) if got.numel() else 0.0
    if off > limit:
        raise WrongAnswerError(f"the mean under dropout is off by {off:.1e}", off)
    if got.numel() and torch.allclose(got, want, atol=1e-2):
        raise WrongAnswerError("nothing is dropped")


def _drawn(call: Call, tokens: Any) -> None:
    """Each token is one that its method may draw; which of them is chance."""
    (logits,), options = call.args, call.kwargs
    if not isinstance(tokens, Tensor) or tokens.dtype != torch.int64 or tokens.shape != logits.shape[:-1]:
        raise WrongAnswerError("it answers no int64 token for each row")
    if not tokens.numel():
        return
    found = tokens.cpu()
    if found.min() < 0 or found.max() >= logits.shape[-1]:
        raise WrongAnswerError("a token is outside of the vocabulary")
    lowest = _lowest(logits, options)
    if (logits.gather(-1, found[..., None])[..., 0] < lowest).any():
        raise WrongAnswerError(f"a token is drawn that {options['method']} leaves out")


def _lowest(logits: Tensor, options: Mapping[str, Any]) -> Tensor:
    """The least logit of each row that may be drawn, by value: equal logits may stand in either order."""
    ranked = logits.sort(descending=True).values
    vocab = logits.shape[-1]
    if options["method"] == "greedy":
        return ranked[..., 0]
    if options["method"] == "topk":
        return ranked[..., min(options["k"], vocab) - 1]
    mass = (ranked / options.get("temperature", 1.0)).softmax(-1).cumsum(-1)
    last = (mass < options["p"] - 1e-5).sum(-1).clamp(max=vocab - 1)
    return ranked.gather(-1, last[..., None])[..., 0]

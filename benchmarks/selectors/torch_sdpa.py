"""Does policies/examples/torch_sdpa.lzp choose as torch does? `python benchmarks/selectors/run.py torch_sdpa`

Builds the tensors of each row and asks `torch._fused_sdp_choice`: on the CPU, and on a GPU where there is one.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from benchmarks.selectors.compare import Context

DTYPES = ("float32", "float64", "float16", "bfloat16")
HEAD_DIMS = (1, 4, 8, 12, 16, 64, 72, 96, 128, 136, 160, 192, 200, 224, 232, 256, 264)
LENGTHS = (0, 1, 2, 17, 64)


def draw(rng: random.Random) -> Context:
    """A context of small tensors; for a GPU too where there is one."""
    cuda = torch.cuda.is_available() and rng.random() < 0.5
    heads = rng.choice((1, 2, 4, 6, 8))
    length = rng.choice(LENGTHS[1:] if rng.random() < 0.9 else LENGTHS)
    context: Context = {
        "dtype": rng.choice(DTYPES),
        "q_heads": heads,
        "q_len": length,
        "kv_len": length if rng.random() < 0.5 else rng.choice(LENGTHS),
        "head_dim": rng.choice(HEAD_DIMS),
    }
    if cuda:
        context |= this_gpu()
    if rng.random() < 0.3:
        context["k_heads"] = rng.choice((1, 2, 3, heads))
        context["v_heads"] = context["k_heads"] if rng.random() < 0.8 else rng.choice((1, 2, heads))
    if rng.random() < 0.3:
        context["v_head_dim"] = rng.choice((8, 128, 256, context["head_dim"]))
    if rng.random() < 0.4:
        context["enable_gqa"] = True
    if rng.random() < 0.3:
        context["is_causal"] = True
    if rng.random() < 0.2:
        context["dropout_p"] = rng.choice((0.0, 0.0625, 0.1, 0.5))
    if not context.get("is_causal") and rng.random() < 0.3:
        context["mask"] = True
        for name, value in (("mask_fits", False), ("mask_inner_contiguous", False), ("mask_requires_grad", True)):
            if rng.random() < 0.2:
                context[name] = value
    for name, value in (("inner_contiguous", False), ("requires_grad", True), ("same_batch", False)):
        if rng.random() < 0.1:
            context[name] = value
    if cuda and rng.random() < 0.1:
        context["aligned"] = False
    if cuda and rng.random() < 0.1:
        context["deterministic"] = True
    if rng.random() < 0.05:
        context["dims"] = 3
    return context


def this_gpu() -> Context:
    """The fields of the GPU and of what torch was built with."""
    major, minor = torch.cuda.get_device_capability()
    number = torch.backends.cudnn.version() or 0
    cudnn = f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
    return {"device": "cuda", "sm": major * 10 + minor, "cuda": torch.version.cuda, "cudnn": cudnn}


def tensors(context: Context) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """q, k, v and the mask that a context describes."""
    get = context.get
    q_heads, k_heads = context["q_heads"], get("k_heads", context["q_heads"])
    sizes = [
        (2, q_heads, context["q_len"], context["head_dim"]),
        (2, k_heads, context["kv_len"], context["head_dim"]),
        (2 if get("same_batch", True) else 3, get("v_heads", k_heads), context["kv_len"], 0),
    ]
    sizes[2] = (*sizes[2][:3], get("v_head_dim", context["head_dim"]))
    made = [_tensor(size, context) for size in sizes]
    mask = _mask(context) if get("mask") else None
    return made[0], made[1], made[2], mask


def _tensor(size: tuple[int, ...], context: Context) -> Tensor:
    options: dict[str, Any] = {"dtype": getattr(torch, context["dtype"]), "device": context.get("device", "cpu")}
    if context.get("dims", 4) == 3:
        size = size[1:]
    if not context.get("inner_contiguous", True):
        made = torch.zeros(*size[:-1], size[-1] * 2, **options)[..., ::2]
    elif not context.get("aligned", True):
        whole = torch.zeros(_count(size) + 1, **options)
        made = whole[1:].view(size)
    else:
        made = torch.zeros(size, **options)
    return made.requires_grad_(context.get("requires_grad", False))


def _mask(context: Context) -> Tensor:
    size = (context["q_len"], context["kv_len"] if context.get("mask_fits", True) else context["kv_len"] + 3)
    options: dict[str, Any] = {"dtype": getattr(torch, context["dtype"]), "device": context.get("device", "cpu")}
    if context.get("mask_inner_contiguous", True):
        made = torch.zeros(size, **options)
    else:
        made = torch.zeros(size[0], size[1] * 2, **options)[:, ::2]
    return made.requires_grad_(context.get("mask_requires_grad", False))


def _count(size: tuple[int, ...]) -> int:
    count = 1
    for one in size:
        count *= one
    return count


def ask() -> Callable[[Context], str | None]:
    """torch's answer, `torch.` and the name of the backend in lower case."""

    def answer(context: Context) -> str | None:
        q, k, v, mask = tensors(context)
        torch.use_deterministic_algorithms(context.get("deterministic", False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = {"is_causal": context.get("is_causal", False), "enable_gqa": context.get("enable_gqa", False)}
            chosen = torch._fused_sdp_choice(q, k, v, mask, context.get("dropout_p", 0.0), **options)
        torch.use_deterministic_algorithms(False)
        return f"torch.{SDPBackend(chosen).name.lower()}"

    return answer

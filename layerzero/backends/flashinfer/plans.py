"""Lengths of the sequences of a call -> a FlashInfer wrapper that is planned for them.

Planning costs 230 to 530 us of the host, so a wrapper is kept per thread, stream and kind of call, and planned again
only where the lengths differ: the layers of a model share one plan. A plan is built in pinned memory and copied behind
the work that is queued, so the stream is waited for before the next one. For the same reason none of these calls may
be captured: a replay would read whatever plan was made last.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flashinfer
import torch
from torch import Tensor

WORKSPACE_BYTES = 128 * 1024 * 1024  # for the partial results of a split, as the library recommends
KEPT = 16  # wrappers a thread, 16 MiB each

Lengths = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Options:
    """What a plan depends on beside the lengths and the size of a page."""

    device: torch.device
    stream: int
    q_heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    causal: bool
    scale: float | None
    window_left: int
    softcap: float | None
    q_dtype: torch.dtype
    kv_dtype: torch.dtype

    @classmethod
    def of(
        cls,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        is_causal: bool,
        scale: float | None,
        window: int | None,
        softcap: float | None,
    ) -> Options:
        """q [..,Hq,D], k [..,Hkv,D]; a window hides what comes after the query, as a causal mask does."""
        return cls(
            device=q.device,
            stream=torch.cuda.current_stream(q.device).cuda_stream,
            q_heads=q.shape[-2],
            kv_heads=k.shape[-2],
            head_dim=q.shape[-1],
            v_head_dim=v.shape[-1],
            causal=is_causal or window is not None,
            scale=scale,
            window_left=-1 if window is None else window - 1,
            softcap=softcap,
            q_dtype=q.dtype,
            kv_dtype=k.dtype,
        )

    def for_plan(self) -> dict[str, Any]:
        return {
            "head_dim_vo": self.v_head_dim,
            "causal": self.causal,
            "sm_scale": self.scale,
            "window_left": self.window_left,
            "logits_soft_cap": self.softcap,
            "q_data_type": self.q_dtype,
            "kv_data_type": self.kv_dtype,
        }


def planned_ragged(options: Options, q_lens: Lengths, kv_lens: Lengths) -> Any:
    """For packed q [sum(q_lens),Hq,D] and k, v [sum(kv_lens),Hkv,D]."""
    slot = _slot("ragged", options, lambda space: flashinfer.BatchPrefillWithRaggedKVCacheWrapper(space, "NHD"))
    if slot.planned_for != (q_lens, kv_lens, 1):
        slot.start()
        heads = options.q_heads, options.kv_heads, options.head_dim
        slot.wrapper.plan(_starts(q_lens), _starts(kv_lens), *heads, **options.for_plan())
        slot.planned_for = (q_lens, kv_lens, 1)
    return slot.wrapper


def planned_paged(options: Options, q_lens: Lengths, kv_lens: Lengths, page_size: int, indices: Tensor) -> Any:
    """For packed q [sum(q_lens),Hq,D] and caches [pages,page_size,Hkv,D], whose pages `indices` [used] lists in order.

    Always on the fa2 template, which splits the keys of a sequence: fa3 is up to 8x slower in decoding.
    """

    def build(space: Tensor) -> Any:
        return flashinfer.BatchPrefillWithPagedKVCacheWrapper(space, "NHD", backend="fa2")

    slot = _slot("paged", options, build)
    if slot.planned_for != (q_lens, kv_lens, page_size):
        slot.start()
        with torch.inference_mode(False):  # else it could not be written outside of inference mode
            slot.indices = torch.empty_like(indices)
        slot.indices.copy_(indices)
        used = [-(-length // page_size) for length in kv_lens]
        last = [length - (n - 1) * page_size if n else 0 for length, n in zip(kv_lens, used, strict=True)]
        slot.wrapper.plan(
            _starts(q_lens),
            _starts(used),
            slot.indices,
            torch.tensor(last, dtype=torch.int32),
            options.q_heads,
            options.kv_heads,
            options.head_dim,
            page_size,
            **options.for_plan(),
        )
        slot.planned_for = (q_lens, kv_lens, page_size)
    else:
        slot.indices.copy_(indices)  # the plan does not depend on which pages they are; the wrapper holds this tensor
    return slot.wrapper


def pages_of(page_table: Tensor, kv_lens: Lengths, page_size: int) -> Tensor:
    """The pages in use of int32 [B,max_pages], sequence after sequence; nothing here may take a step a page."""
    width = page_table.shape[1]
    used = torch.tensor([-(-length // page_size) for length in kv_lens])
    if bool((used == width).all()):
        return page_table.reshape(-1)
    at = (torch.arange(width) < used[:, None]).flatten().nonzero().squeeze(1)
    return page_table.reshape(-1)[at.to(page_table.device, non_blocking=True)]


class _Slot:
    """A wrapper, and the lengths of queries and keys and the page size that it is planned for."""

    def __init__(self, wrapper: Any, device: torch.device) -> None:
        self.wrapper = wrapper
        self.device = device
        self.planned_for: tuple[Lengths, Lengths, int] | None = None
        self.indices = torch.empty(0, dtype=torch.int32, device=device)

    def start(self) -> None:
        """The plan before may still be on its way to the device."""
        self.planned_for = None
        torch.cuda.current_stream(self.device).synchronize()


class _Kept(threading.local):
    """A wrapper serves one call at a time, on one stream."""

    def __init__(self) -> None:
        self.slots: OrderedDict[tuple[str, Options], _Slot] = OrderedDict()
        self.workspaces: dict[tuple[torch.device, int], Tensor] = {}


_kept = _Kept()


def _slot(kind: str, options: Options, build: Callable[[Tensor], Any]) -> _Slot:
    key = (kind, options)
    if key not in _kept.slots:
        place = (options.device, options.stream)
        if place not in _kept.workspaces:  # shared: on one stream one call ends before the next begins
            _kept.workspaces[place] = torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=options.device)
        _kept.slots[key] = _Slot(build(_kept.workspaces[place]), options.device)
        if len(_kept.slots) > KEPT:
            _, oldest = _kept.slots.popitem(last=False)
            oldest.start()
    _kept.slots.move_to_end(key)
    return _kept.slots[key]


def _starts(lengths: Lengths | list[int]) -> Tensor:
    """int32 [n + 1] on the host: where each sequence begins."""
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)

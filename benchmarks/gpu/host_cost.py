"""What does an eager call cost the host? Through `lz.*`, its kernel's function alone, and the plain torch expression.

    python benchmarks/gpu/host_cost.py

One row of a model of 4096: what a decoding step pays between two launches. Microseconds until the call returns, the
device not waited for: the median of several rounds in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

import layerzero as lz
from layerzero.operations import attention, paged_attention, rms_norm, rope, swiglu
from layerzero.operations.call import Call
from layerzero.perf.plain_torch import plain

ROUNDS, CALLS = 9, 50


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    like = {"device": device, "dtype": torch.bfloat16}
    x, weight = torch.randn(1, 4096, **like), torch.randn(4096, **like)
    q, k = torch.randn(1, 1, 32, 128, **like), torch.randn(1, 4096, 8, 128, **like)
    pages, table = k.view(256, 16, 8, 128), torch.arange(256, device=device, dtype=torch.int32).view(1, 256)
    cos = torch.randn(1, 64, **like)
    halves = torch.randn(1, 2 * 14336, **like).chunk(2, -1)
    calls: dict[str, tuple[Callable[[], object], Call]] = {
        "rms_norm": (lambda: lz.rms_norm(x, weight), rms_norm.read(x, weight)),
        "rms_norm, residual": (lambda: lz.rms_norm(x, weight, residual=x), rms_norm.read(x, weight, 1e-6, x)),
        "rope": (lambda: lz.rope(q, cos, cos), rope.read(q, cos, cos)),
        "swiglu": (lambda: lz.swiglu(*halves), swiglu.read(*halves)),
        "attention": (lambda: lz.attention(q, k, k, is_causal=True), attention.read(q, k, k, is_causal=True)),
        "paged_attention": (
            lambda: lz.paged_attention(q, pages, pages, table),
            paged_attention.read(q, pages, pages, table),
        ),
    }
    print("| call | kernel | through lz, us | its function alone, us | plain torch, us |")
    print("| --- | --- | ---: | ---: | ---: |")
    with torch.inference_mode():
        for name, (through, call) in calls.items():
            with lz.trace() as records:
                through()
            decision = records[-1].decision
            function = lz.select(call.operation, context=call.context).function
            usual = plain(call)
            alone = partial(function, *call.args, **call.kwargs)
            found = costs([through, alone, *([] if usual is None else [usual])])
            print(f"| {name} | {decision.kernel} | {' | '.join(f'{one:.1f}' for one in found)} |", flush=True)


def costs(ways: list[Callable[[], object]]) -> list[float]:
    """Microseconds a call of each."""
    samples: list[list[float]] = [[] for _ in ways]
    for way in ways:
        way()
    for _ in range(ROUNDS):
        for way, found in zip(ways, samples, strict=True):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(CALLS):
                way()
            found.append((time.perf_counter() - started) / CALLS * 1e6)
    return [statistics.median(found) for found in samples]


if __name__ == "__main__":
    main()

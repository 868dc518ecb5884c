"""Is it worth copying K for a kernel that wants its last stride to be 1? Against two products that take it as it lies.

    python benchmarks/copies.py                   # on a GPU where there is one, else on the CPU; `--on cpu` chooses

K lies as [batch, heads, head_dim, length] in memory, as a cache for matrix products keeps it. These are the figures
behind the rules `price_of_copies` and `price_of_copies_decode` of policies/rules/preference.lzp.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from layerzero.backends import torch as kernels

SHAPES = {
    "cpu": ((1, 8, 256, 256, 64), (1, 8, 1024, 1024, 64), (1, 32, 1, 2048, 128), (8, 32, 1, 512, 128)),
    "cuda": ((1, 32, 512, 512, 128), (1, 32, 4096, 4096, 128), (1, 32, 1, 4096, 128), (16, 32, 1, 4096, 128)),
}
ROUNDS, CALLS = 9, {"cpu": 1, "cuda": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--on", choices=tuple(SHAPES), default="cuda" if torch.cuda.is_available() else "cpu")
    device = parser.parse_args().on
    torch.set_num_threads(1)
    like = {"device": device, "dtype": torch.float32 if device == "cpu" else torch.bfloat16}
    fused = kernels.sdpa_flash_cpu if device == "cpu" else kernels.sdpa_cudnn
    print("| batch, heads, queries, keys, head size | copied before, ms | copied for the call, ms | two products, ms |")
    print("| --- | ---: | ---: | ---: |")
    for batch, heads, queries, keys, size in SHAPES[device]:
        q, v = torch.randn(batch, heads, queries, size, **like), torch.randn(batch, heads, keys, size, **like)
        strided = torch.randn(batch, heads, size, keys, **like).mT
        ready = strided.contiguous()
        ways: list[Callable[[], object]] = [
            lambda q=q, k=ready, v=v: fused(q, k, v, layout="bhsd"),
            lambda q=q, k=strided, v=v: fused(q, k, v, layout="bhsd"),
            lambda q=q, k=strided, v=v: kernels.sdpa_math(q, k, v, layout="bhsd"),
        ]
        times: list[list[float]] = [[] for _ in ways]
        for _ in range(ROUNDS):  # in turn, so that the machine's other work meets all of them
            for way, seconds in zip(ways, times, strict=True):
                seconds.append(timed(way, device))
        shown = " | ".join(f"{statistics.median(seconds[1:]) * 1e3:.3f}" for seconds in times)
        print(f"| {batch}, {heads}, {queries}, {keys}, {size} | {shown} |")


def timed(way: Callable[[], object], device: str) -> float:
    """Seconds a call: of the process on a CPU, by the wall where a device is waited for."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    for _ in range(CALLS[device]):
        way()
    if device == "cuda":
        torch.cuda.synchronize()
    return (clock() - started) / CALLS[device]


if __name__ == "__main__":
    main()

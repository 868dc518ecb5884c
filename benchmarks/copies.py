"""Is it worth copying K for a kernel that wants its last stride to be 1? On the CPU, against two products as it lies.

    python benchmarks/copies.py

K lies as [batch, heads, head_dim, length] in memory, as a cache for matrix products keeps it. These are the figures
behind the rules `price_of_copies` and `price_of_copies_decode` of policies/rules/preference.lzp.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from layerzero.backends import torch as kernels

SHAPES = ((1, 8, 256, 256, 64), (1, 8, 1024, 1024, 64), (1, 32, 1, 2048, 128), (8, 32, 1, 512, 128))
ROUNDS = 9


def main() -> None:
    torch.set_num_threads(1)
    print("| batch, heads, queries, keys, head size | copied before, ms | copied for the call, ms | two products, ms |")
    print("| --- | ---: | ---: | ---: |")
    for batch, heads, queries, keys, size in SHAPES:
        q, v = torch.randn(batch, heads, queries, size), torch.randn(batch, heads, keys, size)
        strided = torch.randn(batch, heads, size, keys).mT
        ready = strided.contiguous()
        ways: list[Callable[[], object]] = [
            lambda q=q, k=ready, v=v: kernels.sdpa_flash_cpu(q, k, v, layout="bhsd"),
            lambda q=q, k=strided, v=v: kernels.sdpa_flash_cpu(q, k, v, layout="bhsd"),
            lambda q=q, k=strided, v=v: kernels.sdpa_math(q, k, v, layout="bhsd"),
        ]
        times: list[list[float]] = [[] for _ in ways]
        for _ in range(ROUNDS):  # in turn, so that the machine's other work meets all of them
            for way, seconds in zip(ways, times, strict=True):
                seconds.append(timed(way))
        shown = " | ".join(f"{statistics.median(seconds[1:]) * 1e3:.2f}" for seconds in times)
        print(f"| {batch}, {heads}, {queries}, {keys}, {size} | {shown} |")


def timed(way: Callable[[], object]) -> float:
    started = time.process_time()
    way()
    return time.process_time() - started


if __name__ == "__main__":
    main()

"""What does LayerZero cost on top of a kernel? Each figure is a multiple of an empty Python call of the same run.

    python benchmarks/overhead.py            # a table
    python benchmarks/overhead.py --json

The tensors are small on purpose: what is measured is the way to the kernel, which does not grow with them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

import layerzero as lz
from layerzero.backends import torch as adapters
from layerzero.operations import attention as reading

ROUNDS, CALLS = 15, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object")
    as_json = parser.parse_args().json
    torch.set_num_threads(1)
    q, k = torch.randn(1, 1, 8, 64), torch.randn(1, 64, 2, 64)
    policy = lz.Policy.from_text('policy "shipped"')
    prepared = policy.prepare(
        {"operation": "attention", "dtype": "bf16", "batch": 8, "q_len": 1, "kv_len": 4096, "q_heads": 32}
        | {"kv_heads": 8, "head_dim": 128, "causal": True, "sm": 90, "device": "cuda"}
    )

    def empty(q: object, k: object, v: object, is_causal: bool) -> None:
        return None

    cases: dict[str, Callable[[], object]] = {
        "an empty Python call of 4 arguments": lambda: empty(q, k, k, is_causal=True),
        "policy.decide of a prepared context": lambda: policy.decide(prepared),
        "reading the context of lz.attention": lambda: reading.read(q, k, k, is_causal=True),
        "the adapter alone": lambda: adapters.sdpa_flash_cpu(q, k, k, is_causal=True),
        "lz.attention": lambda: lz.attention(q, k, k, is_causal=True),
    }
    samples = measure(cases)
    base = statistics.median(samples["an empty Python call of 4 arguments"])
    rows = {name: statistics.median(found) for name, found in samples.items()}
    rows["lz.attention on top of its adapter"] = rows["lz.attention"] - rows["the adapter alone"]
    if as_json:
        print(json.dumps({name: {"seconds": value, "empty_calls": value / base} for name, value in rows.items()}))
        return
    for name, value in rows.items():
        print(f"{name:<40} {value * 1e6:8.2f} us {value / base:8.0f} empty calls")


def measure(cases: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds a call, the cases in turn round by round, so that a busy moment falls on all of them."""
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(ROUNDS):
        for name, case in cases.items():
            started = time.perf_counter()
            for _ in range(CALLS):
                case()
            samples[name].append((time.perf_counter() - started) / CALLS)
    return samples


if __name__ == "__main__":
    main()

"""How soon does an edit of a policy decide, and what do serving threads notice of a swap?

    python benchmarks/watch.py             # a table
    python benchmarks/watch.py --json

Decisions are open loop: two threads at 1 kHz each, every latency counted from the moment at which the decision was
due, so that a pause counts for all decisions that it delays. Rest and swapping are measured in turns of one run.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path

import layerzero as lz
from layerzero import api

RATE, THREADS = 1000, 2
CONTEXT = {"operation": "attention", "dtype": "fp32", "batch": 8, "q_len": 1, "kv_len": 4096, "q_heads": 32}
CONTEXT |= {"kv_heads": 8, "head_dim": 128, "causal": True, "device": "cpu"}
KERNELS = ("flash_attn", "flashinfer", "torch.sdpa_*", "xformers")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--edits", type=int, default=20, help="of the small policy (default: 20)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of rest, and of swapping (default: 8)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = {**edits(Path(folder), args.edits), **latencies(Path(folder), args.seconds)}
        lz.configure(None)  # before its files go away
    if args.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<58} {value:10.3f}")


# ---------------------------------------------------------------- edit to active


def edits(folder: Path, count: int) -> dict[str, float]:
    """Milliseconds from the end of a write until the new version decides, the shipped policies beneath."""
    file = folder / "small.lzp"
    file.write_text(small(0), encoding="utf-8")
    lz.configure(file, watch=True)
    took = []
    for number in range(1, count + 1):
        time.sleep(0.3)
        file.write_text(small(number), encoding="utf-8")
        written = time.perf_counter()
        while lz.status().version != str(number):
            time.sleep(0.001)
        took.append((time.perf_counter() - written) * 1e3)
    return {
        "edit to active, ms, the first (the worker is cold)": took[0],
        "edit to active, ms, median of the others": statistics.median(took[1:]),
        "edit to active, ms, the longest of the others": max(took[1:]),
    }


def small(number: int) -> str:
    return f'policy "small" version {number}\nboost torch.* by 1.{number:02d} for attention when kv_len > {number}\n'


# ---------------------------------------------------------------- latency of decisions


def latencies(folder: Path, seconds: float) -> dict[str, float]:
    """Milliseconds from the moment a decision was due until it was made, at rest and while files are swapped."""
    file = folder / "large.lzp"
    texts = [large("large", seed) for seed in range(4)]
    file.write_text(texts[0], encoding="utf-8")
    lz.configure(file, watch=True)
    gc.collect()
    found: dict[str, list[float]] = {"rest": [], "swapping": []}
    swaps = 0
    for turn in range(4):
        found["rest"] += open_loop(seconds / 4, lambda: None)
        before = api._engine.current().epoch
        written = iter(range(1_000_000))

        def swap(written=written, turn=turn) -> None:  # type: ignore[no-untyped-def]
            number = next(written)
            text = texts[number % 4] if turn % 2 else f"# {turn} {number}\n{large('large', 100 * turn + number)}"
            replace(file, text)

        found["swapping"] += open_loop(seconds / 4, swap)
        swaps += api._engine.current().epoch - before
    figures: dict[str, float] = {"swaps of policies with 1000 rules, measured": swaps}
    for name, values in found.items():
        values.sort()
        figures[f"decision, ms, {name}, median"] = values[len(values) // 2] * 1e3
        figures[f"decision, ms, {name}, p99"] = values[len(values) * 99 // 100] * 1e3
        figures[f"decision, ms, {name}, longest"] = values[-1] * 1e3
    return figures


def replace(file: Path, text: str) -> None:
    other = file.with_suffix(".new")
    other.write_text(text, encoding="utf-8")
    other.replace(file)


def open_loop(seconds: float, between: object) -> list[float]:
    """Decide at a fixed rate in two threads for some seconds; `between` is called every 100 ms by another."""
    took: list[list[float]] = [[] for _ in range(THREADS)]
    begin = time.perf_counter() + 0.05
    engine = api._engine
    scope, values = lz.Policy.from_text("").prepare(CONTEXT).scope, lz.Policy.from_text("").prepare(CONTEXT).values

    def serve(number: int) -> None:
        for turn in range(int(seconds * RATE)):
            due = begin + (turn + number / THREADS) / RATE
            wait = due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            engine.current().decide(scope, values)
            took[number].append(time.perf_counter() - due)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    assert callable(between)
    while any(thread.is_alive() for thread in threads):
        between()
        time.sleep(0.1)
    return [one for each in took for one in each]


def large(name: str, seed: int, count: int = 1000) -> str:
    """A policy of many rules of all kinds."""
    choose = random.Random(seed)
    lines = [f'policy "{name}" version {seed}']
    for _ in range(count):
        low = choose.randrange(1, 4000)
        condition = f"kv_len in {low}..{low + choose.randrange(1, 300)} and batch >= {choose.randrange(1, 64)}"
        kernel = choose.choice(KERNELS)
        rule = choose.choice((f"boost {kernel} by 1.{choose.randrange(10, 99)}", f"deny {kernel}", f"allow {kernel}"))
        lines.append(f"{rule} for attention when {condition} and head_dim == {choose.choice((64, 128, 256))}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()

"""What is a decision worth to the next call? Hit, miss, static and breaker, and streams of calls as servers make them.

    python benchmarks/dispatch/bench_cache_performance.py            # prints, and writes docs/benchmarks/
    python benchmarks/dispatch/bench_cache_performance.py --quick    # a look; writes nothing

A decision depends on the region that a context lies in, not on the context: a growing `kv_len` stays in one until it
crosses a threshold of the policy. Beside each stream stands what a cache with an exact key would meet: how many of its
contexts had been there before.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # the checkout, in place of this folder

import torch  # noqa: E402 -- the line above is what makes the checkout importable

import layerzero as lz  # noqa: E402
from benchmarks.dispatch.run_benchmarks import (  # noqa: E402
    DICTIONARY,
    DISTINCT,
    RESULTS,
    UNIT,
    breakers,
    calls,
    case,
    decisions,
    distinct_contexts,
)
from benchmarks.peers.measure import Case, Timing, measure  # noqa: E402
from benchmarks.peers.report import bars, figure, microseconds, replace_section, table  # noqa: E402

STEPS = 8192
MODEL = {"operation": "attention", "device": "cuda", "sm": 90, "dtype": "bf16", "q_heads": 32, "kv_heads": 8}
BOUND = "bind: the function of a fixed context, to a kernel that does nothing"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds; nothing is written")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    logging.getLogger("layerzero").setLevel(logging.CRITICAL)  # the breakers that are opened below say so
    with ExitStack() as stack:
        cases = {**calls(), **bound(), **decisions(DISTINCT // 20), **breakers(stack)}
        timings = measure(cases, 3 if quick else 15)
    print(as_table(timings))
    met = [stream(name, contexts) for name, contexts in streams().items()]
    print("\n" + streams_table(met))
    if not quick:
        write(timings, met)
    return 0


def bound() -> dict[str, Case]:
    """`lz.bind` on a fixed context is the adapter itself; with an open length it looks at that length alone."""
    q, k = torch.randn(1, 1, 8, 64), torch.randn(1, 64, 2, 64)
    fixed = lz.bind("attention", q, k, k, is_causal=True, varies=())
    open_ = lz.bind("attention", q, k, k, is_causal=True, varies=("kv_len",))
    assert fixed is lz.select("attention", q=q, k=k, v=k, is_causal=True).function
    return {
        BOUND: case(lambda: fixed(q, k, k, is_causal=True)),
        "bind: an open kv_len, to a kernel that does nothing": case(lambda: open_(q, k, k, is_causal=True)),
    }


# ---------------------------------------------------------------- streams


def streams() -> dict[str, list[dict[str, Any]]]:
    shape = {**MODEL, "head_dim": 128, "causal": True, "q_len": 1}
    return {
        f"one sequence decoded for {STEPS:,} steps": [
            {**shape, "batch": 1, "kv_len": step + 1} for step in range(1, STEPS + 1)
        ],
        "32 sequences of different lengths, 256 steps each": [
            {**shape, "batch": 32, "kv_len": 100 * sequence + step}
            for step in range(1, 257)
            for sequence in range(1, 33)
        ],
        f"{DISTINCT:,} distinct contexts in random order": distinct_contexts(DISTINCT),
    }


def stream(name: str, contexts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Decide a stream once by a policy that has seen none of it; count the changes of the answer on the way."""
    policy = lz.Policy.from_text(f'policy "{name[:12]}"')
    prepared = [policy.prepare(context) for context in contexts]
    policy.snapshot.matcher(prepared[0].values)  # the device is known; only the contexts are new
    answers = []

    def decide(one: Any) -> None:
        answers.append(policy.decide(one).kernel)

    timing = measure({name: Case(decide, prepared)}, 1, seconds_a_round=60.0)[name]
    borders = sum(one != other for one, other in pairwise(answers))
    seen = {tuple(context.values()) for context in contexts}
    return {
        "name": name,
        "calls": len(contexts),
        "p50_ns": timing.p50,
        "p99_ns": timing.p99,
        "changes_of_kernel": borders,
        "kernels": len(set(answers)),
        "exact_key_hits": round(1 - len(seen) / len(contexts), 4),
    }


# ---------------------------------------------------------------- what is told


def as_table(timings: dict[str, Timing]) -> str:
    head = ("what", "p50, us", "p99, us", "empty calls", "x dictionary", "calls timed")
    unit, dictionary = timings[UNIT].p50, timings[DICTIONARY].p50
    rows = [
        (
            name,
            microseconds(one.p50),
            microseconds(one.p99),
            figure(one.p50 / unit),
            figure(one.p50 / dictionary),
            str(one.calls),
        )
        for name, one in timings.items()
    ]
    return table(head, rows)


def streams_table(met: list[dict[str, Any]]) -> str:
    head = ("a stream, each call once", "p50, us", "p99, us", "kernels", "changes of kernel", "an exact key hits")
    rows = [
        (
            one["name"],
            microseconds(one["p50_ns"]),
            microseconds(one["p99_ns"]),
            str(one["kernels"]),
            str(one["changes_of_kernel"]),
            f"{one['exact_key_hits']:.1%}",
        )
        for one in met
    ]
    return table(head, rows)


def write(timings: dict[str, Timing], met: list[dict[str, Any]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    load = round(os.getloadavg()[0], 1)
    about = {
        "command": "python benchmarks/dispatch/bench_cache_performance.py",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": {"architecture": platform.machine(), "cores": os.cpu_count(), "load": load},
    }
    unit = timings[UNIT].p50
    rows = [
        {"name": name, "p50_ns": one.p50, "p99_ns": one.p99, "calls": one.calls, "to_empty_call": one.p50 / unit}
        for name, one in timings.items()
    ]
    data = json.dumps(about | {"rows": rows, "streams": met}, indent=1)
    (RESULTS / "cache.json").write_text(data + "\n", encoding="utf-8")
    kinds = {UNIT: "baseline", DICTIONARY: "baseline"}
    panels = {
        "calls": [(name, kinds.get(name, "own"), one.p50 / unit) for name, one in timings.items()],
        "streams": [(one["name"], "own", one["p50_ns"] / unit) for one in met],
    }
    plot = bars("Hit, miss, static, breaker: p50", "multiples of an empty Python call of the same run", panels, 460)
    (RESULTS / "cache.svg").write_text(plot, encoding="utf-8")
    text = (
        f"Python {about['python']}, torch {about['torch']}, {platform.machine()}, {os.cpu_count()} cores,"
        f" load {load} at the end.\n\n{as_table(timings)}\n\n{streams_table(met)}"
    )
    replace_section(ROOT / "docs" / "benchmarks.md", "cache", text)
    print(f"\nwritten: {', '.join(str(path.relative_to(ROOT)) for path in sorted(RESULTS.glob('cache.*')))}")


if __name__ == "__main__":
    sys.exit(main())

"""How long does it take to compile a policy, and to decide? Times are printed as multiples of an empty Python call.

    python benchmarks/compiler.py            # the shipped policies, and 10 to 1000 synthetic rules
    python benchmarks/compiler.py --json

The empty call is measured in the same run, right before each figure, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from layerzero.check import program_from_text
from layerzero.check.program import Program, Scope
from layerzero.compiler import compile_program
from layerzero.compiler.dump import operation_stats
from layerzero.compiler.matcher import build
from layerzero.semantics.environment import Environment
from layerzero.semantics.interpret import decide

OFFLINE = Environment(assume_packages=True)
DEVICES: Mapping[str, Mapping[str, Any]] = {
    "cpu": {"device": "cpu", "device_name": None, "sm": None},
    "h100": {"device": "cuda", "device_name": "NVIDIA H100 80GB HBM3", "sm": 90},
}
FACTS = """
field dtype: enum(fp16, bf16, fp32, fp8)
field phase: enum(prefill, decode)
field head_dim: int in 1..1024
field q_len: int in 1..1000000
field kv_len: int in 1..1000000
field batch: int in 1..4096 = 1
field causal: bool = false
field window: int in 0..1000000 = 0
field tenant: string
operation attention {
  needs dtype, head_dim, q_len, kv_len  optional phase, batch, causal, window
  feature causal when causal  feature window when window > 0
  view decode when phase == decode
  fallback plain.attention
}
kernel plain.attention for attention { priority 1 supports causal, window }
"""
Decide = Callable[[Mapping[str, Any], Mapping[str, str]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    write = print_json if parser.parse_args().json else print_row
    shipped = program_from_text('policy "shipped"')
    for device, fixed in DEVICES.items():
        write(measure(f"shipped, {device}", shipped, fixed, shipped_contexts(random.Random(1))))
    for rules in (10, 30, 100, 300, 1000):
        program = program_from_text(synthetic(rules), prelude=False)
        write(measure(f"{rules} rules", program, {}, synthetic_contexts(random.Random(rules))))


def measure(
    name: str, program: Program, fixed: Mapping[str, Any], contexts: list[dict[str, Any]], operation: str = "attention"
) -> dict[str, Any]:
    started = time.perf_counter()
    form = compile_program(program, OFFLINE, fixed)
    compiled = time.perf_counter()
    matcher = build(form)
    built = time.perf_counter()
    present = {key: value for key, value in fixed.items() if value is not None}
    contexts = [{**context, **present} for context in contexts]
    empty = seconds_a_call(lambda values, arms: None, contexts)
    # A bitset matcher computes an outcome when it first meets a set of parts, and remembers it after that.
    first = seconds_a_call(matcher.function(operation), contexts, 1)
    fast = seconds_a_call(matcher.function(operation), contexts)
    slow = seconds_a_call(
        lambda values, arms: decide(program, OFFLINE, Scope(operation), values, arms), contexts[:50], 1
    )
    shape = operation_stats(form.operations[operation])
    return {
        "policy": name,
        "structure": shape.structure,
        "kernels": shape.kernels,
        "nodes": shape.nodes,
        "depth": shape.depth,
        "compile_s": round(compiled - started, 3),
        "build_s": round(built - compiled, 3),
        "empty_call_ns": round(empty * 1e9, 1),
        "decide_us": round(fast * 1e6, 2),
        "decide_in_empty_calls": round(fast / empty, 1),
        "first_in_empty_calls": round(first / empty, 1),
        "interpret_in_empty_calls": round(slow / empty),
    }


def seconds_a_call(function: Decide, contexts: list[dict[str, Any]], rounds: int = 9) -> float:
    """The median over rounds of the mean over contexts."""
    arms: dict[str, str] = {}
    means = []
    for _ in range(rounds):
        started = time.perf_counter()
        for values in contexts:
            function(values, arms)
        means.append((time.perf_counter() - started) / len(contexts))
    return statistics.median(means)


# ---------------------------------------------------------------- what is decided


def shipped_contexts(rng: random.Random) -> list[dict[str, Any]]:
    contexts = []
    for _ in range(500):
        q_len = rng.choice((1, 1, 128, 777, 4096))
        contexts.append(
            {
                "dtype": rng.choice(("fp16", "bf16", "fp32")),
                "batch": rng.choice((1, 8, 64)),
                "q_len": q_len,
                "kv_len": q_len + rng.choice((0, 1, 4096)),
                "q_heads": 32,
                "kv_heads": rng.choice((8, 32)),
                "head_dim": rng.choice((64, 80, 128, 256)),
                "causal": rng.random() < 0.8,
                "window": rng.choice((0, 0, 1024)),
            }
        )
    return contexts


def synthetic(rules: int, kernels: int | None = None) -> str:
    """A tenth of the rules are kernels, up to 100, or else so many kernels stand beside as many rules; the rules speak
    about them under ranges of a few fields."""
    rng = random.Random(rules)
    names = [
        f"k{number % 7}.v{number}" for number in range(max(3, min(100, rules // 10) if kernels is None else kernels))
    ]
    rules = rules if kernels is None else rules + len(names)
    lines = [f'policy "synthetic {rules}"', FACTS]
    for name in names:
        requires = (
            f"require dtype in {{fp16, {rng.choice(('bf16', 'fp8'))}}}",
            f"require head_dim <= {rng.choice((64, 128, 256))}",
            f"require head_dim % {rng.choice((8, 16, 32))} == 0",
        )
        facts = f"priority {rng.randint(20, 100)} supports causal {' '.join(requires)}"
        lines.append(f"kernel {name} for attention {{ {facts} }}")
    for number in range(rules - len(names)):
        kind = rng.choice(("deny", "deny", "boost", "boost", "quarantine", "lock"))
        factor = f" by {rng.choice(('0.5', '1.25', '2'))}" if kind == "boost" else ""
        rest = f" priority {number} else choose" if kind == "lock" else ""
        lines.append(f"{kind} {rng.choice(names)}{factor} for attention when {region(rng)} as r{number}{rest}")
    return "\n".join(lines)


def region(rng: random.Random) -> str:
    low = rng.randint(1, 8000)
    options = [
        f"{low} <= kv_len <= {low + rng.randint(1, 4000)}",
        f"head_dim == {rng.choice((64, 80, 96, 128))}",
        f"batch >= {rng.randint(1, 64)}",
        f"dtype == {rng.choice(('fp16', 'bf16', 'fp32'))}",
        "phase == decode",
        f'has(tenant) and tenant == "t{rng.randint(0, 50)}"',
    ]
    return " and ".join(rng.sample(options, rng.choice((2, 3))))


def synthetic_contexts(rng: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "dtype": rng.choice(("fp16", "bf16", "fp32")),
            "phase": rng.choice(("prefill", "decode")),
            "head_dim": rng.choice((64, 80, 128)),
            "q_len": 1,
            "kv_len": rng.randint(1, 12_000),
            "batch": rng.choice((1, 8, 32)),
            "causal": True,
            "tenant": f"t{rng.randint(0, 60)}",
        }
        for _ in range(500)
    ]


# ---------------------------------------------------------------- printing


def print_row(row: dict[str, Any]) -> None:
    shape = f"{row['nodes']} nodes, {row['depth']} deep" if row["structure"] == "tree" else f"{row['depth']} probes"
    print(
        f"{row['policy']:14} {row['structure']:6} {row['kernels']:3} kernels, {shape:20}"
        f" compile {row['compile_s']:6.3f} s  decide {row['decide_in_empty_calls']:5.1f} empty calls"
        f" ({row['decide_us']:.2f} us), {row['first_in_empty_calls']} at first; the interpreter"
        f" {row['interpret_in_empty_calls']}",
        flush=True,
    )


def print_json(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()

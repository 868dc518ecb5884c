"""How long does a command take from a cold start? Each is a fresh process, with warm caches; the best of some runs.

    python benchmarks/cli.py            # the commands, and what importing costs them
    python benchmarks/cli.py --json

`cpu` is the processor time of the process and its system calls: on a busy machine it tells more than `wall`. The empty
interpreter is measured beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LZ = [sys.executable, "-m", "layerzero"]
GIVEN = ["--given", "rms_norm", "h100", "dtype=bf16", "hidden_size=4096"]
COMMANDS: dict[str, list[str]] = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "lz --version": [*LZ, "--version"],
    "lz check --fast": [*LZ, "check", "--fast"],
    "lz check --fast policies/": [*LZ, "check", "--fast", "policies"],
    "lz check policies/": [*LZ, "check", "policies"],
    "lz fmt --check policies/": [*LZ, "fmt", "--check", "policies"],
    "lz test": [*LZ, "test"],
    "lz explain": [*LZ, "explain", *GIVEN],
    "lz kernels": [*LZ, "kernels"],
    "lz decide, 1000 lines, all fields": [*LZ, "decide", "--contexts", "CONTEXTS"],
    "lz decide, 1000 lines, --fields kernel": [*LZ, "decide", "--contexts", "CONTEXTS", "--fields", "kernel"],
}


def measure(command: Sequence[str], runs: int) -> tuple[float, float]:
    """The best wall and processor seconds."""
    walls, cpus = [], []
    for _ in range(runs):
        before, start = os.times(), time.perf_counter()
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        walls.append(time.perf_counter() - start)
        after = os.times()
        cpus.append(after.children_user - before.children_user + after.children_system - before.children_system)
    return min(walls), min(cpus)


def imports(limit: int) -> list[tuple[str, float]]:
    """The modules that cost `lz check --fast` most by themselves, in milliseconds."""
    command = [sys.executable, "-X", "importtime", "-m", "layerzero", "check", "--fast"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
    costs = [(name.strip(), int(own) / 1000) for own, _, name in lines if own.strip().isdigit()]
    return sorted(costs, key=lambda cost: -cost[1])[:limit]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        contexts = Path(folder, "contexts.jsonl")
        context = {"operation": "rms_norm", "dtype": "bf16", "hidden_size": 4096, "device": "cuda", "sm": 90}
        contexts.write_text("".join(json.dumps({**context, "rows": rows}) + "\n" for rows in range(1000)))
        times = {
            name: measure([str(contexts) if word == "CONTEXTS" else word for word in command], args.runs)
            for name, command in COMMANDS.items()
        }
    slowest = imports(8)
    if args.json:
        rows = {name: {"wall_s": wall, "cpu_s": cpu} for name, (wall, cpu) in times.items()}
        print(json.dumps({"commands": rows, "imports_ms": dict(slowest)}, indent=2))
        return
    print(f"{'command':<42}{'wall':>9}{'cpu':>9}")
    for name, (wall, cpu) in times.items():
        print(f"{name:<42}{wall:>7.2f} s{cpu:>7.2f} s")
    print("\nimports of `lz check --fast` that cost most")
    for name, cost in slowest:
        print(f"{name:<42}{cost:>7.1f} ms")


if __name__ == "__main__":
    main()

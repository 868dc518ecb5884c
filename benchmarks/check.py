"""How long does `lz check` take with all analyses: on what is shipped, and on a policy of a thousand rules?

    python benchmarks/check.py                      # the shipped policies, then both kinds of a thousand rules
    python benchmarks/check.py --rules 300 --kind dense

`shipped` runs the command in a process of its own, first with an empty folder for parsed files, then with what it left
there; results of analyses are kept nowhere. `realistic` are the thousand locks of benchmarks/peers, which meet nearly
all others; `dense` are the denies, quarantines, boosts and locks of benchmarks/diff.py on twenty kernels. `cpu` is
processor time, which tells more than `wall` on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # the checkout, in place of this folder

KINDS = ("shipped", "realistic", "dense")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: each, in a process of its own")
    args = parser.parse_args()
    kinds = args.kind or KINDS
    if len(kinds) > 1:
        for kind in kinds:
            subprocess.run([sys.executable, __file__, "--kind", kind, "--rules", str(args.rules)], check=True)
    elif kinds[0] == "shipped":
        shipped()
    else:
        synthetic(kinds[0], args.rules)


def shipped() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("cold", "warm"):
            before, wall = os.times(), time.perf_counter()
            command = [sys.executable, "-m", "layerzero", "check", str(ROOT / "policies")]
            subprocess.run(command, check=True, env={**os.environ, "LAYERZERO_CACHE": folder})
            after, wall = os.times(), time.perf_counter() - wall
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            print(f"policies/, {cache} cache: cpu {cpu:.2f} s, wall {wall:.2f} s", flush=True)


def synthetic(kind: str, rules: int) -> None:
    from benchmarks import diff, scale
    from layerzero.analysis.checks import study
    from layerzero.check import program_from_text

    text = diff.policies(0, rules)[0] if kind == "dense" else scale.policy(kind, rules)[0]
    cpu, wall = time.process_time(), time.perf_counter()
    found = study(program_from_text(text, prelude=False), date(2026, 6, 1))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counted = f"{len(found.findings)} findings, {len(found.doubts)} not decided"
    print(f"{kind}, {rules} rules: cpu {cpu:.1f} s, wall {wall:.1f} s, {memory:.0f} MiB; {counted}", flush=True)


if __name__ == "__main__":
    main()

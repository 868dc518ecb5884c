"""How do compiling, starting and deciding grow with a policy? 10 to 10 000 rules, 10 to 1 000 kernels.

    python benchmarks/scale.py                    # a table
    python benchmarks/scale.py --rules 1000 --kind realistic --json    # one policy, in this process

Each policy is measured in a process of its own, so that memory is that of one policy alone. The rules are those of
benchmarks/peers/rules.py (`realistic`, `adversarial`) and of benchmarks/compiler.py (`mixed`: every kind of rule over
up to a hundred kernels; `kernels`: as many kernels as rules).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import process_time
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # the checkout, in place of this folder

SIZES = (10, 100, 1000, 10_000)
KINDS = ("mixed", "realistic", "adversarial")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rules", type=int, help="one size, in this process")
    parser.add_argument("--kind", choices=(*KINDS, "kernels"), default="mixed")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    options = parser.parse_args()
    if options.rules:
        rows = [measure(options.kind, options.rules)]
    else:
        wanted = [(kind, size) for kind in KINDS for size in SIZES] + [("kernels", size) for size in SIZES[:3]]
        rows = [in_own_process(kind, size) for kind, size in wanted]
    if options.json:
        print(json.dumps(rows if len(rows) > 1 else rows[0]))
    else:
        print(as_table(rows))
    if options.write:
        from benchmarks.peers.report import replace_section

        load = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"
        replace_section(ROOT / "docs" / "benchmarks.md", "scale", f"{load}.\n\n{as_table(rows)}")


def in_own_process(kind: str, size: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--kind", kind, "--rules", str(size), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# ---------------------------------------------------------------- one policy


def measure(kind: str, size: int) -> dict[str, Any]:
    """CPU seconds of the process: a shared machine's other work does not count."""
    from layerzero.check import program_from_text
    from layerzero.compiler import compile_program
    from layerzero.compiler.dump import operation_stats
    from layerzero.compiler.matcher import build
    from layerzero.semantics.environment import Environment

    offline = Environment(assume_packages=True)
    text, contexts, fixed = policy(kind, size)
    program, checked = timed(lambda: program_from_text(text, prelude=False))
    gc.collect()
    forget_peak()
    before = resident()
    form, compiled = timed(lambda: compile_program(program, offline, fixed))
    matcher, built = timed(lambda: build(form))
    after = peak()
    decide = matcher.function("attention")
    first = seconds_a_call(decide, contexts)
    again = min(seconds_a_call(decide, contexts) for _ in range(5))
    shape = operation_stats(form.operations["attention"])
    return {
        "kind": kind,
        "rules": size,
        "kernels": shape.kernels,
        "structure": shape.structure,
        "worst_path": shape.depth,
        "text_to_program_s": round(checked, 3),
        "program_to_matcher_s": round(compiled + built, 3),
        "matcher_mb": round(after - before, 1),
        "cached_start_s": round(cached_start(text), 3),
        "decide_new_us": round(first * 1e6, 2),
        "decide_known_us": round(again * 1e6, 2),
    }


def policy(kind: str, size: int) -> tuple[str, list[dict[str, Any]], dict[str, Any]]:
    """Text, contexts that it is asked, and what is fixed for the process (a device)."""
    from benchmarks.compiler import synthetic, synthetic_contexts

    if kind in ("mixed", "kernels"):
        contexts = [one for seed in range(4) for one in synthetic_contexts(random.Random(seed))]
        return synthetic(size, size if kind == "kernels" else None), contexts, {}
    from benchmarks.peers import rules
    from benchmarks.peers.engines import policy_text

    chosen = rules.realistic(size) if kind == "realistic" else rules.adversarial(size)
    contexts = [context for context in rules.contexts(chosen, 2000) if context["sm"] == 90]
    return policy_text(chosen), contexts, {"sm": 90}


def cached_start(text: str) -> float:
    """The second start with a policy: its texts are compared, its form is read, its matcher is built."""
    from layerzero.runtime.building import Material
    from layerzero.runtime.cached import Cached
    from layerzero.runtime.snapshot import Snapshot
    from layerzero.semantics.environment import Environment

    environment = Environment(assume_packages=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LAYERZERO_CACHE"] = str(Path(folder) / "cache")
        path = Path(folder) / "policy.lzp"
        path.write_text(text, encoding="utf-8")

        def start() -> Snapshot:
            builder = Cached()
            loaded = builder.load(Material(path=path, prelude=False))
            forms = builder.compile(loaded, environment, [{}])
            return Snapshot(loaded.vocabulary, environment, loaded.program, forms)

        start()
        return min(timed(start)[1] for _ in range(3))


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = process_time()
    made = work()
    return made, process_time() - started


def seconds_a_call(decide: Callable[..., Any], contexts: list[dict[str, Any]]) -> float:
    arms: dict[str, str] = {}
    started = process_time()
    for values in contexts:
        decide(values, arms)
    return (process_time() - started) / len(contexts)


def resident() -> float:
    """MiB that the process holds now."""
    return _memory("VmRSS:")


def forget_peak() -> None:
    """Count the peak from here on, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """MiB that the process has held at most."""
    return _memory("VmHWM:")


def _memory(field: str) -> float:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024
    import resource

    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found / 1024 if sys.platform != "darwin" else found / 1024**2


def as_table(rows: list[dict[str, Any]]) -> str:
    from benchmarks.peers.report import table

    head = ("rules", "kernels", "form", "asks at most", "text to program, s", "to matcher, s", "matcher, MiB")
    head += ("cached start, s", "new context, us", "known, us")
    cells = [
        (
            f"{row['kind']} {row['rules']:,}",
            str(row["kernels"]),
            row["structure"],
            str(row["worst_path"]),
            f"{row['text_to_program_s']:.2f}",
            f"{row['program_to_matcher_s']:.2f}",
            f"{row['matcher_mb']:.0f}",
            f"{row['cached_start_s']:.3f}",
            f"{row['decide_new_us']:.1f}",
            f"{row['decide_known_us']:.1f}",
        )
        for row in rows
    ]
    return table(head, cells)


if __name__ == "__main__":
    main()

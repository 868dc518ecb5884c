"""The numbers that LayerZero holds itself to, measured in one run: what, bar, stretch, measured, met or not.

    python benchmarks/aims.py            # about five minutes; writes docs/benchmarks/numbers.json and the page
    python benchmarks/aims.py --quick    # a look; writes nothing

Times of calls are nanoseconds of one call, the clock's cost taken off, beside those of an empty Python call of the same
run: on a shared machine only the ratios mean something. Times of compiling are CPU seconds of one process. What is
compared with other engines stands in the tables of benchmarks/peers, where all run side by side.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # the checkout, in place of this folder

from benchmarks.peers.measure import Case, Timing, measure  # noqa: E402
from benchmarks.peers.report import replace_section, table  # noqa: E402

RESULTS = ROOT / "docs" / "benchmarks"
CONTEXTS = 20_000


@dataclass(frozen=True, slots=True)
class Number:
    """`value` against a bar and a stretch aim; lower is better unless `more`."""

    what: str
    unit: str
    value: float | None
    bar: float
    stretch: float | None = None
    more: bool = False
    note: str = ""

    def reaches(self, aim: float | None) -> bool:
        if aim is None or self.value is None:
            return False
        return self.value >= aim if self.more else self.value <= aim

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return "stretch" if self.reaches(self.stretch) else "met" if self.reaches(self.bar) else "not met"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds; nothing is written")
    quick = parser.parse_args().quick
    logging.getLogger("layerzero").setLevel(logging.CRITICAL)
    numbers: list[Number] = []
    for part in (calls, decode, scale, command, start):
        for number in part(quick):
            numbers.append(number)
            print(f"{number.verdict:13} {number.what}: {shown(number.value)} {number.unit} {number.note}", flush=True)
    text = as_table(numbers)
    print("\n" + text)
    if not quick:
        write(numbers, text)
    return 0


# ---------------------------------------------------------------- calls and decisions


def calls(quick: bool) -> Iterator[Number]:
    """The way to a kernel that does nothing, and decisions of prepared contexts."""
    import torch

    from benchmarks.dispatch import run_benchmarks as dispatch

    torch.set_num_threads(1)
    rounds = 3 if quick else 15
    cases = {**dispatch.calls(), **dispatch.decisions(dispatch.DISTINCT // 20)}
    timings = measure(cases, rounds)
    unit = timings[dispatch.UNIT].p50
    own, dictionary = timings[dispatch.CALL].p50 - unit, timings[dispatch.DICTIONARY].p50 - unit
    beside = f"p50; an empty call takes {unit:.0f} ns, the dictionary adds {dictionary:.0f} ns"
    yield Number("`lz.attention` over its adapter", "x an empty call", own / unit, 6, 4, note=beside)
    yield Number("the same over the dictionary baseline", "x what it adds", own / dictionary, 0.4)
    hit = timings["policy.decide, distinct prepared contexts, decided before"]
    miss = timings["policy.decide, distinct prepared contexts, the first time (miss)"]
    yield Number("`policy.decide`, a prepared context in a known region", "ns", hit.p50, 100, 60, note=p99(hit))
    yield Number("the same, never met before", "ns", miss.p50, 500, 300, note=p99(miss))
    many, few = (ten_thousand(rules, quick) for rules in (10_000, 100))
    note = f"p50 {many.p50:.0f} ns and {few.p50:.0f} ns, new contexts in random order"
    yield Number("the same with 10 000 rules over that with 100", "x", many.p50 / few.p50, 3, note=note)
    yield bound()


def ten_thousand(rules: int, quick: bool) -> Timing:
    from benchmarks.peers import rules as generator
    from benchmarks.peers.engines import policy_text, with_operation
    from layerzero.runtime.policy import Policy

    chosen = generator.realistic(rules)
    policy = Policy.from_text(policy_text(chosen), prelude=False)
    asked = [one for one in generator.contexts(chosen, 1000 if quick else 10_000) if one["sm"] == 90]
    prepared = [policy.prepare(with_operation(context)) for context in asked]
    policy.snapshot.matcher(prepared[0].values)
    return measure({"": Case(policy.decide, prepared)}, 1, seconds_a_round=60.0)[""]


def bound() -> Number:
    import torch

    import layerzero as lz

    q, k = torch.randn(1, 1, 8, 64), torch.randn(1, 64, 2, 64)
    function = lz.bind("attention", q, k, k, is_causal=True, varies=())
    same = function is lz.select("attention", q=q, k=k, v=k, is_causal=True).function
    return Number("`lz.bind` on a fixed context", "functions between", 0.0 if same else 1.0, 0, 0, note="identity")


def decode(quick: bool) -> Iterator[Number]:
    """Regions that 8 192 steps of decoding meet, where decisions tell their region."""
    import layerzero as lz

    context = {"operation": "attention", "device": "cuda", "sm": 90, "dtype": "bf16", "batch": 1, "q_len": 1}
    context |= {"q_heads": 32, "kv_heads": 8, "head_dim": 128, "causal": True}
    policy = lz.Policy.from_text('policy "decode"')
    kernels, regions = [], []
    for kv_len in range(2, 8194):
        decision = policy.decide({**context, "kv_len": kv_len})
        kernels.append(decision.kernel)
        regions.append(str(getattr(decision, "region", "")))
    misses = float(len(set(regions))) if any(regions) else None
    borders = sum(one != other for one, other in pairwise(kernels))
    note = f"the kernel changes {borders} times" + ("" if any(regions) else "; decisions tell no region")
    yield Number("8 192 decode steps: regions met", "regions", misses, borders + 1, note=note)


def p99(timing: Timing) -> str:
    return "p50" if timing.p99 is None else f"p50; p99 {timing.p99:.0f} ns"


# ---------------------------------------------------------------- scale


def scale(quick: bool) -> Iterator[Number]:
    """The worst of three kinds of rules, each policy in a process of its own."""
    from benchmarks.scale import KINDS, in_own_process

    kinds = KINDS[:1] if quick else KINDS
    large = {kind: in_own_process(kind, 10_000) for kind in kinds}
    small = {kind: in_own_process(kind, 1000) for kind in kinds}

    def worst(key: str) -> tuple[float, str]:
        values = {kind: float(row[key]) for kind, row in large.items()}
        return max(values.values()), ", ".join(f"{kind} {shown(value)}" for kind, value in values.items())

    seconds, note = worst("program_to_matcher_s")
    yield Number("checked program to matcher, 10 000 rules", "s", seconds, 2, 1, note=note)
    megabytes, note = worst("matcher_mb")
    yield Number("its memory", "MiB", megabytes, 200, 100, note=note)
    ratios = {
        kind: large[kind]["program_to_matcher_s"] / max(small[kind]["program_to_matcher_s"], 0.001) for kind in kinds
    }
    note = ", ".join(f"{kind} {shown(value)}" for kind, value in ratios.items())
    yield Number("its time over that of 1 000 rules", "x", max(ratios.values()), 12, 6, note=note)
    seconds, note = worst("text_to_program_s")
    yield Number("text to program, 10 000 rules", "s", seconds, 10, 5, note=note)
    seconds, note = worst("cached_start_s")
    yield Number("a cached snapshot of 10 000 rules", "s", seconds, 0.1, 0.05, note=note)


# ---------------------------------------------------------------- the command, and the start of a process


def command(quick: bool) -> Iterator[Number]:
    """Contexts a second of `lz decide`, what starting it and compiling take subtracted."""
    count = CONTEXTS // 10 if quick else CONTEXTS
    for what, options, bar, stretch, size in (
        ("kernel, score and degraded", ["--fields", "kernel,score,degraded"], 100_000, 250_000, 5 * count),
        ("everything", [], 5000, None, count // 20),
    ):
        with tempfile.TemporaryDirectory() as folder:
            few, many = Path(folder) / "few.jsonl", Path(folder) / "many.jsonl"
            write_contexts(few, 100)
            write_contexts(many, 100 + size)
            seconds = decide_file(many, options) - decide_file(few, options)
        yield Number(f"`lz decide`, {what}", "contexts/s", size / seconds, bar, stretch, more=True, note="CPU time")


def write_contexts(path: Path, count: int) -> None:
    rng = random.Random(5)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            q_len = rng.choice((1, 1, 128, 777, 4096))
            view = "attention.decode" if q_len == 1 else "attention.prefill"
            context = {
                "operation": rng.choice(("attention", "attention.causal", view)),
                "device": "cuda",
                "sm": rng.choice((80, 90, 100)),
                "dtype": rng.choice(("fp16", "bf16", "fp32")),
                "batch": rng.randint(1, 64),
                "q_len": q_len,
                "kv_len": q_len + rng.randint(1, 9000),
                "q_heads": 32,
                "kv_heads": rng.choice((8, 32)),
                "head_dim": rng.choice((64, 80, 128, 256)),
                "causal": True,
            }
            file.write(json.dumps(context) + "\n")


def decide_file(path: Path, options: list[str]) -> float:
    """CPU seconds of the whole process."""
    program = (
        "import sys, time; from layerzero.cli import main; code = main(sys.argv[1:])\n"
        "print(time.process_time(), file=sys.stderr); sys.exit(code)"
    )
    arguments = ["decide", "--contexts", str(path), *options]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=environment()
    )
    return float(done.stderr.split()[-1])


def start(quick: bool) -> Iterator[Number]:
    """`import layerzero` beside a program that has imported torch, and beside one that has imported nothing."""
    rounds = 3 if quick else 9
    for beside in ("torch", ""):
        first = f"import {beside}; " if beside else ""
        program = (
            f"{first}import time; started = time.process_time(); import layerzero; print(time.process_time() - started)"
        )
        milliseconds = 1000 * min(float(run_python(program)) for _ in range(rounds))
        note = "after `import torch`" if beside else "in an empty process"
        yield Number("`import layerzero`", "ms", milliseconds, 60, 30, note=f"{note}; CPU, the least of {rounds}")
    program = (
        "import torch, time; started = time.process_time(); import layerzero as lz; lz.attention; "
        "print(time.process_time() - started)"
    )
    milliseconds = 1000 * min(float(run_python(program)) for _ in range(rounds))
    note = "after `import torch`; no bar is set"
    yield Number("`import layerzero` and the first use of a name", "ms", milliseconds, float("inf"), note=note)


def run_python(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment()
    ).stdout


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


# ---------------------------------------------------------------- what is told


def shown(value: float | None) -> str:
    if value is None:
        return "-"
    if value == float("inf"):
        return ""
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def as_table(numbers: list[Number]) -> str:
    head = ("what", "measured", "bar", "stretch", "verdict", "beside")
    rows = [
        (
            one.what,
            f"{shown(one.value)} {one.unit}",
            shown(one.bar),
            "" if one.stretch is None else shown(one.stretch),
            "" if one.bar == float("inf") else one.verdict,
            one.note,
        )
        for one in numbers
    ]
    return table(head, rows)


def write(numbers: list[Number], text: str) -> None:
    from layerzero import native

    load = round(os.getloadavg()[0], 1)
    matcher = "the native matcher" if native.matcher is not None else f"the Python matcher ({native.why_not})"
    about: dict[str, Any] = {
        "command": "python benchmarks/aims.py",
        "python": platform.python_version(),
        "machine": {"architecture": platform.machine(), "cores": os.cpu_count(), "load": load},
        "matcher": matcher,
    }
    RESULTS.mkdir(exist_ok=True)
    rows = [
        {**asdict(one), "bar": None if one.bar == float("inf") else one.bar, "verdict": one.verdict} for one in numbers
    ]
    (RESULTS / "numbers.json").write_text(json.dumps(about | {"numbers": rows}, indent=1) + "\n", encoding="utf-8")
    machine = (
        f"Python {about['python']}, {platform.machine()}, {os.cpu_count()} cores, load {load} at the end, {matcher}."
    )
    replace_section(ROOT / "docs" / "benchmarks.md", "numbers", f"{machine}\n\n{text}")
    print(f"\nwritten: {(RESULTS / 'numbers.json').relative_to(ROOT)}, docs/benchmarks.md")


if __name__ == "__main__":
    sys.exit(main())

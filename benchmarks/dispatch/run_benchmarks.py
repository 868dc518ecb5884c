"""What does a call pay on its way to the kernel: hit, miss, static, open breaker? Multiples of an empty Python call.

    python benchmarks/dispatch/run_benchmarks.py            # prints, and writes docs/benchmarks/
    python benchmarks/dispatch/run_benchmarks.py --quick    # a look; writes nothing

The policy is the shipped one. Where a kernel is called, it is one that does nothing, registered for this run, so that
all of the time is the way to it and nothing has to be subtracted. All cases are timed in turn in one run.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import random
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # the checkout, in place of this folder

import torch  # noqa: E402 -- the line above is what makes the checkout importable

import layerzero as lz  # noqa: E402
from benchmarks.peers.measure import Case, Timing, measure, stopwatch  # noqa: E402
from benchmarks.peers.report import bars, figure, microseconds, replace_section, table  # noqa: E402
from layerzero.backends import torch as adapters  # noqa: E402
from layerzero.backends.machine import ThisMachine  # noqa: E402
from layerzero.check.program import Scope  # noqa: E402
from layerzero.dispatch import StaticDispatcherBuilder  # noqa: E402
from layerzero.dispatch.call import Dispatcher  # noqa: E402
from layerzero.operations import attention as reading  # noqa: E402
from layerzero.operations.device import present_devices  # noqa: E402
from layerzero.runtime.breakers import Breakers, BreakerSettings  # noqa: E402
from layerzero.runtime.engine import Engine  # noqa: E402

RESULTS = ROOT / "docs" / "benchmarks"
UNIT = "an empty Python call of 4 arguments"
DICTIONARY = "a dictionary keyed by shapes, dtype, device and flag"
CALL = "lz.attention to a kernel that does nothing"
DISTINCT = 10_000
EVERYTHING = "supports causal, gqa"  # what the calls below ask of the kernel that does nothing


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds; nothing is written")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    logging.getLogger("layerzero").setLevel(logging.CRITICAL)  # the breakers that are opened below say so
    rounds = 3 if quick else 20
    with ExitStack() as stack:
        cases = {**calls(), **decisions(DISTINCT // 20), **breakers(stack)}
        timings = measure(cases, rounds)
    timings["policy.decide, the first on a device: compiles its matcher"] = first_on_a_device(2 if quick else 7)
    rows = [row(name, timing, timings) for name, timing in timings.items()]
    print(as_table(rows))
    if not quick:
        write(rows)
    return 0


# ---------------------------------------------------------------- what is timed


def calls() -> dict[str, Case]:
    """`lz.attention` to a kernel that does nothing, and what stands beside it."""
    q, k = torch.randn(1, 1, 8, 64), torch.randn(1, 64, 2, 64)

    def nothing(q: Any, k: Any, v: Any, is_causal: bool = False) -> Any:
        return q

    kernel = lz.register_kernel(nothing, f"kernel bench.nothing for attention {{ priority 1000 {EVERYTHING} }}")
    assert lz.which("attention", q, k, k, is_causal=True) == kernel
    static = StaticDispatcherBuilder().with_kernel("torch.sdpa_flash_cpu", operation="attention", default=True).build()
    bound = static.kernel_for("attention")
    assert bound is adapters.sdpa_flash_cpu, "what a static dispatcher binds is the adapter itself"
    known = {key_of(q, k, k, True): nothing}

    def by_key(q: Any, k: Any, v: Any, is_causal: bool) -> Any:
        return known[key_of(q, k, v, is_causal)](q, k, v, is_causal=is_causal)

    return {
        UNIT: case(lambda: nothing(q, k, k, is_causal=True)),
        DICTIONARY: case(lambda: by_key(q, k, k, is_causal=True)),
        CALL: case(lambda: lz.attention(q, k, k, is_causal=True)),
        "reading the context in Python, as calls with options do": case(lambda: reading.read(q, k, k, is_causal=True)),
        "static: `kernel_for` of torch.sdpa_flash_cpu, with the kernel's time": case(
            lambda: bound(q, k, k, is_causal=True)
        ),
        "that adapter called directly, with the kernel's time": case(
            lambda: adapters.sdpa_flash_cpu(q, k, k, is_causal=True)
        ),
    }


def key_of(q: Any, k: Any, v: Any, is_causal: bool) -> tuple[Any, ...]:
    return (q.shape, k.shape, v.shape, q.dtype, q.device, is_causal)


def case(function: Callable[[], object]) -> Case:
    return Case(lambda _: function(), (None,) * 500)


def decisions(a_round: int) -> dict[str, Case]:
    """`policy.decide`; the first time means that this policy has never been asked for this context."""
    asked, fresh = lz.Policy.from_text('policy "asked"'), lz.Policy.from_text('policy "fresh"')
    contexts = distinct_contexts(DISTINCT)
    warm, cold = [asked.prepare(one) for one in contexts], [fresh.prepare(one) for one in contexts]
    for one in warm:
        asked.decide(one)
    fresh.snapshot.matcher(cold[0].values)  # the device is known; only the contexts are new
    return {
        "policy.decide, one prepared context again and again (hit)": Case(asked.decide, warm[:1] * 500),
        "policy.decide, distinct prepared contexts, decided before": Case(asked.decide, warm, a_round),
        "policy.decide, distinct prepared contexts, the first time (miss)": Case(fresh.decide, cold, a_round),
        "policy.decide, distinct plain dictionaries": Case(asked.decide, contexts, a_round),
    }


def distinct_contexts(count: int) -> list[dict[str, Any]]:
    """Prefill and decode on one H100, no two alike, in random order."""
    rng = random.Random(6)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    while len(found) < count:
        q_len = rng.choice((1, 1, 1, rng.randint(2, 8192)))
        kv_heads = rng.choice((1, 4, 8, 32))
        context = {
            "operation": "attention",
            "device": "cuda",
            "sm": 90,
            "dtype": rng.choice(("fp16", "bf16", "fp32")),
            "batch": rng.choice((1, 2, 8, 32, 64)),
            "q_len": q_len,
            "kv_len": q_len + rng.choice((0, rng.randint(1, 65536))),
            "q_heads": kv_heads * rng.choice((1, 4, 8)),
            "kv_heads": kv_heads,
            "head_dim": rng.choice((64, 80, 96, 128, 192, 256)),
            "causal": rng.random() < 0.8,
            "window": rng.choice((0, 0, 0, 1024, 4096)),
        }
        found.setdefault(tuple(context.values()), context)
    return list(found.values())


def breakers(stack: ExitStack) -> dict[str, Case]:
    """Three dispatchers with breakers of their own; the last keeps a snapshot that is older than its open breaker."""
    q, k = torch.randn(1, 1, 8, 64), torch.randn(1, 64, 2, 64)
    values = reading.read(q, k, k, is_causal=True).context
    scope = Scope("attention")
    closed, other, open_ = dispatcher(), dispatcher(), dispatcher()
    chosen = closed.decide(scope, values).kernel
    assert chosen is not None
    other.breakers.failed("reference.rope", "cpu", "a benchmark")
    stack.enter_context(open_.engine.pin())
    open_.breakers.failed(chosen, "cpu", "a benchmark")
    assert other.decide(scope, values).kernel == chosen != open_.decide(scope, values).kernel
    return {
        "deciding a call, all breakers closed": case(lambda: closed.decide(scope, values)),
        "deciding a call, another kernel's breaker open": case(lambda: other.decide(scope, values)),
        "deciding a call, the chosen kernel's breaker open and its epoch not out": Case(
            lambda _: open_.decide(scope, values), (None,) * 20
        ),
    }


def dispatcher() -> Dispatcher:
    machine = ThisMachine(present_devices)
    engine = Engine(machine)
    return Dispatcher(engine, machine, Breakers(engine, BreakerSettings(failures=1, cool_down=3600)))


def first_on_a_device(times: int) -> Timing:
    """One sample a policy: reading and checking it stand outside of the clock."""
    context = distinct_contexts(1)[0]
    taken = []
    for number in range(times):
        policy = lz.Policy.from_text(f'policy "new {number}"')
        prepared = policy.prepare(context)
        with stopwatch() as elapsed:
            policy.decide(prepared)
            taken.append(elapsed())
    return Timing(sorted(taken)[times // 2], None, times)


# ---------------------------------------------------------------- what is told


def row(name: str, timing: Timing, timings: dict[str, Timing]) -> dict[str, Any]:
    return {
        "name": name,
        "p50_ns": timing.p50,
        "p99_ns": timing.p99,
        "calls": timing.calls,
        "to_empty_call": round(timing.p50 / timings[UNIT].p50, 2),
        "to_dictionary": round(timing.p50 / timings[DICTIONARY].p50, 2),
    }


def as_table(rows: list[dict[str, Any]]) -> str:
    head = ("what", "p50, us", "p99, us", "empty calls", "x dictionary", "calls timed")
    cells = [
        (
            one["name"],
            microseconds(one["p50_ns"]),
            microseconds(one["p99_ns"]),
            figure(one["to_empty_call"]),
            figure(one["to_dictionary"]),
            str(one["calls"]),
        )
        for one in rows
    ]
    return table(head, cells)


def write(rows: list[dict[str, Any]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    about = {
        "command": "python benchmarks/dispatch/run_benchmarks.py",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": {"architecture": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
    }
    (RESULTS / "dispatch.json").write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n", encoding="utf-8")
    kinds = {UNIT: "baseline", DICTIONARY: "baseline"}
    panel = [(one["name"], kinds.get(one["name"], "own"), one["to_empty_call"]) for one in rows]
    plot = bars("On the way to the kernel: p50", "multiples of an empty Python call of the same run", {"": panel}, 460)
    (RESULTS / "dispatch.svg").write_text(plot, encoding="utf-8")
    machine = about["machine"]
    text = (
        f"Python {about['python']}, torch {about['torch']}, {machine['architecture']}, {machine['cores']} cores,"
        f" load {machine['load']} at the end.\n\n{as_table(rows)}"
    )
    replace_section(ROOT / "docs" / "benchmarks.md", "dispatch", text)
    print(f"\nwritten: {', '.join(str(path.relative_to(ROOT)) for path in sorted(RESULTS.glob('dispatch.*')))}")


if __name__ == "__main__":
    sys.exit(main())

"""What do the decision log, metrics and traces add to a call? Nanoseconds, and multiples of an empty Python call.

    python benchmarks/decision_log.py            # a small policy, kernels that do nothing
    python benchmarks/decision_log.py --json

Every way of watching is measured in the same run, in turns, so that a busy machine slows all alike; the empty call is
measured beside them. All is processor time, because a busy machine makes clocks useless: `calling` of the thread that
calls, `whole` of the process until all is written, by a thread that shares the interpreter. With --torch the call is
`lz.rms_norm` on the CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from layerzero.backends.machine import ThisMachine
from layerzero.dispatch.call import Dispatcher
from layerzero.dispatch.decision_logs import DecisionLogs
from layerzero.operations.call import Call
from layerzero.runtime.breakers import Breakers
from layerzero.runtime.engine import Engine
from layerzero.runtime.policy import Policy
from layerzero.syntax.source import Source
from layerzero.telemetry.exporters import PrometheusExporter
from layerzero.telemetry.feed import Deciding, Feed
from layerzero.telemetry.traces import OTelExporter

WORDS = """
field device: enum(cpu, cuda) = cpu
field size: int in 0..1000
operation work { needs size optional device fallback spare.one }
kernel fast.one for work { priority 90 adapter "t:f" }
kernel fast.two for work { priority 80 adapter "t:f" }
kernel spare.one for work { priority 1 adapter "t:f" }
"""
POLICY = 'policy "bench" standalone\ndeny fast.one for work when size > 500\n'


def empty() -> None:
    pass


class Subject:
    """A dispatcher, a call of it, and what can watch it."""

    def __init__(self, torch: bool, folder: Path) -> None:
        self.folder, self.number = folder, 0
        self.feed = Feed()
        if torch:
            import torch as t

            from layerzero import api

            t.set_num_threads(1)
            x = t.randn(4, 64)
            self.dispatcher, engine, breakers = api._dispatcher, api._engine, api._breakers
            self.call: Callable[[], Any] = lambda: api.rms_norm(x)
        else:
            machine = ThisMachine(lambda: [{"device": "cpu"}])
            machine.registered.update(dict.fromkeys(["fast.one", "fast.two", "spare.one"], lambda size: None))
            engine = Engine(machine)
            engine.configure(Policy.from_text(POLICY, catalogs=[Source("words.lzp", WORDS)]))
            breakers = Breakers(engine)
            self.dispatcher = Dispatcher(engine, machine, breakers)
            request = Call("work", {"size": 3, "device": "cpu"}, (3,), {})
            self.call = lambda: self.dispatcher.call(request)
        self.logs = DecisionLogs(self.dispatcher)
        self.feed.connect(Deciding(self.dispatcher, engine, breakers))

    def log(self, mode: Any, suffix: str = ".jsonl") -> Callable[[], None]:
        self.number += 1
        path = self.folder / f"{self.number}{suffix}"
        opened = self.logs.open(path, mode, 0.01, 1 << 20, None, 5, None)

        def close() -> None:
            opened.close(60)
            if opened.dropped:
                raise SystemExit(f"{opened.dropped} records were dropped: lower --calls")

        return close


WAYS: dict[str, Callable[[Subject], Callable[[], None]]] = {
    "nothing": lambda subject: lambda: None,
    "log, mode off": lambda subject: subject.log("off"),
    "log, distinct": lambda subject: subject.log("distinct"),
    "log, sampled 1 %": lambda subject: subject.log("sampled"),
    "log, every, JSON lines": lambda subject: subject.log("every"),
    "log, every, Parquet": lambda subject: subject.log("every", ".parquet"),
    "Prometheus": lambda subject: PrometheusExporter(subject.feed).close,
    "traces, kept": lambda subject: _traces(subject),
}


def _traces(subject: Subject) -> Callable[[], None]:
    exporter = OTelExporter("http://127.0.0.1:9", capacity=1 << 20, feed=subject.feed)

    def close() -> None:
        exporter._waiting.clear()  # nobody is there to send them to
        exporter.close()

    return close


def timed(function: Callable[[], Any], calls: int) -> float:
    start = time.thread_time_ns()
    for _ in range(calls):
        function()
    return (time.thread_time_ns() - start) / calls


def measure(subject: Subject, calls: int, runs: int) -> tuple[dict[str, tuple[float, float]], float]:
    """Nanoseconds a call of each way, (calling, whole), and of the empty call; medians."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    empties: list[float] = []
    for _ in range(runs):
        for name, begin in WAYS.items():
            empties.append(timed(empty, calls))
            cpu = time.process_time_ns()
            close = begin(subject)
            calling = timed(subject.call, calls)
            close()
            seen[name].append((calling, (time.process_time_ns() - cpu) / calls))
    middle = {n: (statistics.median(c for c, _ in s), statistics.median(w for _, w in s)) for n, s in seen.items()}
    return middle, statistics.median(empties)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(args.torch, Path(folder))
        timed(subject.call, 1000)
        times, nothing = measure(subject, args.calls, args.runs)
    base = times["nothing"]
    if args.json:
        rows = {
            name: {"calling_ns": calling - base[0], "whole_ns": whole - base[1], "ratio": (calling - base[0]) / nothing}
            for name, (calling, whole) in times.items()
        }
        print(json.dumps({"empty_call_ns": nothing, "call_ns": base[0], "added": rows}, indent=2))
        return
    print(f"empty call {nothing:.0f} ns; a call that nobody watches {base[0]:.0f} ns ({base[0] / nothing:.0f}x)")
    print(f"{'added by':<26}{'calling':>12}{'in empty calls':>16}{'whole':>12}")
    for name, (calling, whole) in times.items():
        added = calling - base[0]
        print(f"{name:<26}{added:>9.0f} ns{added / nothing:>15.1f}x{whole - base[1]:>9.0f} ns")


if __name__ == "__main__":
    main()

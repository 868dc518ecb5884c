"""Kernels -> a report: plan, call within a budget in children that may be lost, write as it goes, and go on later.

What the facts accept and what they refuse is called in two processes: a call that reads out of bounds may spoil the
memory of its own process only. Several such pairs may work side by side; each goes on with the kernels that it knows,
which are compiled there.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from layerzero import __version__
from layerzero.backends.probe import installed_version
from layerzero.check.expressions import Value
from layerzero.check.program import Kernel, Program
from layerzero.dispatch.availability import installed_packages, package_problem
from layerzero.facts.children import Child, pickled
from layerzero.facts.plan import Plan, Probe, plan
from layerzero.facts.report import Examined, Report, Result
from layerzero.semantics.environment import Environment

_EVERY = 5.0  # seconds between two writings of the report
_SILENT = 3  # a call without an answer counts as so many that took the process with them
_PATIENCE = 6  # of those, accepted or refused ones of a kernel; then no more of it are made
Progress = Callable[[int, int, str], None]
"""Told of (calls made, calls planned, kernel) before each call."""


@dataclass(frozen=True, slots=True)
class Options:
    """How long a run may take, and where it is written down.

    `seconds` is the budget of all calls, `each` the patience with one, `jobs` how many calls are made at a time. With
    `earlier` the results of that report stay where facts, versions and device are the same.
    """

    seconds: float = 300.0
    each: float = 60.0
    jobs: int = 1
    device: str | None = None
    file: Path | None = None
    earlier: Report | None = None


@dataclass(frozen=True, slots=True)
class _Planned:
    """A probe, and its place in the report: "not run" stands there until an answer takes it."""

    probe: Probe
    examined: Examined
    place: int

    def write(self, seen: str, text: str, off: float | None) -> None:
        self.examined.results[self.place] = _result(self.probe, seen, text, off)


@dataclass
class _Pair:
    """Two processes: for calls that the facts accept, and for those that they refuse."""

    trusted: Child
    disposable: Child
    known: set[str] = field(default_factory=set)  # the kernels that it has called

    def close(self) -> None:
        self.trusted.close()
        self.disposable.close()


@dataclass
class _Run:
    program: Program
    environment: Environment
    options: Options
    report: Report
    started: float
    written: float = 0.0
    examined: dict[tuple[str, str, str], Examined] = field(default_factory=dict)  # kernel, operation, device
    lost: dict[tuple[str, bool], int] = field(default_factory=dict)  # (kernel, accepted) -> processes

    def save(self, at_once: bool = False) -> None:
        now = time.monotonic()
        self.report.seconds = now - self.started
        if self.options.file is not None and (at_once or now - self.written >= _EVERY):
            self.report.write(self.options.file)
            self.written = now

    def left(self) -> float:
        return self.options.seconds - (time.monotonic() - self.started)


def verify(program: Program, kernels: Sequence[Kernel], options: Options, progress: Progress | None = None) -> Report:
    """Call every kernel at and past each boundary of its facts that this machine can cross.

    Raises:
        LayerZeroError: Kernels cannot be called here at all.
    """
    now = datetime.now(UTC).date()
    environment = Environment(packages=installed_packages(program), call_kernels=False, today=now)
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    facts = pickled(program, environment)
    pairs = [_Pair(Child(facts, threads), Child(facts, threads)) for _ in range(options.jobs)]
    try:
        machine = pairs[0].trusted.machine()
        report = Report(now.isoformat(), __version__, dict(machine["machine"]), [])
        run = _Run(program, environment, options, report, time.monotonic())
        _call_all(run, pairs, _planned(run, kernels, machine["devices"]), progress)
        run.save(at_once=True)
        return report
    finally:
        for pair in pairs:
            pair.close()


def _planned(run: _Run, kernels: Sequence[Kernel], devices: Sequence[Mapping[str, Value]]) -> list[_Planned]:
    """The probes that earlier runs leave, and a place in the report for each."""
    known = {} if run.options.earlier is None else {one.key: one for one in run.options.earlier.examined}
    found: list[_Planned] = []
    for device in devices:
        if run.options.device not in (None, device["device"]):
            continue
        callable_here = [kernel for kernel in kernels if _enter(run, kernel, device)]
        planned = plan(run.program, callable_here, device, run.environment)
        _fill(run, planned, device)
        for probe in planned.probes:
            examined = run.examined[probe.kernel, probe.operation, str(device)]
            earlier = known.get(examined.key)
            done = None if earlier is None else _done(earlier, probe)
            if done is None:
                found.append(_Planned(probe, examined, len(examined.results)))
            examined.results.append(done or _result(probe, "not run", "the budget was spent", None))
    return sorted(found, key=lambda one: one.probe.rank)


def _enter(run: _Run, kernel: Kernel, device: Mapping[str, Value]) -> bool:
    """A place for the kernel; whether anything of it can be called."""
    problem = next(
        (text for line in kernel.packages if (text := package_problem(run.environment.packages, line))), None
    )
    if kernel.adapter is None:
        problem = "no adapter: its facts serve offline decisions"
    for operation in dict.fromkeys(scope.operation for scope in kernel.scopes):
        facts = repr((
            kernel.requirements, kernel.supports, kernel.scopes, sorted(kernel.attributes.items()), kernel.adapter,
            run.program.operations[operation],
        ))  # fmt: skip
        names = {choice.name for line in kernel.packages for choice in line.alternatives} | {"torch"}
        versions = {name: version for name in sorted(names) if (version := installed_version(name)) is not None}
        digest = hashlib.sha256(facts.encode()).hexdigest()[:16]
        one = Examined(kernel.id, operation, dict(device), digest, versions, list(kernel.sources), problem)
        run.examined[kernel.id, operation, str(device)] = one
        run.report.examined.append(one)
    return problem is None


def _fill(run: _Run, planned: Plan, device: Mapping[str, Value]) -> None:
    for (kernel, operation), why in planned.unprobed.items():
        run.examined[kernel, operation, str(device)].unprobed = why
    for edge in planned.edges:
        if edge.uncrossed is not None:
            place = run.examined[edge.kernel, edge.operation, str(device)]
            place.uncrossed.append([edge.at, edge.text, edge.uncrossed])


def _done(earlier: Examined, probe: Probe) -> Result | None:
    for result in earlier.results:
        if result.call == dict(probe.given) and result.outcome != "not run":
            return result
    return None


def _call_all(run: _Run, pairs: Sequence[_Pair], planned: list[_Planned], progress: Progress | None) -> None:
    """Every pair of processes takes one call after the other, until none is left or the time is over."""
    total, lock = len(planned), threading.Lock()

    def work(pair: _Pair) -> None:
        while run.left() > 0:
            with lock:
                one = _next(run, pair, planned)
                if one is None:
                    return
                if progress is not None:
                    progress(total - len(planned) - 1, total, one.probe.kernel)
            child = pair.disposable if one.probe.reasons else pair.trusted
            answer = child.ask(one.probe, run.options.each, run.left())
            with lock:
                if answer["seen"] in ("no answer", "crashed"):
                    weight = _SILENT if answer["seen"] == "no answer" else 1
                    run.lost[_kind(one.probe)] = run.lost.get(_kind(one.probe), 0) + weight
                one.write(answer["seen"], answer["text"], answer["off"])
                run.save()

    with ThreadPoolExecutor(len(pairs)) as pool:
        for worker in [pool.submit(work, pair) for pair in pairs]:
            worker.result()


def _next(run: _Run, pair: _Pair, planned: list[_Planned]) -> _Planned | None:
    """Taken from the most valuable calls that are left: the first of a kernel that the pair knows, or the first."""
    while planned:
        best = next(groupby(planned, lambda one: one.probe.rank))[1]
        place = next((n for n, one in enumerate(best) if one.probe.kernel in pair.known), 0)
        one = planned.pop(place)
        if run.lost.get(_kind(one.probe), 0) < _PATIENCE:
            pair.known.add(one.probe.kernel)
            return one
        one.write("not run", "too many such calls of this kernel gave no answer or ended the process", None)
    return None


def _kind(probe: Probe) -> tuple[str, bool]:
    return probe.kernel, not probe.reasons


def _result(probe: Probe, seen: str, text: str, off: float | None) -> Result:
    off = None if off is None else float(f"{off:.2g}")
    return Result(dict(probe.given), list(probe.moved), [list(one) for one in probe.reasons], seen, text, off)

"""Kernels -> a report: plan, call within a budget in children that may be lost, write as it goes, and go on later.

What the facts accept and what they refuse is called in two processes: a call that reads out of bounds may spoil the
memory of its own process only.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from layerzero import __version__
from layerzero.backends.probe import installed_version
from layerzero.check.expressions import Value
from layerzero.check.program import Kernel, Program
from layerzero.dispatch.availability import installed_packages, package_problem
from layerzero.facts.children import Child
from layerzero.facts.plan import Plan, Probe, plan
from layerzero.facts.report import Examined, Report, Result
from layerzero.semantics.environment import Environment

_EVERY = 5.0  # seconds between two writings of the report
_SILENT = 3  # a call without an answer counts as so many that took the process with them
_PATIENCE = 6  # of those, accepted or refused ones of a kernel; then no more of it are made
_FIRST_CALL = 5  # times as long as another: it may compile

Progress = Callable[[int, int, str], None]
"""Told of (calls made, calls planned, kernel) before each call."""


@dataclass(frozen=True, slots=True)
class Options:
    """How long a run may take, and where it is written down.

    `seconds` is the budget of all calls, `each` the patience with one. With `earlier` the results of that report stay
    where facts, versions and device are the same.
    """

    seconds: float = 300.0
    each: float = 60.0
    device: str | None = None
    file: Path | None = None
    earlier: Report | None = None


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
    trusted, disposable = Child(program, environment), Child(program, environment)
    try:
        machine = trusted.machine()
        report = Report(now.isoformat(), __version__, dict(machine["machine"]), [])
        run = _Run(program, environment, options, report, time.monotonic())
        probes = _planned(run, kernels, machine["devices"])
        _call_all(run, probes, trusted, disposable, progress)
        run.save(at_once=True)
        return report
    finally:
        trusted.close()
        disposable.close()


def _planned(
    run: _Run, kernels: Sequence[Kernel], devices: Sequence[Mapping[str, Value]]
) -> list[tuple[Examined, Probe]]:
    """The probes that earlier runs leave, and a place in the report for each kernel."""
    known = {} if run.options.earlier is None else {one.key: one for one in run.options.earlier.examined}
    found: list[tuple[Examined, Probe]] = []
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
            if done is not None:
                examined.results.append(done)
            else:
                found.append((examined, probe))
    return sorted(found, key=lambda pair: pair[1].rank)


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


def _call_all(
    run: _Run, probes: Sequence[tuple[Examined, Probe]], trusted: Child, disposable: Child, progress: Progress | None
) -> None:
    for number, (examined, probe) in enumerate(probes):
        why = _not_now(run, probe)
        if why is not None:
            examined.results.append(_result(probe, "not run", why, None))
            continue
        if progress is not None:
            progress(number, len(probes), probe.kernel)
        child = disposable if probe.reasons else trusted
        seconds = run.options.each * (_FIRST_CALL if probe.rank == 0 else 1)
        answer = child.ask(probe, seconds)
        if answer["seen"] in ("no answer", "crashed"):
            weight = _SILENT if answer["seen"] == "no answer" else 1
            run.lost[_kind(probe)] = run.lost.get(_kind(probe), 0) + weight
        examined.results.append(_result(probe, answer["seen"], answer["text"], answer["off"]))
        run.save()


def _not_now(run: _Run, probe: Probe) -> str | None:
    if run.left() <= 0:
        return "the budget was spent"
    if run.lost.get(_kind(probe), 0) >= _PATIENCE:
        return "too many such calls of this kernel gave no answer or ended the process"
    return None


def _kind(probe: Probe) -> tuple[str, bool]:
    return probe.kernel, not probe.reasons


def _result(probe: Probe, seen: str, text: str, off: float | None) -> Result:
    off = None if off is None else float(f"{off:.2g}")
    return Result(dict(probe.given), list(probe.moved), [list(one) for one in probe.reasons], seen, text, off)

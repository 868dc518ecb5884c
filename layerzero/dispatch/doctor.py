"""What LayerZero finds on this machine, and what of it is wrong: what `lz doctor` and `lz.doctor()` show.

A machine without a GPU, without torch or without a package of kernels is healthy: it has fewer kernels. What is
there and does not work is a problem: a package that does not import, a policy with errors.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal as OneOf

from layerzero import native
from layerzero.backends.machine import ThisMachine
from layerzero.backends.probe import import_failure, installed_version
from layerzero.check import Checked
from layerzero.check.expressions import Value
from layerzero.check.program import Kernel, Program
from layerzero.dispatch.availability import package_problem
from layerzero.errors import PolicyError
from layerzero.resources import cache_folder
from layerzero.runtime.engine import Engine
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.syntax.diagnostics import Diagnostic

State = OneOf["ok", "note", "problem"]
_SIGNS: Mapping[State, str] = {"ok": "ok", "note": "--", "problem": "!!"}


@dataclass(frozen=True, slots=True)
class Item:
    """`torch: 2.13.0`, or `flash-attn: ImportError: undefined symbol ...` with what to do."""

    area: str
    state: State
    text: str
    help: str = ""

    def __str__(self) -> str:
        return f"{_SIGNS[self.state]} {self.area:<14} {self.text}" + (f"\n   {'':<14} {self.help}" if self.help else "")


@dataclass(frozen=True, slots=True)
class Doctor:
    """Everything that was looked at, in the order of looking. `str()` is the page that `lz doctor` prints."""

    items: tuple[Item, ...]

    @property
    def findings(self) -> tuple[Item, ...]:
        """What is wrong."""
        return tuple(item for item in self.items if item.state == "problem")

    @property
    def healthy(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        count = len(self.findings)
        verdict = "healthy" if self.healthy else f"{count} problem{'s' if count > 1 else ''}, marked !!"
        return "\n".join([*map(str, self.items), "", verdict])

    def to_dict(self) -> dict[str, Any]:
        return {"healthy": self.healthy, "items": [asdict(item) for item in self.items]}


def examine(machine: ThisMachine, checked: Checked, policy: str, last_failure: str | None = None) -> Doctor:
    """Look at everything. Installed packages of kernels are imported, which is how broken ones are found.

    Args:
        checked: The policy whose kernels matter, as the checker left it.
        policy: What to call it.
        last_failure: Why the last attempt to load a policy in this process failed.
    """
    items = [*_python(), *_torch(machine), *_compiler(), *_cache(), *_policy(checked, policy)]
    if last_failure is not None:
        items.append(Item("policy", "problem", f"the last one to load was refused: {last_failure}"))
    if checked.program is not None:
        items.extend(_packages(machine, checked.program))
    return Doctor(tuple(items))


def diagnose(machine: ThisMachine, engine: Engine) -> Doctor:
    """The same for the policy in force in this process."""
    try:
        snapshot, status = engine.current(), engine.status()
    except PolicyError as error:
        findings = tuple(one for one in error.diagnostics if isinstance(one, Diagnostic))
        return examine(machine, Checked(None, findings), "<shipped>", None if findings else str(error))
    return examine(machine, Checked(snapshot.program, ()), status.policy or "<shipped>", status.last_failure)


# ---------------------------------------------------------------- the machine


def _python() -> Iterator[Item]:
    from layerzero import __version__

    yield Item("layerzero", "ok", __version__)
    version = platform.python_version()
    here = f"{platform.python_implementation()} {version}, {platform.system()} {platform.machine()}"
    old = sys.version_info < (3, 11)
    yield Item("python", "problem" if old else "ok", here, "wanted 3.11 or newer" if old else "")
    if native.matcher is not None:
        yield Item("matcher", "ok", "native")
    else:
        slower = "the Python matcher serves: the same decisions, some microseconds slower"
        yield Item("matcher", "note", f"no native one, {native.why_not}", slower)


def _torch(machine: ThisMachine) -> Iterator[Item]:
    version = installed_version("torch")
    if version is None:
        text = "not installed: policies can be checked and decided, no operation can be called"
        yield Item("torch", "note", text, "pip install 'layerzero[torch]'")
        return
    failure = import_failure("torch")
    if failure is not None:
        yield Item("torch", "problem", f"{version} does not import: {failure}")
        return
    yield Item("torch", "ok", version)
    try:
        devices = machine.devices()
    except Exception as error:  # noqa: BLE001 - a broken driver raises anything, and that is the finding
        yield Item("device", "problem", f"torch cannot list the devices: {type(error).__name__}: {error}")
        return
    for device in devices:
        yield Item("device", "ok", _device(device))
    if all(device.get("device") == "cpu" for device in devices):
        yield Item("device", "note", "no GPU that torch can use: kernels for GPUs serve offline decisions only")


def _device(device: Mapping[str, Value]) -> str:
    more = [str(device["device_name"])] if "device_name" in device else []
    more += [f"sm {device['sm']}"] if "sm" in device else []
    return f"{device['device']}{': ' if more else ''}{', '.join(more)}"


def _compiler() -> Iterator[Item]:
    named = os.environ.get("CXX", "").split()[:1]
    found = next((path for name in (*named, "c++", "g++", "clang++", "cl") if (path := shutil.which(name))), None)
    if found is None:
        yield Item("C++ compiler", "note", "none: kernels that are compiled at their first call cannot be")
    else:
        yield Item("C++ compiler", "ok", found)


def _cache() -> Iterator[Item]:
    folder = cache_folder()
    if folder is None:
        yield Item("cache", "note", "off: every run parses all files anew")
        return
    problem = _unusable(folder)
    if problem is None:
        yield Item("cache", "ok", str(folder))
    else:
        text = f"{folder} {problem}: every run parses all files anew"
        yield Item("cache", "note", text, "LAYERZERO_CACHE names another")


def _unusable(folder: Path) -> str | None:
    """Why the cache stays empty, if it does; a folder that is not there yet is made when it is needed."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return f"cannot be: {there} is a file"
    if not os.access(there, os.W_OK | os.X_OK):
        return "cannot be written"
    if there == folder and hasattr(os, "getuid"):
        found = folder.stat()
        if found.st_uid != os.getuid():
            return "belongs to somebody else"
        if found.st_mode & 0o022:
            return "may be written by others"
    return None


def _policy(checked: Checked, name: str) -> Iterator[Item]:
    errors = [finding for finding in checked.diagnostics if finding.severity == "error"]
    for finding in errors:
        yield Item("policy", "problem", f"{finding.span}: {finding.code} {finding.message}", finding.help)
    if checked.program is None:
        return
    program = checked.program
    warnings = len(checked.diagnostics) - len(errors)
    more = f", {warnings} warning{'s' if warnings > 1 else ''} (lz check shows them)" if warnings else ""
    counts = f"{len(program.kernels)} kernels, {len(program.operations)} operations, {len(program.rules)} rules"
    yield Item("policy", "ok", f"{name}: {counts}, digest {program.digest[:12]}{more}")


# ---------------------------------------------------------------- the packages of kernels


def _packages(machine: ThisMachine, program: Program) -> Iterator[Item]:
    """One line a backend, and one for each thing that is there and does not work."""
    environment = machine.environment(Vocabulary.of(program), datetime.now(UTC).date())
    backends: dict[str, list[Kernel]] = {}
    for kernel in program.kernels.values():
        backends.setdefault(kernel.backend, []).append(kernel)
    for name, kernels in sorted(backends.items()):
        yield from _backend(name, kernels, environment.packages, environment.no_adapter)


def _backend(
    name: str, kernels: Sequence[Kernel], packages: Mapping[str, str], no_adapter: Mapping[str, str]
) -> Iterator[Item]:
    lacking = {kernel.id: _lacking(kernel, packages) for kernel in kernels}
    here = [kernel for kernel in kernels if not lacking[kernel.id]]
    broken = {kernel.id: no_adapter[kernel.id] for kernel in here if kernel.adapter and kernel.id in no_adapter}
    callable_here = [kernel for kernel in here if kernel.id not in no_adapter]
    found = sorted({f"{c.name} {packages[c.name]}" for k in kernels for c in _choices(k) if c.name in packages})
    offline = [kernel for kernel in here if kernel.adapter is None]
    for reason, ids in _grouped(broken):
        yield Item(
            f"{name}.*", "problem", f"{', '.join(ids)}: {reason}", "reinstall the package, or quarantine the kernels"
        )
    count = f"{len(callable_here)} of {len(kernels)} kernels can be called"
    reasons = [reason for reason, _ in _grouped({k: why for k, why in lacking.items() if why})]
    if offline:
        reasons.append(f"no adapter for {', '.join(kernel.id for kernel in offline)}: offline decisions only")
    text = "; ".join([*([", ".join(found)] if found else []), count, *reasons])
    yield Item(f"{name}.*", "ok" if callable_here else "note", text)


def _lacking(kernel: Kernel, packages: Mapping[str, str]) -> str:
    problems = (package_problem(packages, line) for line in kernel.packages)
    return "; ".join(problem for problem in problems if problem is not None)


def _choices(kernel: Kernel) -> Iterable[Any]:
    return (choice for line in kernel.packages for choice in line.alternatives)


def _grouped(reasons: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Reason -> the kernels that share it."""
    groups: dict[str, list[str]] = {}
    for kernel, reason in sorted(reasons.items()):
        groups.setdefault(reason, []).append(kernel)
    return list(groups.items())

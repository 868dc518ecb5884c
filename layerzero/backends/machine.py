"""This machine, as decisions see it: installed packages, adapters that load, devices that torch reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from layerzero.backends.probe import installed_version, load_adapter
from layerzero.check.expressions import InstalledVersion, Value, walk
from layerzero.check.program import Kernel, Program
from layerzero.semantics.environment import Environment

Adapter = Callable[..., Any]


class ThisMachine:
    """Implements runtime.engine.Machine. Adapters are looked up here when a kernel is called."""

    def __init__(self, devices: Callable[[], Sequence[Mapping[str, Value]]]) -> None:
        self._devices = devices
        self.registered: dict[str, Adapter] = {}  # kernel id -> a function of the user's own
        self._adapters: dict[str, Adapter | str] = {}  # "module:callable" -> what it is, or why it does not load

    def environment(self, program: Program, today: date) -> Environment:
        """See Machine. A package is imported only for a kernel whose package lines its metadata fulfils."""
        packages = {name: version for name in packages_of(program) if (version := installed_version(name)) is not None}
        missing: dict[str, str] = {}
        for kernel in program.kernels.values():
            reason = self._why_not_callable(kernel, packages)
            if reason is not None:
                missing[kernel.id] = reason
        return Environment(packages=packages, no_adapter=missing, today=today)

    def devices(self) -> Sequence[Mapping[str, Value]]:
        """See Machine. Without torch there is none, and nothing is called."""
        return self._devices()

    def adapter(self, kernel: Kernel) -> Adapter:
        """The callable of a kernel that a decision chose."""
        found = self.registered.get(kernel.id) or self._resolve(kernel.adapter or "")
        if isinstance(found, str):
            raise LookupError(found)
        return found

    def _why_not_callable(self, kernel: Kernel, packages: Mapping[str, str]) -> str | None:
        if kernel.id in self.registered:
            return None
        if kernel.adapter is None:
            return "no adapter: this catalog serves offline decisions only"
        installed = all(any(choice.name in packages for choice in line.alternatives) for line in kernel.packages)
        if not installed:
            return None  # the package line says so already, and nothing needs to be imported to know it
        found = self._resolve(kernel.adapter)
        return found if isinstance(found, str) else None

    def _resolve(self, path: str) -> Adapter | str:
        if path not in self._adapters:
            self._adapters[path] = load_adapter(path)
        return self._adapters[path]


def packages_of(program: Program) -> set[str]:
    """Every package that a kernel or a condition names."""
    named = {choice.name for k in program.kernels.values() for line in k.packages for choice in line.alternatives}
    conditions = [rule.condition for rule in program.rules if rule.condition is not None]
    for kernel in program.kernels.values():
        conditions += [part for r in kernel.requirements for part in (r.condition, r.when) if part is not None]
        conditions += [s.when for s in kernel.supports if s.when is not None]
    for operation in program.operations.values():
        conditions += [*operation.views.values(), *operation.features.values()]
    named |= {part.package for c in conditions for part in walk(c) if isinstance(part, InstalledVersion)}
    return named

"""This machine, as decisions see it: installed packages, adapters that load, devices that torch reports."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from layerzero.backends.isolation import tried_apart
from layerzero.backends.probe import installed_version, load_adapter
from layerzero.check.expressions import Value
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.environment import Environment

Adapter = Callable[..., Any]
TORCH = "torch"


class ThisMachine:
    """Implements runtime.engine.Machine. Adapters are looked up here when a kernel is called."""

    def __init__(self, devices: Callable[[], Sequence[Mapping[str, Value]]]) -> None:
        self._devices = devices
        self.registered: dict[str, Adapter] = {}  # kernel id -> a function of the user's own
        self._adapters: dict[str, Adapter | str] = {}  # "module:callable" -> what it is, or why it does not load

    def environment(self, vocabulary: Vocabulary, today: date) -> Environment:
        """See Machine. A package is imported only for a kernel whose package lines its metadata fulfils."""
        packages = {
            name: version for name in vocabulary.all_packages if (version := installed_version(name)) is not None
        }
        self._try_apart(vocabulary, packages)
        missing: dict[str, str] = {}
        for kernel, adapter in vocabulary.adapters.items():
            reason = self._why_not_callable(kernel, adapter, vocabulary.packages[kernel], packages)
            if reason is not None:
                missing[kernel] = reason
        return Environment(packages=packages, no_adapter=missing, today=today)

    def devices(self) -> Sequence[Mapping[str, Value]]:
        """See Machine. Without torch there is none, and nothing is called."""
        return self._devices()

    def adapter(self, kernel: str, path: str | None) -> Adapter:
        """The callable of a kernel that a decision chose.

        Raises:
            LookupError: It does not load; the message says why.
        """
        found = self.registered.get(kernel) or self._resolve(path or "")
        if isinstance(found, str):
            raise LookupError(found)
        return found

    def _try_apart(self, vocabulary: Vocabulary, packages: Mapping[str, str]) -> None:
        """Find out in another process what would end or hang this one, before anything is imported here.

        torch is not tried: the calls could not be made without it.
        """
        foreign = {
            path
            for kernel, path in vocabulary.adapters.items()
            if path is not None
            and kernel not in self.registered
            and any(name != TORCH for line in vocabulary.packages[kernel] for name in line)
            and _present(vocabulary.packages[kernel], packages)
        }
        new = [path for path in sorted(foreign - self._adapters.keys()) if path.partition(":")[0] not in sys.modules]
        self._adapters |= {path: why for path, why in tried_apart(new).items() if why is not None}

    def _why_not_callable(
        self, kernel: str, path: str | None, lines: tuple[tuple[str, ...], ...], packages: Mapping[str, str]
    ) -> str | None:
        if kernel in self.registered:
            return None
        if path is None:
            return "no adapter: this catalog serves offline decisions only"
        if not _present(lines, packages):
            return None  # the package line says so already, and nothing needs to be imported to know it
        found = self._resolve(path)
        return found if isinstance(found, str) else None

    def _resolve(self, path: str) -> Adapter | str:
        if path not in self._adapters:
            self._adapters[path] = load_adapter(path)
        return self._adapters[path]


def _present(lines: tuple[tuple[str, ...], ...], packages: Mapping[str, str]) -> bool:
    """Whether one of each line's packages is installed, at whatever version."""
    return all(any(name in packages for name in line) for line in lines)

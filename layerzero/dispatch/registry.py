"""Which kernels a dispatcher may use: those of the shipped catalogs, some of them, or the program's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date

from layerzero.backends.machine import Adapter, ThisMachine
from layerzero.check.expressions import Value
from layerzero.check.names import matches_glob
from layerzero.errors import PolicyError, UnknownNameError
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.environment import Environment
from layerzero.syntax import nodes
from layerzero.syntax.source import Source
from layerzero.syntax.suggest import did_you_mean
from layerzero.syntax.trees import parse_cached

EVERY = "*"


class KernelRegistry:
    """A catalog and functions: `KernelRegistry("torch.*")`, then `registry.register(function, catalog=text)`.

    Without patterns it is empty; `KernelRegistry.shipped()` holds every kernel of the shipped and installed catalogs.
    """

    def __init__(self, *patterns: str) -> None:
        self.patterns = patterns
        self.catalogs: tuple[Source, ...] = ()
        self.functions: dict[str, Adapter] = {}

    @classmethod
    def shipped(cls) -> KernelRegistry:
        """Every kernel that is declared anywhere."""
        return cls(EVERY)

    def register(self, function: Adapter, catalog: str) -> str:
        """Add a kernel of the program's own.

        Args:
            function: Called with the arguments of its operation that it supports.
            catalog: `.lzp` text that declares exactly one kernel, without `adapter`.

        Returns:
            The kernel's id.

        Raises:
            PolicyError: The text cannot be read, or does not declare exactly one kernel.
        """
        source = Source(f"<kernel {getattr(function, '__name__', 'registered')}>", catalog)
        file, findings = parse_cached(source)
        kernels = [] if file is None else [one.name.text for one in file.statements if isinstance(one, nodes.Kernel)]
        if findings or len(kernels) != 1:
            what = findings[0].message if findings else f"wanted one kernel, this text declares {len(kernels)}"
            raise PolicyError(f"the catalog of a registered kernel: {what}", tuple(findings))
        if kernels[0] in self.functions:
            raise PolicyError(f"kernel `{kernels[0]}` is registered already")
        self.catalogs = (*self.catalogs, source)
        self.functions[kernels[0]] = function
        return kernels[0]

    def __contains__(self, kernel: str) -> bool:
        return kernel in self.functions or any(_matches(pattern, kernel) for pattern in self.patterns)


class BackendRegistry:
    """The backends that may be asked: `BackendRegistry("torch", "reference")`."""

    def __init__(self, *names: str) -> None:
        self.names = names

    @classmethod
    def shipped(cls) -> BackendRegistry:
        """Every backend that is declared anywhere."""
        return cls(EVERY)

    def __contains__(self, kernel: str) -> bool:
        return EVERY in self.names or kernel.partition(".")[0] in self.names


class RegistryMachine(ThisMachine):
    """This machine with nothing but the kernels of the registries."""

    def __init__(
        self,
        devices: Callable[[], Sequence[Mapping[str, Value]]],
        kernels: KernelRegistry,
        backends: BackendRegistry,
    ) -> None:
        super().__init__(devices)
        self.registered.update(kernels.functions)
        self._kernels = kernels
        self._backends = backends

    def environment(self, vocabulary: Vocabulary, today: date) -> Environment:
        """See Machine. A kernel outside of the registries is as if it had no adapter.

        Raises:
            UnknownNameError: A registry names what no catalog declares.
        """
        self._check_names(vocabulary.adapters)
        found = super().environment(vocabulary, today)
        left_out = {name: "not in this dispatcher's registry" for name in vocabulary.adapters if not self._admits(name)}
        return replace(found, no_adapter={**found.no_adapter, **left_out})

    def _admits(self, kernel: str) -> bool:
        return kernel in self._kernels and (kernel in self._kernels.functions or kernel in self._backends)

    def _check_names(self, known: Collection[str]) -> None:
        backends = {kernel.partition(".")[0] for kernel in known}
        for pattern in self._kernels.patterns:
            if not any(_matches(pattern, kernel) for kernel in known):
                raise _unknown("kernel", pattern, {*known, *backends})
        for name in self._backends.names:
            if name != EVERY and name not in backends:
                raise _unknown("backend", name, backends)


def _matches(pattern: str, kernel: str) -> bool:
    return matches_glob(pattern, kernel) or kernel.startswith(f"{pattern}.")


def _unknown(what: str, name: str, known: Collection[str]) -> UnknownNameError:
    hint = did_you_mean(name, known) or f"known: {', '.join(sorted(known)[:12])}"
    return UnknownNameError(f"unknown {what} `{name}` in the registry; {hint}")

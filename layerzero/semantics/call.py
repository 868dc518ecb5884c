"""One call being decided: the operation, its kernels, and what conditions may look up about it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from packaging.utils import canonicalize_name
from packaging.version import Version

from layerzero.check.expressions import Expression, Value
from layerzero.check.program import Kernel, Operation, Program, Scope
from layerzero.semantics.environment import Environment
from layerzero.semantics.evaluate import Lookups, holds, missing
from layerzero.semantics.memory import Memory, Read
from layerzero.semantics.values import Truth, disjunction, version

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A completed context of one operation on one machine. `arms` are those that the call is enrolled in."""

    program: Program
    environment: Environment
    operation: Operation
    values: Mapping[str, Value]
    arms: Mapping[str, str]
    memory: Memory | None = None

    @cached_property
    def kernels(self) -> Mapping[str, Kernel]:
        """The candidates: the kernels declared for the operation, by id."""
        return {kernel.id: kernel for kernel in self.program.kernels_for(self.operation.name)}

    @cached_property
    def installed(self) -> Mapping[str, str]:
        """PEP 503 name -> version as its package states it."""
        return {str(canonicalize_name(name)): text for name, text in self.environment.packages.items()}

    @cached_property
    def broken(self) -> Mapping[str, str]:
        """PEP 503 name -> why the installed package does not import."""
        return {str(canonicalize_name(name)): why for name, why in self.environment.broken.items()}

    @cached_property
    def lookups(self) -> Lookups:
        """What conditions that do not read `kernel.X` see. A version that PEP 440 cannot read is unknown."""
        versions = {name: version(text) for name, text in self.installed.items()}
        known = {name: number for name, number in versions.items() if isinstance(number, Version)}
        return Lookups(self.values, known, self.arms)

    @cached_property
    def _lookups_by_kernel(self) -> Mapping[str, Lookups]:
        one = self.lookups
        return {n: Lookups(one.fields, one.packages, one.arms, kernel.attributes) for n, kernel in self.kernels.items()}

    def about(self, kernel: str) -> Lookups:
        """What conditions see when they are asked about one kernel."""
        return self._lookups_by_kernel[kernel]

    @cached_property
    def features(self) -> tuple[str, ...]:
        """What the call demands of a kernel; a feature whose condition is unknown is demanded."""
        features = self.operation.features.items()
        return tuple(name for name, condition in features if self.truth(condition) is not False)

    @cached_property
    def views(self) -> Mapping[str, Truth]:
        """Each view of the operation and whether the call is in it."""
        return {name: self.truth(condition) for name, condition in self.operation.views.items()}

    def truth(self, condition: Expression) -> Truth:
        """Of a condition of the operation's own."""
        return self.recall(id(condition), lambda: [[condition]], lambda: holds(condition, self.lookups))

    def recall(self, key: Hashable, read: Read, find: Callable[[], T]) -> T:
        """What `find` says of this call; see Memory."""
        return find() if self.memory is None else self.memory.recall(key, self.values, read, find)

    def inside(self, scopes: Iterable[Scope]) -> Truth:
        """Whether the call is in one of the scopes; a rule without any is about every call."""
        scopes = tuple(scopes)
        if not scopes:
            return True
        own = [scope for scope in scopes if scope.operation == self.operation.name]
        return disjunction([True if scope.view is None else self.views[scope.view] for scope in own])

    def missing_views(self, scopes: Iterable[Scope]) -> tuple[str, ...]:
        """The absent fields that leave open whether the call is in one of the scopes."""
        views = [s.view for s in scopes if s.operation == self.operation.name and s.view is not None]
        names = (name for view in views for name in missing(self.operation.views[view], self.lookups))
        return tuple(dict.fromkeys(names))

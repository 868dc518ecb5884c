"""Kernels bound to operations once: `kernel_for` is the catalog's function itself, for callers who want nothing between
them and the kernel; `dispatch` runs it through the engine, which still refuses what the kernel cannot serve."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import ClassVar

from layerzero.backends.machine import Adapter
from layerzero.check.program import Program, Scope
from layerzero.dispatch.inputs import scope_of
from layerzero.dispatch.inspection import KernelInfo, SelectedKernel
from layerzero.dispatch.mode import ModeDispatcher
from layerzero.dispatch.registry import BackendRegistry, KernelRegistry
from layerzero.errors import ArgumentError, KernelCallError, UnknownNameError
from layerzero.runtime.policy import Policy
from layerzero.semantics.context import read_scope
from layerzero.syntax.suggest import did_you_mean

Spec = str | KernelInfo | SelectedKernel


@dataclass(frozen=True, slots=True)
class Binding:
    """The kernels of one operation or view, the default first."""

    scope: Scope
    kernels: tuple[str, ...]

    @property
    def text(self) -> str:
        """The binding as rules: these kernels and no others, in this order, as far as they can serve a call."""
        listed = ", ".join(self.kernels)
        lock = f'lock {{{listed}}} for {self.scope} as static_binding because "bound by a StaticDispatcherBuilder"'
        if len(self.kernels) == 1:
            return f"{lock}\n"
        return f"{lock}\norder {' > '.join(self.kernels)} for {self.scope} as static_order\n"


class StaticDispatcher(ModeDispatcher):
    """Serves each bound operation with its kernels, the others not at all.

    `dispatch` asks the default kernel and, where it cannot serve a call, the next that is bound; no other one.
    """

    mode: ClassVar[str] = "static"

    def __init__(
        self,
        bound: tuple[_Bound, ...],
        kernels: KernelRegistry | None = None,
        backends: BackendRegistry | None = None,
    ) -> None:
        super().__init__(None, kernels, backends)
        snapshot = self.engine.current()
        catalogs = (kernels or KernelRegistry.shipped()).catalogs
        self._bindings = _bindings(bound, snapshot.program)
        self._functions: dict[Scope, dict[str, Adapter]] = {}
        self._policies: dict[Scope, Policy] = {}
        for scope, binding in self._bindings.items():
            self._functions[scope] = {kernel: self._function(kernel, scope) for kernel in binding.kernels}
            name = f"<static {scope}>"
            self._policies[scope] = Policy.from_text(binding.text, name=name, catalogs=catalogs)

    @property
    def bindings(self) -> Mapping[str, tuple[str, ...]]:
        """Operation or view -> its kernels, the default first."""
        return {str(scope): binding.kernels for scope, binding in self._bindings.items()}

    def kernel_for(self, operation: str, kernel: str | None = None) -> Adapter:
        """The function of the default kernel, or of another that is bound: the very object of the catalog.

        Called directly it checks nothing and takes the arguments of its operation that it honours.

        Raises:
            UnknownNameError: Nothing, or not this kernel, is bound to the operation.
        """
        binding = self._bindings[self._bound_scope(scope_of(self.engine.current(), operation))]
        if kernel is None:
            kernel = binding.kernels[0]
        functions = self._functions[binding.scope]
        if kernel not in functions:
            raise UnknownNameError(
                f"`{kernel}` is not bound to `{binding.scope}`; bound are {', '.join(binding.kernels)}"
            )
        return functions[kernel]

    def binds(self, operation: str) -> bool:
        """Whether the operation or view, or the operation of a view, is bound."""
        scope = scope_of(self.engine.current(), operation)
        return scope in self._bindings or Scope(scope.operation) in self._bindings

    def _bound_scope(self, scope: Scope) -> Scope:
        """The binding that serves an operation or view: its own, or else that of the whole operation."""
        for candidate in (scope, Scope(scope.operation)):
            if candidate in self._bindings:
                return candidate
        known = list(self.bindings)
        hint = did_you_mean(str(scope), known) or f"bound are {', '.join(known)}"
        raise UnknownNameError(f"no kernel is bound to `{scope}`; {hint}")

    def _policy_of(self, scope: Scope) -> AbstractContextManager[None]:
        return self.engine.using(self._policies[self._bound_scope(scope)])

    def _function(self, kernel: str, scope: Scope) -> Adapter:
        listed = {info.id: info for info in self._inspector.list_kernels(scope.operation)}
        info = listed[kernel]
        if not info.available:
            here = ", ".join(name for name, one in listed.items() if one.available) or "none"
            raise KernelCallError(
                f"`{kernel}` cannot run here: {'; '.join(info.unavailable)}; of `{scope}` can: {here}"
            )
        path = self.engine.current().vocabulary.adapters[kernel]
        try:
            return self.machine.adapter(kernel, path)
        except LookupError as error:
            raise KernelCallError(f"`{kernel}` cannot be called: {error}") from error


@dataclass(frozen=True, slots=True)
class _Bound:
    """One `with_kernel`."""

    kernel: str
    operation: str
    default: bool


@dataclass(frozen=True)
class StaticDispatcherBuilder:
    """`StaticDispatcherBuilder().with_kernel("torch.sdpa_math", operation="attention.causal").build()`

    Each `with_kernel` gives another builder; names are looked up by `build`.
    """

    kernel_registry: KernelRegistry | None = None
    backend_registry: BackendRegistry | None = None
    _bound: tuple[_Bound, ...] = field(default=(), repr=False)

    def with_kernel(self, spec: Spec, *, operation: str, default: bool = False) -> StaticDispatcherBuilder:
        """Bind a kernel to an operation or view.

        Args:
            spec: A kernel's id, or what `lz.list_kernels` or `lz.select` gave.
            operation: "attention.causal".
            default: Whether it is asked first; needed where several kernels are bound to one operation.
        """
        if isinstance(spec, KernelInfo | SelectedKernel):
            spec = spec.id
        if not isinstance(spec, str):
            raise ArgumentError(
                f"argument `spec`: wanted a kernel's id, a KernelInfo or SelectedKernel, given {spec!r}"
            )
        if not isinstance(operation, str):
            raise ArgumentError(f'argument `operation`: wanted a name as in "attention.causal", given {operation!r}')
        return replace(self, _bound=(*self._bound, _Bound(spec, operation, default)))

    def build(self) -> StaticDispatcher:
        """The dispatcher.

        Raises:
            ArgumentError: Nothing is bound, or an operation has no default, or two.
            ContextError: There is no such operation.
            UnknownNameError: There is no such kernel, or it does not serve the operation.
            KernelCallError: A kernel cannot run on this machine.
        """
        if not self._bound:
            raise ArgumentError("nothing is bound: use with_kernel(kernel, operation=...) first")
        return StaticDispatcher(self._bound, self.kernel_registry, self.backend_registry)


def _bindings(bound: tuple[_Bound, ...], program: Program) -> dict[Scope, Binding]:
    found: dict[Scope, list[_Bound]] = {}
    for one in bound:
        scope = read_scope(program, one.operation)
        _check_kernel(one.kernel, scope, program)
        if any(other.kernel == one.kernel for other in found.get(scope, ())):
            raise ArgumentError(f"`{one.kernel}` is bound to `{scope}` twice")
        found.setdefault(scope, []).append(one)
    return {scope: Binding(scope, _default_first(scope, listed)) for scope, listed in found.items()}


def _default_first(scope: Scope, bound: list[_Bound]) -> tuple[str, ...]:
    defaults = [one.kernel for one in bound if one.default]
    if len(bound) == 1:
        return (bound[0].kernel,)
    names = ", ".join(one.kernel for one in bound)
    if not defaults:
        raise ArgumentError(f"`{scope}` has no default among {names}: mark one with default=True")
    if len(defaults) > 1:
        raise ArgumentError(f"`{scope}` has {len(defaults)} defaults, {', '.join(defaults)}: mark one")
    return (defaults[0], *(one.kernel for one in bound if one.kernel != defaults[0]))


def _check_kernel(name: str, scope: Scope, program: Program) -> None:
    serving = sorted(kernel.id for kernel in program.kernels_for(scope.operation))  # its views' own ones included
    kernel = program.kernels.get(name)
    if kernel is None:
        hint = did_you_mean(name, program.kernels) or f"kernels of `{scope}`: {', '.join(serving)}"
        raise UnknownNameError(f"unknown kernel `{name}`; {hint}")
    if name not in serving:
        served = ", ".join(str(one) for one in kernel.scopes)
        raise UnknownNameError(
            f"`{name}` serves {served}, not `{scope}`; kernels of `{scope.operation}`: {', '.join(serving)}"
        )

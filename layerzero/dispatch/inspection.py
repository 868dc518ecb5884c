"""Questions about decisions: select, which, explain, validate, list_kernels, dry_run. Nothing here runs a kernel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from inspect import signature
from typing import Any

from layerzero.check.expressions import Value
from layerzero.check.program import Kernel, PackageLine, Program, Scope
from layerzero.dispatch.call import Dispatcher, no_kernel
from layerzero.errors import ArgumentError, UnknownNameError
from layerzero.operations.call import Call, Parameters
from layerzero.runtime.decision import Decision
from layerzero.semantics.context import asserted_values, read_context
from layerzero.semantics.environment import Environment, on_device
from layerzero.semantics.feasibility import accepts
from layerzero.semantics.proof import Reason
from layerzero.syntax.suggest import suggest


class Context(Mapping[str, Any]):
    """Fields of a call that is not made: `lz.Context(dtype="bf16", head_dim=128, q_len=1, kv_len=8192)`."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Context({', '.join(f'{name}={value!r}' for name, value in self._fields.items())})"


@dataclass(frozen=True, slots=True)
class SelectedKernel:
    """A kernel that was chosen, ready to be called with its operation's arguments; `str()` is its id."""

    id: str
    decision: Decision
    function: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class KernelInfo:
    """A line of the catalog. `available` says whether this machine can run it; `unavailable` says why not."""

    id: str
    operations: tuple[str, ...]
    doc: str
    priority: int
    features: tuple[str, ...]
    sources: tuple[str, ...]
    declared_at: str
    unavailable: tuple[str, ...]

    @property
    def available(self) -> bool:
        return not self.unavailable

    def __str__(self) -> str:
        return self.id


class Inspector:
    """Answers with the policy in force."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def decide(
        self, operation: str, context: Mapping[str, Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Decision:
        """The decision for an operation and either a context or the arguments of its call.

        Raises:
            ArgumentError: Both or neither were given, or the operation is unknown.
            ContextError: The context does not fit the operation.
        """
        tensors = bool(args or kwargs)
        if (context is not None) == tensors:
            given = "both" if tensors else "neither"
            raise ArgumentError(f"give either `context=` or the arguments of the call, got {given}")
        program = self._dispatcher.engine.current().program
        scope, values = read_context(program, {**(context or {}), "operation": operation})
        if not tensors:
            return self._dispatcher.decide(scope, values)
        return self._dispatcher.decide(scope, self._values_of_call(program, scope, args, kwargs))

    def _values_of_call(
        self, program: Program, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Mapping[str, Value]:
        request, from_defaults = _read_call(scope, args, kwargs)
        if scope.view is None:
            return request.context
        # `explain(q, k, v, operation="attention.causal")` means a causal call: what the view fixes wins over a
        # parameter that was left at its default.
        fixed = asserted_values(program, program.operations[scope.operation].views[scope.view])
        return {name: value for name, value in request.context.items() if not (name in fixed and name in from_defaults)}

    def select(self, decision: Decision) -> SelectedKernel:
        """The chosen kernel.

        Raises:
            NoKernelError: No kernel may serve the context.
        """
        if decision.kernel is None:
            raise no_kernel(decision)
        return SelectedKernel(decision.kernel, decision, self._dispatcher.adapter(decision))

    def validate(
        self, kernel: str, context: Mapping[str, Any] | None, operation: str | None, tensors: dict[str, Any]
    ) -> tuple[bool, list[Reason]]:
        """Whether a kernel could serve a context at all (policy aside), and each reason against it.

        Raises:
            UnknownNameError: There is no such kernel, or the operation does not have it.
            ArgumentError: The operation is not clear.
        """
        known = self._dispatcher.engine.current().program.kernels
        if kernel not in known:
            raise UnknownNameError(f"unknown kernel `{kernel}`{_near(kernel, known)}")
        operation = operation or (context or {}).get("operation")
        if operation is None:
            served = sorted({scope.operation for scope in known[kernel].scopes})
            if len(served) > 1:
                raise ArgumentError(f"`{kernel}` serves {', '.join(served)}: say which with `operation=`")
            operation = served[0]
        verdict = self.decide(operation, context, (), tensors).proof.verdicts.get(kernel)
        if verdict is None:
            raise UnknownNameError(f"`{kernel}` is not a kernel of `{operation}`")
        return (False, list(verdict.reasons)) if verdict.stage == "infeasible" else (True, [])

    def list_kernels(self, operation: str | None = None) -> list[KernelInfo]:
        """The kernels of an operation, of a view, or of all that a glob matches, by id.

        Raises:
            UnknownNameError: No operation matches.
        """
        snapshot = self._dispatcher.engine.current()
        program = snapshot.program
        scopes = None if operation is None else _matching(program, operation)
        listed = []
        for kernel in sorted(program.kernels.values(), key=lambda kernel: kernel.id):
            if scopes is None or any(_serves(kernel, scope) for scope in scopes):
                listed.append(self._info(kernel))
        return listed

    def _unavailable(self, kernel: Kernel) -> Iterator[str]:
        environment = self._dispatcher.engine.current().environment
        for line in kernel.packages:
            reason = _package_problem(environment, line)
            if reason is not None:
                yield reason
        if kernel.id in environment.no_adapter:
            yield environment.no_adapter[kernel.id]
        for name, why in environment.open_breakers.items():
            if name in (kernel.id, *(on_device(kernel.id, one) for one in environment.breaker_devices(kernel.id))):
                yield why

    def _info(self, kernel: Kernel) -> KernelInfo:
        return KernelInfo(
            id=kernel.id,
            operations=tuple(str(scope) for scope in kernel.scopes),
            doc=kernel.doc,
            priority=kernel.priority,
            features=tuple(dict.fromkeys(support.feature for support in kernel.supports)),
            sources=kernel.sources,
            declared_at=str(kernel.span),
            unavailable=tuple(self._unavailable(kernel)),
        )


def _read_call(scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Call, frozenset[str]]:
    """A call's arguments read, and the fields that come only from parameters left at their defaults."""
    reader, parameters = reader_of(scope, kwargs)
    try:
        bound = signature(reader).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"the arguments do not fit a call of `{scope.operation}`: {error}") from None
    passed = {field for name in bound.arguments for field in parameters[name].fields}
    left = {field for name, role in parameters.items() if name not in bound.arguments for field in role.fields}
    return reader(*args, **kwargs), frozenset(left - passed)


def reader_of(scope: Scope, kwargs: dict[str, Any]) -> tuple[Callable[..., Call], Parameters]:
    """The function that reads a call of the operation, and its table of parameters."""
    name = scope.operation
    if name == "attention" and (scope.view == "paged" or "page_table" in kwargs):
        name = "paged_attention"
    try:
        module = import_module(f"layerzero.operations.{name}")
    except ModuleNotFoundError as error:
        raise ArgumentError(f"`{scope.operation}` has no public call: give `context=` instead of tensors") from error
    if name != "sample":
        return module.read, module.PARAMETERS
    method = scope.view or ("topk" if "k" in kwargs else "topp" if "p" in kwargs else "greedy")
    return getattr(module, f"read_{method}"), getattr(module, f"{method.upper()}_PARAMETERS")


def _package_problem(environment: Environment, line: PackageLine) -> str | None:
    """Why a `package` line does not hold on this machine, if it does not."""
    for choice in line.alternatives:
        installed = environment.packages.get(choice.name)
        if choice.name in environment.broken:
            return f"{choice.name} does not import: {environment.broken[choice.name]}"
        if installed is not None:
            wanted = ", ".join(choice.specifiers)
            return None if accepts(choice, installed) else f"{choice.name} {installed} is installed, wanted {wanted}"
    return f"{' or '.join(choice.name for choice in line.alternatives)} is not installed"


def _serves(kernel: Kernel, scope: Scope) -> bool:
    """A kernel for the whole operation serves each of its views, as far as its facts go."""
    return any(
        own.operation == scope.operation and (scope.view is None or own.view in (None, scope.view))
        for own in kernel.scopes
    )


def _matching(program: Program, pattern: str) -> list[Scope]:
    known = {name: Scope(name) for name in program.operations}
    known |= {f"{name}.{view}": Scope(name, view) for name, o in program.operations.items() for view in o.views}
    known |= program.aliases.operations
    if pattern in known:
        return [known[pattern]]
    if pattern.endswith(".*") and pattern[:-2] in known:
        return [known[pattern[:-2]]]
    found = [scope for name, scope in known.items() if fnmatchcase(name, pattern)]
    if not found:
        raise UnknownNameError(f"no operation matches `{pattern}`{_near(pattern.removesuffix('.*'), known)}")
    return found


def _near(word: str, known: Collection[str]) -> str:
    near = suggest(word, sorted(known))
    return f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(sorted(known)[:12])}"

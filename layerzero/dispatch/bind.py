"""An operation and an example call -> a callable for calls like it: the kernel's own function wherever it can be.

What the example fixes (device, dtypes, layout, options) is promised by the caller for all later calls, and compiled
in. What differs from call to call (sizes, strides, gradients, the fields of `lz.context`) stays open; `varies` says
so where the caller knows better. If nothing that is open can change the decision, the catalog's function is returned;
else a callable that decides what is left. Both keep the policy that was in force.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from inspect import signature
from typing import Any

from layerzero.check.expressions import Value
from layerzero.check.program import Scope
from layerzero.compiler.compile import compile_operation
from layerzero.compiler.form import OperationForm
from layerzero.compiler.matcher import function_of
from layerzero.compiler.probes import Probe
from layerzero.compiler.terms import Pool
from layerzero.dispatch.call import Dispatcher, no_kernel
from layerzero.dispatch.inputs import implied, scope_of
from layerzero.dispatch.inspection import reader_of
from layerzero.errors import ArgumentError
from layerzero.operations.call import AMBIENT, Call, Parameters
from layerzero.operations.quick import quick_reader
from layerzero.operations.tensors import STATES
from layerzero.runtime import ambient
from layerzero.runtime.decision import Decision
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.environment import Environment
from layerzero.semantics.proof import Outcome
from layerzero.syntax.suggest import did_you_mean

Function = Callable[..., Any]
_NO_ARMS: Mapping[str, str] = {}


def bind(
    dispatcher: Dispatcher,
    operation: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    varies: Collection[str] | None = None,
) -> Function:
    """Bind an operation or view to the calls that are like an example.

    Raises:
        ArgumentError: The example does not fit the operation, or `varies` names no field of it.
        NoKernelError: No kernel may serve it.
    """
    snapshot = dispatcher.engine.current()
    scope = scope_of(snapshot, operation)
    reader, parameters = reader_of(scope, dict(kwargs))
    added = {name: value for name, value in implied(snapshot, scope, parameters).items() if name not in kwargs}
    try:
        bound = signature(reader).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"the arguments do not fit a call of `{scope}`: {error}") from None
    added = {name: value for name, value in added.items() if name not in bound.arguments}
    example = reader(*args, **kwargs, **added)
    decision = dispatcher.decide(scope, example.context)
    if decision.kernel is None:
        raise no_kernel(decision)
    if decision.degraded:
        dispatcher.warn_degraded(decision)
    if varies is not None and not varies:
        return dispatcher.function(snapshot, decision.kernel)
    chosen = None if varies is None else frozenset(_field(snapshot, name) for name in varies)
    own = varying(example, parameters, bound.arguments)
    fixed = _fixed(snapshot, scope, decision, own, chosen)
    operation_of = snapshot.program.operations[scope.operation]
    form = compile_operation(snapshot.program, _any_arm(snapshot.environment), fixed, operation_of)
    outcome = constant_outcome(form)
    if outcome is not None and outcome.kernel is not None:
        return dispatcher.function(snapshot, outcome.kernel)
    return Bound(dispatcher, snapshot, scope, reader, (args, dict(kwargs), added), example, form)


def varying(example: Call, parameters: Parameters, given: Mapping[str, Any]) -> frozenset[str]:
    """The fields that may differ in a call like the example: sizes of its tensors, the state of tensors and torch."""
    sizes = {
        name
        for parameter, value in given.items()
        if hasattr(value, "shape")
        for name in parameters[parameter].fields
        if type(example.context.get(name)) is int and name != "sm"
    }
    states = {"phase", *STATES, *AMBIENT}
    if example.context.get("device") != "cuda":
        states.discard("graph_capture")  # never true elsewhere
    return frozenset((sizes | states) & set(example.context))


def constant_outcome(form: OperationForm) -> Outcome | None:
    """The only outcome of a form, if it has one alone."""
    if form.tree is None or form.refused or form.tree.root >= 0:
        return None
    return form.tree.outcomes[-1 - form.tree.root]


def _fixed(
    snapshot: Snapshot, scope: Scope, decision: Decision, own: frozenset[str], varies: frozenset[str] | None
) -> dict[str, Value | None]:
    """What the example fixes: its own fields but those that vary, and that the operation's other words are absent.
    The fields of `lz.context` stay open, unless all that varies was named."""
    program = snapshot.program
    operation = program.operations[scope.operation]
    words = {*operation.needs, *operation.optional} if varies is None else set(program.fields)
    return {name: decision.values.get(name) for name in sorted(words - (own if varies is None else varies))}


def _field(snapshot: Snapshot, name: str) -> str:
    field = snapshot.vocabulary.field_aliases.get(name, name)
    if field not in snapshot.vocabulary.types:
        hint = did_you_mean(name, list(snapshot.vocabulary.types))
        raise ArgumentError(f"argument `varies`: unknown field `{name}`{f'; {hint}' if hint else ''}")
    return field


def _any_arm(environment: Environment) -> Environment:
    return replace(environment, stopped_arms=frozenset())  # enrolment knows them; a form does not


class Bound:
    """A bound operation whose kernel the open fields decide: `bound(q, k, v, is_causal=True)`.

    A call with other options than the example's is decided in full. Calls leave no trace and count for no breaker.

    Attributes:
        snapshot: What decides; `lz.status()` counts it as a pin.
        kernels: Those that a call may get.
        reads: The fields that are looked at.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        snapshot: Snapshot,
        scope: Scope,
        reader: Callable[..., Call],
        given: tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]],
        example: Call,
        form: OperationForm,
    ) -> None:
        args, self._options, self._added = given
        self.snapshot, self.scope = snapshot, scope
        self._dispatcher, self._reader = dispatcher, reader
        self._pin = dispatcher.engine.hold(snapshot)
        self._decide = function_of(form)
        self._functions: dict[str | None, Function] = {}
        outcomes = () if form.tree is None else form.tree.outcomes
        names = {one.kernel for one in outcomes} if form.tree is not None else set(form.lowered.kernels)
        self.kernels = tuple(sorted(name for name in names if name is not None))
        asked = {str(name) for probe in form.probes for name in _asked(form, probe)}
        self.reads = tuple(load.name for load in form.loads if load.given and load.name in asked)
        alone = not form.experiments and len(args) == len(example.args) and args == example.args
        self._quick = quick_reader(example, self.reads) if alone and not _has_tensors(example.kwargs) else None
        self._arity, self._kwargs = len(args), example.kwargs
        self._needed = {load.name: example.context[load.name] for load in form.loads if load.needed}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._quick is None or len(args) != self._arity or kwargs != self._options or ambient.here() is not None:
            return self._in_full(args, kwargs)
        kernel = self._decide({**self._needed, **self._quick(args)}, _NO_ARMS).kernel
        function = self._functions.get(kernel) or self._function(kernel)
        return self._in_full(args, kwargs) if function is None else function(*args, **self._kwargs)

    def _in_full(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that is not like the example, or that only all of its fields can tell."""
        request = self._reader(*args, **{**self._added, **kwargs})
        with self._dispatcher.engine.pin(self.snapshot):
            return self._dispatcher.call(request, self.scope)

    def _function(self, kernel: str | None) -> Function | None:
        """None where no kernel serves: the whole decision says why."""
        if kernel is None:
            return None
        function = self._functions[kernel] = self._dispatcher.function(self.snapshot, kernel)
        return function

    def __repr__(self) -> str:
        return f"<Bound {self.scope} by {', '.join(self.reads)}: {', '.join(self.kernels)}>"


def _asked(form: OperationForm, probe: Probe) -> Iterator[Any]:
    """The fields that a probe reads, and those that their defaults read."""
    pool = Pool({})
    for term in form.terms:
        pool.add(*term)
    reads = set(pool.reads(probe.proposition) if probe.kind == "formula" else {probe.read})
    defaults = {load.name: load.default for load in form.loads}
    waiting = [name for kind, name in reads if kind == "field"]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            default = defaults.get(name)
            if default is not None:
                waiting.extend(str(read) for kind, read in pool.reads(default) if kind == "field")
    yield from seen


def _has_tensors(kwargs: Mapping[str, Any]) -> bool:
    return any(hasattr(value, "shape") for value in kwargs.values())

"""The public calls -> their adapters, by the native entry: no context is read, no Decision is made.

The entry remembers what was decided for calls that look alike; a dense attention call is found by its region too, since
its keys grow. The first of each kind is read and decided here, and whoever watches (a sink, a trace, a breaker that
counts) is told by the same code as ever. What the entry cannot look at goes the plain way; the answers are the same.
See `layerzero/native/calls.cpp`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial, update_wrapper
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

from layerzero import native
from layerzero.check.program import Scope
from layerzero.dispatch.call import Dispatcher
from layerzero.dispatch.trace import RECORDS
from layerzero.operations import attention, validation
from layerzero.operations.call import Call
from layerzero.runtime import ambient
from layerzero.runtime.decision import Decision
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.proof import Outcome

if TYPE_CHECKING:
    from layerzero.backends.machine import Adapter

log = logging.getLogger("layerzero")

F = TypeVar("F", bound=Callable[..., Any])
Read = Callable[..., Call]
Look = Callable[..., None]
Told = tuple[Decision, "Adapter | None", "Look | None", int, tuple[str, ...], tuple[int, ...], tuple[Any, ...]]
"""What serves calls that look alike: the decision, the adapter (None: no kernel), what has to look at the values of
each call, how many arguments the adapter takes by position, its keywords, and where each argument comes from: the
number of a parameter, or -1 - that of a constant; and the constants."""

if native.matcher is not None:

    @native.matcher.quicken
    class PublicCall(native.matcher.Call):  # type: ignore[misc, name-defined]
        """A public function in all but its speed. Compilers trace `__call__`, which nothing else calls."""

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return self.__wrapped__(*args, **kwargs)

        def __get__(self, instance: object, owner: type | None = None) -> Any:
            return self if instance is None else MethodType(self, instance)

        def __reduce__(self) -> str:
            name: str = self.__qualname__
            return name


class QuickCalls:
    """The public calls of one dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._edge: Any = None
        self._calls: list[Any] = []
        dispatcher.engine.listeners.append(self._forget)

    def public(
        self, read: Read, look: Look | None = None, side_by_side: tuple[str, str] | None = None
    ) -> Callable[[F], F]:
        """A decorator for the public function of an operation, which serves what is not served quickly.

        Args:
            read: Of the operation, with the parameters of the function. What it reads of an argument is no more than
                how a tensor looks, and the values of numbers and words.
            look: Looks at the values of tensors, where `read` does.
            side_by_side: Two tensors of which `read` also asks whether they are halves of one.
        """

        def public(function: Any) -> Any:
            if native.matcher is None:
                return function
            code = function.__code__
            parameters: tuple[str, ...] = code.co_varnames[: code.co_argcount]
            pair = (-1, -1) if side_by_side is None else tuple(map(parameters.index, side_by_side))
            call = PublicCall(
                *(function, self._begin, partial(self._learn, read, look, parameters), self._known),
                *(partial(self._rescue, read), partial(self._succeeded, read)),
                *(parameters, function.__defaults__ or (), *pair),
            )
            self._calls.append(call)
            return update_wrapper(call, function)

        return public

    def _forget(self, snapshot: Snapshot) -> None:
        """A policy was put in force."""
        for call in self._calls:
            call.forget()
            if call.regions is not None:
                call.regions.forget()

    # ------------------------------------------------------------ torch's side

    def _begin(self, call: Any) -> tuple[Any, ...] | None:
        """What a call needs to look at tensors; None until torch is there."""
        torch = sys.modules.get("torch")
        if torch is None or not hasattr(torch, "compiler"):  # it may be half imported
            return None
        if self._edge is None:
            self._edge = self._look_at(torch)
        if self._edge is False:
            return None, None, {}, None, None
        regions = None
        if native.matcher is not None and call.__name__ == attention.OPERATION:
            regions = native.matcher.Attention(self._learn_region, partial(self._adapter, Scope(attention.OPERATION)))
        return self._edge, regions, _parts(torch), torch.device, torch._C._is_alias_of

    def _look_at(self, torch: Any) -> Any:
        """The native edge, False where there is none."""
        capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
        if native.matcher is None or capsule is None:
            return False
        dispatcher, engine = self._dispatcher, self._dispatcher.engine
        pinned, using = engine.scopes
        try:
            return native.matcher.Edge(
                *(engine, dispatcher, dispatcher.breakers, vars(validation)),
                *(pinned, using, ambient.HERE, ambient.NOTHING, RECORDS),
                *(torch.Tensor, torch.nn.Parameter, capsule, torch._C.TensorBase.requires_grad),
                *(torch._C.is_grad_enabled, torch._C._get_deterministic_algorithms),
                getattr(torch._C, "_cuda_isCurrentStreamCapturing", None),
                *(ambient.Surroundings, _token),
            )
        except (AttributeError, ValueError) as error:  # a torch that looks different inside
            log.info("calls have no quick way here: %s", error)
            return False

    # ------------------------------------------------------------ what the entry asks

    def _learn(
        self, read: Read, look: Look | None, parameters: tuple[str, ...], snapshot: Snapshot, args: tuple[Any, ...]
    ) -> Told | None:
        """How to serve calls that look like this one; None where each of them has to be read in full."""
        request = read(*args)
        handed_on = _handed_on(request, parameters, args)
        if handed_on is None or not _constant(snapshot, request):
            return None
        decision = self._dispatcher.decided(snapshot, Scope(request.operation), request.context)
        adapter = None if decision.kernel is None else self._adapter(decision.scope, snapshot, decision.outcome)
        looks = look if look is not None and request.args[0].device.type == "cpu" else None
        # The fields around the call are those of each call.
        return (Decision(snapshot, decision.scope, request.context, {}, decision.outcome), adapter, looks, *handed_on)

    def _known(self, told: Told, args: tuple[Any, ...]) -> Any:
        """Serve a call that looks like an earlier one, where somebody watches."""
        decision, _, _, positional, names, sources, constants = told
        around = ambient.here()
        context = dict(decision.values)
        if around is not None:
            user, arms = around.read(decision.snapshot)
            decision = Decision(decision.snapshot, decision.scope, {**user, **context}, arms, decision.outcome)
        given = [args[source] if source >= 0 else constants[-1 - source] for source in sources]
        options = dict(zip(names, given[positional:], strict=True))
        request = Call(decision.scope.operation, context, tuple(given[:positional]), options)
        return self._dispatcher.serve(decision, request)

    def _rescue(self, read: Read, snapshot: Snapshot, args: tuple[Any, ...], error: Exception) -> Any:
        """Go on after the chosen kernel raised."""
        request = read(*args)
        decision = self._dispatcher.decided(snapshot, Scope(request.operation), request.context)
        return self._dispatcher.go_on(decision, request, error)

    def _succeeded(self, read: Read, snapshot: Snapshot, args: tuple[Any, ...]) -> None:
        request = read(*args)
        kernel = self._dispatcher.decided(snapshot, Scope(request.operation), request.context).kernel
        if kernel is not None:
            self._dispatcher.breakers.succeeded(kernel, str(request.context["device"]))

    def _learn_region(self, snapshot: Snapshot, *args: Any) -> tuple[Any, ...] | None:
        """The values of a dense attention call packed, as an example of those with its device, options and
        surroundings; the fields whose defaults follow from others; the keywords of the adapter and what it gets for
        them. None where each such call has to be read in full."""
        request = attention.read(*args)
        if not _constant(snapshot, request):
            return None
        around = ambient.here()
        user, arms = ({}, {}) if around is None else around.read(snapshot)
        context = {**user, **request.context}
        matcher = snapshot.matcher(context)
        function: Any = matcher.function(attention.OPERATION)
        form = matcher.form.operations[attention.OPERATION]
        derived = tuple(
            load.name
            for load in form.loads
            if load.name not in context and load.default is not None and form.terms[load.default][0] != "const"
        )
        packed = function.pack(context, arms, snapshot)
        return packed, derived, tuple(request.kwargs), tuple(request.kwargs.values())

    def _adapter(self, scope: Scope, snapshot: Snapshot, outcome: Outcome) -> Adapter | None:
        if outcome.kernel is None:
            return None
        if outcome.degraded:
            self._dispatcher.warn_degraded(Decision(snapshot, scope, {}, {}, outcome))
        return self._dispatcher.function(snapshot, outcome.kernel)


def _token(snapshot: Snapshot, around: ambient.Surroundings) -> object:
    return around.token(snapshot)


def _constant(snapshot: Snapshot, request: Call) -> bool:
    """Whether calls that look alike are decided alike under a snapshot: their device was compiled for, and no field of
    theirs enrols them in an experiment."""
    context = request.context
    if any(one.key in context for one in snapshot.vocabulary.experiments.values()):
        return False
    return any(all(context.get(name) == value for name, value in one.items()) for one in snapshot.devices)


def _handed_on(
    request: Call, parameters: tuple[str, ...], args: tuple[Any, ...]
) -> tuple[int, tuple[str, ...], tuple[int, ...], tuple[Any, ...]] | None:
    """Where the arguments of an adapter come from (see Told); None where `read` made one that is no plain constant."""
    if any(one is not given for one, given in zip(request.args, args, strict=False)):
        return None
    sources, constants = list(range(len(request.args))), []
    for name, value in request.kwargs.items():
        if name in parameters and value is args[parameters.index(name)]:
            sources.append(parameters.index(name))
        elif type(value) in (bool, int, float, str):
            constants.append(value)
            sources.append(-len(constants))
        else:
            return None
    return len(request.args), tuple(request.kwargs), tuple(sources), tuple(constants)


def _parts(torch: Any) -> dict[type, tuple[str, ...]]:
    """The attributes that make objects among the arguments alike: generators, and quantised weights."""
    from layerzero.backends.weights import QUANTISED

    assert all(is_dataclass(one) for one in QUANTISED)
    weights = {one: tuple(field.name for field in fields(one)) for one in QUANTISED}
    return {torch.Generator: ("device",), **weights}

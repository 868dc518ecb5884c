"""An operation's name, a call's arguments and further context fields -> a call that can be decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import signature
from typing import Any

from layerzero.check.expressions import Constant
from layerzero.check.program import Scope
from layerzero.dispatch.inspection import reader_of
from layerzero.errors import ArgumentError, ContextError
from layerzero.operations.call import Call, Parameters
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.context import read_scope, read_value
from layerzero.syntax.suggest import did_you_mean


def scope_of(snapshot: Snapshot, operation: str) -> Scope:
    """The operation or view of a name.

    Raises:
        ContextError: There is none of that name; the message has the nearest.
    """
    head, _, view = operation.rpartition(".")
    known = snapshot.vocabulary
    if operation in known.needed:
        return Scope(operation)
    if Scope(head, view) in known.views:
        return Scope(head, view)
    return read_scope(snapshot.program, operation)


def read_inputs(snapshot: Snapshot, scope: Scope, inputs: Any, context: Mapping[str, Any] | None) -> Call:
    """The call of an operation or view.

    Args:
        snapshot: Whose words count.
        scope: A view is also what the call says: `attention.causal` is called with `is_causal=True`.
        inputs: A tuple or list of positional arguments, a mapping of keyword arguments, or the only argument.
        context: Fields besides those that the arguments give; one that says otherwise than they do is an error.

    Raises:
        ArgumentError: The arguments do not fit.
        ContextError: A field is unknown, or contradicts the arguments.
    """
    args, kwargs = _arguments(inputs)
    reader, parameters = reader_of(scope, kwargs)
    for name, value in implied(snapshot, scope, parameters).items():
        if name not in kwargs and _position(reader, name) >= len(args):
            kwargs[name] = value
    try:
        call = reader(*args, **kwargs)
    except TypeError as error:
        _explain(reader, scope, args, kwargs)
        raise error
    if context:
        call.context.update(_further(snapshot, context, call, scope, parameters))
    return call


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, tuple | list):
        return tuple(inputs), {}
    return (inputs,), {}


def implied(snapshot: Snapshot, scope: Scope, parameters: Parameters) -> dict[str, Any]:
    """The parameters that a view fixes: `is_causal=True`, `phase="decode"`. What is off by default stays out."""
    fixed = snapshot.vocabulary.views.get(scope) if scope.view is not None else None
    if not fixed:
        return {}
    own = {role.fields[0]: name for name, role in parameters.items() if len(role.fields) == 1}
    return {own[field]: value for field, value in fixed.items() if field in own and value}


@lru_cache(maxsize=64)
def _position(reader: Callable[..., Call], name: str) -> int:
    return list(signature(reader).parameters).index(name)


def _explain(reader: Callable[..., Call], scope: Scope, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Raise what a caller can act on, where the arguments do not even bind."""
    try:
        signature(reader).bind(*args, **kwargs)
    except TypeError as error:
        raise ArgumentError(f"the inputs do not fit a call of `{scope}`: {error}") from None


def _further(
    snapshot: Snapshot, context: Mapping[str, Any], call: Call, scope: Scope, parameters: Parameters
) -> dict[str, Any]:
    vocabulary = snapshot.vocabulary
    governed = {field for role in parameters.values() for field in role.fields}
    found: dict[str, Any] = {}
    for name, raw in context.items():
        if name == "operation":
            if raw is not None and scope_of(snapshot, raw) != scope:
                raise ContextError(f"the context is of `{raw}`, the call of `{scope}`")
            continue
        field = vocabulary.field_aliases.get(name, name)
        if field not in vocabulary.types:
            hint = did_you_mean(name, [*vocabulary.types, *vocabulary.field_aliases])
            raise ContextError(f"unknown field `{name}` in a context of `{scope}`{f'; {hint}' if hint else ''}")
        if raw is None:
            continue
        value = read_value(vocabulary.member_aliases, vocabulary.types[field], raw, name)
        given = call.context.get(field)
        if given is None and field in governed:
            default = snapshot.program.fields[field].default
            given = default.value if isinstance(default, Constant) else None
            if given is None:
                raise ContextError(f"the context says `{name}` = {value}, the inputs say nothing of it")
        if given is not None and given != value:
            raise ContextError(f"the context says `{name}` = {value}, the inputs {given}")
        found[field] = value
    return found

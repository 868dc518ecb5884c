"""Compiled form -> matcher: operation, values and arms in, outcome out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from layerzero.check.expressions import Value
from layerzero.compiler.codegen import Decide, generate
from layerzero.compiler.form import Form, OperationForm
from layerzero.compiler.native import native_function
from layerzero.compiler.slices import Each, at_once
from layerzero.errors import UnknownNameError
from layerzero.semantics.proof import Outcome

_NO_ARMS: Mapping[str, str] = {}


@dataclass(frozen=True)
class Matcher:
    """Immutable; threads may share it. `functions` are for paths that know their operation."""

    form: Form
    functions: Mapping[str, Decide]

    def decide(self, operation: str, values: Mapping[str, Value], arms: Mapping[str, str] = _NO_ARMS) -> Outcome:
        """The outcome of one call.

        Args:
            values: canonical names, as `read_context` returns them, and what an asserted view fills in; defaults are
                filled in here. Fields that were fixed when compiling are not read.
            arms: `{experiment: arm}` that the call is enrolled in.

        Raises:
            UnknownNameError: The program has no such operation.
        """
        return self.function(operation)(values, arms)

    def function(self, operation: str) -> Decide:
        found = self.functions.get(operation)
        if found is None:
            raise UnknownNameError(f"unknown operation `{operation}`; known: {', '.join(sorted(self.functions))}")
        return found

    def fields(self, operation: str) -> tuple[str, ...]:
        """The fields that a decision reads from its context; nothing else in there can change the outcome."""
        self.function(operation)
        return tuple(load.name for load in self.form.operations[operation].loads if load.given)

    def experiments(self, operation: str) -> tuple[str, ...]:
        """The experiments whose arm can change the outcome."""
        self.function(operation)
        return self.form.operations[operation].experiments


def build(form: Form, each: Each = at_once) -> Matcher:
    """Make the functions of a form, native where the extension was built; `each` says how the loops of doing so run."""
    return Matcher(form, {name: function_of(operation, each) for name, operation in form.operations.items()})


def build_in_python(form: Form) -> Matcher:
    """The matcher that serves where the extension was not built."""
    return Matcher(form, {name: generate(operation) for name, operation in form.operations.items()})


def function_of(form: OperationForm, each: Each = at_once) -> Decide:
    """The function of an operation, made once for each form: a swap that leaves an operation alone costs it
    nothing. It lives as long as the form."""
    kept: dict[str, Decide] = vars(form)  # as functools.cached_property keeps what it made
    found = kept.get("_function")
    if found is None:
        found = kept["_function"] = native_function(form, each) or generate(form, each)
    return found

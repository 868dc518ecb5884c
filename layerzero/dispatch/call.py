"""One call from its arguments to its result: read the context, decide, call the kernel, leave a trace."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from layerzero.backends.machine import ThisMachine
from layerzero.check.expressions import Value
from layerzero.check.program import Scope
from layerzero.dispatch.trace import RECORDS, CallRecord
from layerzero.errors import KernelCallError, NoKernelError
from layerzero.operations.call import Call
from layerzero.runtime import ambient
from layerzero.runtime.decision import Decision
from layerzero.runtime.engine import Engine
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.context import read_value

log = logging.getLogger("layerzero")


class Dispatcher:
    """Serves calls with the engine's policy and this machine's adapters."""

    def __init__(self, engine: Engine, machine: ThisMachine) -> None:
        self.engine = engine
        self._machine = machine
        self._said = _Once()

    def call(self, request: Call) -> Any:
        """Run the kernel that the policy chooses for a call.

        Raises:
            NoKernelError: No kernel may serve it; the exception carries the decision.
            KernelCallError: The chosen kernel's function cannot be loaded.
        """
        decision = self.decide(Scope(request.operation), request.context)
        if decision.kernel is None:
            raise no_kernel(decision)
        if decision.degraded:
            self._warn_degraded(decision)
        adapter = self.adapter(decision)
        records = RECORDS.get()
        started = perf_counter() if records is not None else 0.0
        try:
            result = adapter(*request.args, **request.kwargs)
        except Exception as error:
            error.add_note(f"layerzero: raised by kernel `{decision.kernel}`, chosen for `{decision.scope}`")
            raise
        if records is not None:
            records.append(CallRecord(decision, perf_counter() - started))
        return result

    def decide(self, scope: Scope, values: Mapping[str, Value]) -> Decision:
        """The decision for field values of a call, with the fields of `lz.context` added."""
        snapshot = self.engine.current()
        around = ambient.fields()
        if around:
            values = {**self._user_fields(snapshot.vocabulary, around), **values}
        return snapshot.decide(scope, values)

    def _user_fields(self, vocabulary: Vocabulary, around: Mapping[str, Any]) -> dict[str, Value]:
        # A field that the policy in force does not declare is left out, not an error: a roll-back to an older
        # policy must not fail the requests that set it. It is said once.
        known: dict[str, Value] = {}
        for name, value in around.items():
            canonical = vocabulary.field_aliases.get(name, name)
            if canonical in vocabulary.types:
                known[canonical] = read_value(vocabulary.member_aliases, vocabulary.types[canonical], value, name)
            elif self._said.first(("field", vocabulary.identity.digest, name)):
                log.warning("lz.context sets `%s`, which the policy in force does not declare; it is not used", name)
        return known

    def adapter(self, decision: Decision) -> Any:
        """The function of the kernel that was chosen."""
        assert decision.kernel is not None
        try:
            return self._machine.adapter(decision.kernel, decision.snapshot.vocabulary.adapters[decision.kernel])
        except LookupError as error:
            raise KernelCallError(f"kernel `{decision.kernel}` cannot be called: {error}") from error

    def _warn_degraded(self, decision: Decision) -> None:
        if self._said.first(("degraded", decision.policy.digest, decision.scope.operation, decision.kernel)):
            log.warning(
                "`%s` is served by its fallback `%s`: nothing else was left (lz.explain tells why)",
                decision.scope.operation,
                decision.kernel,
            )


def no_kernel(decision: Decision) -> NoKernelError:
    """The exception for a decision without a kernel, with the proof in its message."""
    failure = decision.proof.error
    message = failure.message if failure is not None else "no kernel"
    return NoKernelError(f"{message}\n{decision.explain()}", decision)


class _Once:
    """Remembers what was said, up to a bound; past it the oldest may be said again."""

    _LIMIT = 1024

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[object, None] = {}

    def first(self, what: object) -> bool:
        if what in self._said:
            return False
        with self._lock:
            if what in self._said:
                return False
            if len(self._said) >= self._LIMIT:
                del self._said[next(iter(self._said))]
            self._said[what] = None
            return True

"""One call from its arguments to its result: read the context, decide, call the kernel, leave a trace.

A call whose kernel raises goes on with the kernel that the same decision gives when the failed one is infeasible. What
failed is counted by its breaker once another kernel has served the same call: inputs that no kernel can serve (logits
of NaN) say nothing about kernels, and must not take them from other callers. Kernels write to none of their arguments,
or say `set in_place = true`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

from layerzero.backends.machine import Adapter, ThisMachine
from layerzero.check.expressions import Value
from layerzero.check.program import Scope
from layerzero.dispatch.nan_check import NanCheck, NanResultError
from layerzero.dispatch.trace import RECORDS, CallRecord
from layerzero.errors import KernelCallError, LayerZeroError, NoKernelError
from layerzero.operations.call import Call
from layerzero.runtime import ambient
from layerzero.runtime.breakers import Breakers, BreakerSettings
from layerzero.runtime.decision import Decision
from layerzero.runtime.engine import Engine
from layerzero.runtime.once import Once
from layerzero.runtime.snapshot import Snapshot

log = logging.getLogger("layerzero")

Sink = Callable[[CallRecord], None]


class Dispatcher:
    """Serves calls with the engine's policy and this machine's adapters.

    Attributes:
        sinks: Told of every call after it ran (decision log, metrics, experiments); none by default. They must not
            block. Replaced as a whole, never changed in place.
    """

    __slots__ = ("__dict__", "__weakref__", "_nan_check", "sinks")  # the native entry reads them where they lie

    def __init__(self, engine: Engine, machine: ThisMachine, breakers: Breakers) -> None:
        self.engine = engine
        self.breakers = breakers
        self.sinks: tuple[Sink, ...] = ()
        self._machine = machine
        self._changing_sinks = threading.Lock()
        self._said = Once()
        self._nan_check = NanCheck.of(breakers.settings.nan_rate, self.adapter)

    def configure_breakers(self, settings: BreakerSettings) -> None:
        """Other bounds for the breakers from now on, and how many results are searched for NaN."""
        self.breakers.settings = settings
        self._nan_check = NanCheck.of(settings.nan_rate, self.adapter)

    def call(self, request: Call, scope: Scope | None = None) -> Any:
        """Run the kernel that the policy chooses for a call; a `scope` with a view asserts the view.

        Raises:
            NoKernelError: No kernel may serve it; the exception carries the decision.
            KernelCallError: The chosen kernel's function cannot be loaded.
        """
        scope = scope or Scope(request.operation)
        return self.serve(self.decided(self.engine.current(), scope, request.context), request)

    def serve(self, decision: Decision, request: Call) -> Any:
        """What `call` does once it is decided; raises as it does."""
        if self.breakers.open and decision.kernel is not None:
            decision = self._heeding_breakers(decision, calling=True)
        if decision.kernel is None:
            for sink in self.sinks:
                sink(CallRecord(decision, 0.0))
            raise no_kernel(decision)
        if decision.degraded:
            self.warn_degraded(decision)
        failed, result = self._run(decision, request)
        return result if failed is None else self._recover(decision, request, failed)

    def go_on(self, decision: Decision, request: Call, error: Exception) -> Any:
        """What `call` does after the chosen kernel raised, for those who called its function themselves.

        Raises:
            Exception: `error`, where the call cannot be made again or nothing else may serve it.
        """
        if not self._may_go_on(decision, request, error):
            raise error
        return self._recover(decision, request, error)

    def _recover(self, decision: Decision, request: Call, failed: Exception) -> Any:
        """The result of the next kernel that serves the call, or the last failure, which then counts against none."""
        failures: list[tuple[str, str, str]] = []
        try:
            while True:
                assert decision.kernel is not None
                failures.append((decision.kernel, _device(decision), _said(failed)))
                decision = self._without(decision, failed)
                if decision.kernel is None:
                    raise failed
                if decision.degraded:
                    self.warn_degraded(decision)
                again, result = self._run(decision, request)
                if again is None:
                    break
                failed = again
        except BaseException:
            for kernel, device, _ in failures:
                self.breakers.undecided(kernel, device)
            raise
        for failure in failures:
            self.breakers.failed(*failure)
        return result

    def decide(self, scope: Scope, values: Mapping[str, Value]) -> Decision:
        """The decision for field values of a call, with the fields of `lz.context` added. A question alone: it never
        is the one call that a half-open breaker lets through.

        Raises:
            ContextError: The values, or those around the call, do not fit the operation.
        """
        decision = self.decided(self.engine.current(), scope, values)
        if self.breakers.open and decision.kernel is not None:
            return self._heeding_breakers(decision, calling=False)
        return decision

    def decided(self, snapshot: Snapshot, scope: Scope, values: Mapping[str, Value]) -> Decision:
        """The decision under a snapshot, with what surrounds this place; breakers that its epoch does not know of yet
        are not heeded. Raises as `decide`."""
        around = ambient.here()
        arms: Mapping[str, str] | None = None
        if around is not None:
            user, arms = around.read(snapshot)
            if any(one.key in values for one in snapshot.vocabulary.experiments.values()):
                arms = None  # the call itself gives a key
            values = {**user, **values}
        return snapshot.decide(scope, values, arms)

    def adapter(self, decision: Decision) -> Adapter:
        """The function of the kernel that was chosen.

        Raises:
            KernelCallError: It does not load.
        """
        assert decision.kernel is not None
        return self.function(decision.snapshot, decision.kernel)

    def function(self, snapshot: Snapshot, kernel: str) -> Adapter:
        """The function of a kernel, the catalog's own object.

        Raises:
            KernelCallError: It does not load.
        """
        try:
            return self._machine.adapter(kernel, snapshot.vocabulary.adapters[kernel])
        except LookupError as error:
            raise KernelCallError(f"kernel `{kernel}` cannot be called: {error}") from error

    def _run(self, decision: Decision, request: Call) -> tuple[Exception | None, Any]:
        """The result, or the exception after which another kernel may be asked."""
        assert decision.kernel is not None
        kernel, device = decision.kernel, _device(decision)
        watched = self.sinks or RECORDS.get() is not None
        started = perf_counter() if watched else 0.0
        try:
            result = self.adapter(decision)(*request.args, **request.kwargs)
            if self._nan_check is not None:
                self._nan_check.look(decision, request, result)
        except Exception as error:
            seconds = perf_counter() - started
            if not self._may_go_on(decision, request, error, CallRecord(decision, seconds, error) if watched else None):
                raise
            return error, None
        except BaseException:
            self.breakers.undecided(kernel, device)
            raise
        self.breakers.succeeded(kernel, device)
        if watched:
            self._tell(CallRecord(decision, perf_counter() - started))
        return None, result

    def add_sink(self, sink: Sink) -> None:
        """Tell a sink of every call from now on."""
        with self._changing_sinks:
            self.sinks = (*self.sinks, sink)

    def remove_sink(self, sink: Sink) -> None:
        """Tell it no more; nothing happens where it was not told."""
        with self._changing_sinks:
            self.sinks = tuple(one for one in self.sinks if one != sink)

    def _tell(self, record: CallRecord) -> None:
        records = RECORDS.get()
        if records is not None:
            records.append(record)
        for sink in self.sinks:
            sink(record)

    def _may_go_on(self, decision: Decision, request: Call, error: Exception, record: CallRecord | None = None) -> bool:
        """Whether another kernel may be asked: the kernel failed, not its arguments, the inputs are as they were, and
        the process can still run kernels. Where none may, the failure is counted here."""
        assert decision.kernel is not None
        kernel, device = decision.kernel, _device(decision)
        if isinstance(error, LayerZeroError) and not isinstance(error, NanResultError):
            self.breakers.undecided(kernel, device)
            return False
        error.add_note(f"layerzero: raised by kernel `{kernel}`, chosen for `{decision.scope}`")
        if record is not None:
            self._tell(record)
        in_place = decision.program.kernels[kernel].attributes.get("in_place") is True
        out_of_memory = type(error).__name__ == "OutOfMemoryError"
        if in_place or out_of_memory or request.context.get("graph_capture") is True:
            self.breakers.failed(kernel, device, _said(error))
            return False
        return True

    def _without(self, decision: Decision, failed: Exception) -> Decision:
        """The same decision with the kernel that has just failed infeasible."""
        assert decision.kernel is not None
        returned = isinstance(failed, NanResultError)
        reason = "it returned NaN in this call" if returned else f"it raised {type(failed).__name__} in this call"
        other = _barred(decision.snapshot, {decision.kernel: reason})
        again = other.decide_slowly(decision.scope, decision.values, decision.arms)
        return replace(again, recovered_from=(*decision.recovered_from, decision.kernel))

    def _heeding_breakers(self, decision: Decision, calling: bool) -> Decision:
        """The decision, or another where its kernel's breaker is open: its epoch is not out yet, or a pinned snapshot
        is older than it, or its cool-down is over and this call is not the one that tries."""
        kernel, device = decision.kernel, _device(decision)
        assert kernel is not None
        if not self.breakers.is_open(kernel, device) or (calling and self.breakers.may_try(kernel, device)):
            return decision
        other = _barred(decision.snapshot, self.breakers.open)
        return other.decide_slowly(decision.scope, decision.values, decision.arms)

    def warn_degraded(self, decision: Decision) -> None:
        """Say once for each policy, operation and kernel that nothing better was left."""
        if self._said.first(("degraded", decision.policy.digest, decision.scope.operation, decision.kernel)):
            why = f"`{decision.recovered_from[-1]}` failed" if decision.recovered_from else "nothing else was left"
            log.warning(
                "`%s` is served by `%s`, degraded: %s (lz.explain tells why)",
                decision.scope.operation,
                decision.kernel,
                why,
            )


def _device(decision: Decision) -> str:
    return str(decision.values.get("device", ""))


def _said(error: Exception) -> str:
    """The exception in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _barred(snapshot: Snapshot, reasons: Mapping[str, str]) -> Snapshot:
    """The snapshot with some kernels' breakers open, for the interpreter: it is not compiled."""
    environment = snapshot.environment
    environment = replace(environment, open_breakers={**environment.open_breakers, **reasons})
    return Snapshot(snapshot.vocabulary, environment, lambda: snapshot.program, (), snapshot.epoch, snapshot.own_texts)


def no_kernel(decision: Decision) -> NoKernelError:
    """The exception for a decision without a kernel, with the proof in its message."""
    failure = decision.proof.error
    message = failure.message if failure is not None else "no kernel"
    return NoKernelError(f"{message}\n{decision.explain()}", decision)

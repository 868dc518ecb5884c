"""`lz.trace()`: what ran, call by call. Costs one look at a context variable when nobody listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from layerzero.runtime.decision import Decision


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call: what was decided, how long the kernel's function took on the host (`seconds`), and what it raised."""

    decision: Decision
    seconds: float
    error: Exception | None = None

    @property
    def operation(self) -> str:
        return self.decision.scope.operation

    @property
    def views(self) -> tuple[str, ...]:
        """The views of the operation that the call was in: ("causal", "prefill")."""
        return self.decision.proof.views

    @property
    def kernel(self) -> str | None:
        return self.decision.kernel

    @property
    def degraded(self) -> bool:
        return self.decision.degraded


RECORDS: ContextVar[list[CallRecord] | None] = ContextVar("layerzero_trace", default=None)


@contextmanager
def trace() -> Iterator[list[CallRecord]]:
    """Collect a record of every `lz.*` call made inside, in this thread or task."""
    records: list[CallRecord] = []
    token = RECORDS.set(records)
    try:
        yield records
    finally:
        RECORDS.reset(token)

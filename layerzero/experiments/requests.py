"""`lz.request`: what happens between entering and leaving a block -> one Outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from time import perf_counter
from types import TracebackType
from typing import Any

from layerzero.errors import ArgumentError
from layerzero.experiments.trial import Outcome
from layerzero.runtime import ambient
from layerzero.runtime.engine import Engine
from layerzero.runtime.snapshot import Snapshot


class Request:
    """One request: `with lz.request(request_id="r-1") as r: ...`

    It keeps the policy that it began with, adds its fields to every decision inside, measures its latency, and is an
    error if an exception leaves it or a kernel raised in it. A request that is cancelled (an exception that is no
    `Exception`) does not count. Use it once.
    """

    def __init__(
        self,
        engine: Engine,
        take: Callable[[Outcome], None],
        listen: Callable[[], None],
        fields: Mapping[str, Any],
    ) -> None:
        self._engine = engine
        self._take = take
        self._listen = listen
        self._fields = fields
        self._inside = ExitStack()
        self._snapshot: Snapshot | None = None
        self._read: tuple[Mapping[str, Any], Mapping[str, str]] = ({}, {})
        self._began = 0.0
        self._latency: float | None = None
        self._error: bool | None = None
        self._nan = False
        self._metrics: dict[str, float] = {}
        # Set by kernel calls inside, perhaps of several threads; only ever to True.
        self._kernel_failed = False
        self._degraded = False

    @property
    def arms(self) -> Mapping[str, str]:
        """The arm of each experiment that the request is in."""
        return self._read[1]

    def outcome(
        self,
        *,
        latency_ms: float | None = None,
        error: bool | None = None,
        nan: bool | None = None,
        **metrics: float,
    ) -> None:
        """Say how the request went, where that is not what the block shows; later calls override earlier ones.

        Args:
            latency_ms: Instead of the time that the block took.
            error: Instead of whether an exception left the block or a kernel raised.
            nan: Whether the result held NaN: for guards on `nan_rate`.
            metrics: Numbers of your own, such as `tokens=128`; `lz.experiment_status()` shows their means.

        Raises:
            ArgumentError: A number is none.
        """
        if latency_ms is not None:
            self._latency = checked("latency_ms", latency_ms, least=0.0)
        if error is not None:
            self._error = bool(error)
        if nan is not None:
            self._nan = bool(nan)
        self._metrics.update({name: checked(name, number) for name, number in metrics.items()})

    def saw(self, failed: bool, degraded: bool) -> None:
        """A kernel was called inside."""
        self._kernel_failed |= failed
        self._degraded |= degraded

    def __enter__(self) -> Request:
        with ExitStack() as entering:
            self._snapshot = entering.enter_context(self._engine.pin())
            around = entering.enter_context(ambient.context(self._fields))
            self._read = around.read(self._snapshot)
            token = _REQUEST.set(self)
            entering.callback(_REQUEST.reset, token)
            self._inside = entering.pop_all()
        if self._read[1]:
            self._listen()  # also where the policy is one of `lz.using`
        self._began = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        took = (perf_counter() - self._began) * 1e3
        self._inside.close()
        snapshot = self._snapshot
        assert snapshot is not None
        cancelled = error is not None and not isinstance(error, Exception)
        if cancelled or not snapshot.vocabulary.experiments:
            return
        values, arms = self._read
        if arms or snapshot.environment.stopped_arms:
            failed = error is not None or self._kernel_failed
            self._take(
                Outcome(
                    snapshot,
                    values,
                    arms,
                    latency_ms=took if self._latency is None else self._latency,
                    error=failed if self._error is None else self._error,
                    degraded=self._degraded,
                    nan=self._nan,
                    metrics=self._metrics,
                )
            )


_REQUEST: ContextVar[Request | None] = ContextVar("layerzero_request", default=None)


def current_request() -> Request | None:
    """The innermost request around this place."""
    return _REQUEST.get()


def checked(name: str, number: object, least: float = -math.inf) -> float:
    """A finite number that a caller gave."""
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number) or number < least:
        wanted = "a finite number" if least == -math.inf else f"a finite number of at least {least:g}"
        raise ArgumentError(f"argument `{name}`: wanted {wanted}, given {number!r}")
    return float(number)

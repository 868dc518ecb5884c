"""Versions of a policy that were refused -> each distinct failure told once, until one is put in force."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

from layerzero.errors import PolicyError
from layerzero.runtime.engine import Engine
from layerzero.runtime.failures import Failure
from layerzero.syntax.diagnostics import Diagnostic

log = logging.getLogger("layerzero")

MOST_FAILURES = 64  # that are remembered, to be told once


class Refusals:
    """What went wrong with the policy at one place. One thread calls it, but for reading `failure`.

    Attributes:
        failure: Why the last good policy is in force instead of what is there; None while that is good.
    """

    def __init__(self, engine: Engine, path: str, on_failure: Callable[[Failure], None] | None) -> None:
        self.failure: Failure | None = None
        self._engine = engine
        self._path = path
        self._on_failure = on_failure
        self._known: dict[str, Failure] = {}  # since the last success, by message
        self._untold: list[Failure] = []

    def succeeded(self) -> None:
        self.failure = None
        self._known.clear()

    def failed(self, error: Exception, candidate: str) -> None:
        """Keep what went wrong; `tell` tells of it. See Failure for `candidate`."""
        message = str(error) or type(error).__name__
        known = self._known.get(message)
        self.failure = known or Failure(
            path=self._path,
            message=message,
            diagnostics=cast("tuple[Diagnostic, ...]", error.diagnostics) if isinstance(error, PolicyError) else (),
            candidate=candidate,
            first=datetime.now(UTC),
            in_force=self._engine.status().digest,
        )
        if known is not None:
            return
        while len(self._known) >= MOST_FAILURES:
            del self._known[next(iter(self._known))]
        self._known[message] = self.failure
        log.error("%s is not in force, policy %s stays: %s", self._path, self.failure.in_force[:12], message)
        self._untold.append(self.failure)

    def tell(self) -> None:
        """Call those who want to know; without a lock, for they may configure another policy."""
        while self._untold:
            failure = self._untold.pop(0)
            for tell in (self._engine.policy_failed, self._on_failure):
                try:
                    if tell is not None:
                        tell(failure)
                except Exception:
                    log.exception("telling of a policy that failed")

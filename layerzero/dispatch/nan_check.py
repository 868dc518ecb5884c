"""A sample of results -> an error where a kernel returned NaN and the reference, on the same inputs, returns none.

Opt-in, because looking waits for the device: `lz.configure_breakers(nan_rate=0.001)`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from layerzero.errors import KernelCallError
from layerzero.operations.call import Call
from layerzero.runtime.decision import Decision

log = logging.getLogger("layerzero")


class NanResultError(KernelCallError):
    """A kernel returned NaN where the reference does not."""


class NanCheck:
    """Looks at the result of every `every`-th call.

    Args:
        every: 1 looks at all of them.
        adapter: Gives the function of the kernel that a decision names.
    """

    def __init__(self, every: int, adapter: Callable[[Decision], Callable[..., Any]]) -> None:
        self._every = every
        self._adapter = adapter
        self._calls = itertools.count(1)  # taking the next number is one step for all threads

    @classmethod
    def of(cls, rate: float, adapter: Callable[[Decision], Callable[..., Any]]) -> NanCheck | None:
        """The check for a share of calls; None for a share of 0."""
        return cls(max(round(1 / rate), 1), adapter) if rate else None

    def look(self, decision: Decision, request: Call, result: Any) -> None:
        """
        Raises:
            NanResultError: The result holds NaN, that of the reference does not.
        """
        if next(self._calls) % self._every or request.context.get("graph_capture") is True or not holds_nan(result):
            return
        reference = self._reference(decision)
        if reference is None:
            return
        try:
            expected = self._adapter(reference)(*request.args, **request.kwargs)
        except Exception:
            log.exception("`%s` cannot say whether NaN is right for `%s`", reference.kernel, decision.kernel)
            return
        if not holds_nan(expected):
            raise NanResultError(f"`{decision.kernel}` returned NaN where `{reference.kernel}` has none")

    def _reference(self, decision: Decision) -> Decision | None:
        """The decision for the operation's last fallback that can serve the call: the plain implementation."""
        program = decision.program
        assert decision.kernel is not None
        if program.kernels[decision.kernel].attributes.get("in_place") is True:
            return None  # its inputs are no longer those of the call
        verdicts = decision.proof.verdicts
        for name in reversed(program.operations[decision.scope.operation].fallback):
            if name != decision.kernel and name in verdicts and verdicts[name].stage != "infeasible":
                return replace(decision, outcome=replace(decision.outcome, kernel=name))
        return None


def holds_nan(result: Any) -> bool:
    """Whether a number, a tensor of floats, or one in a tuple or list is NaN."""
    if isinstance(result, float):
        return result != result
    if isinstance(result, tuple | list):
        return any(map(holds_nan, result))
    floating = getattr(result, "is_floating_point", None)
    return floating is not None and bool(floating()) and bool(result.float().isnan().any())

"""What all ranks say under one name -> one outcome, the same on all.

The outcome is one entry of the store, which the first writer sets. The leader writes whether all agree; a rank that
hears nothing for too long writes that they do not. So nobody guesses: it has ended the matter, or reads how it ended.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from layerzero.distributed.board import PAUSE, Board, spelt
from layerzero.distributed.report import Report, differences, listed

log = logging.getLogger("layerzero")


@dataclass(frozen=True, slots=True)
class Outcome:
    """`reason` is why nothing changes on any rank, empty where it does: at the step `at`, where one is meant. `swaps`
    are those that were decided before."""

    reason: str
    at: int = 0
    swaps: int = 0

    @property
    def commit(self) -> bool:
        return not self.reason


class Agreement:
    """How the ranks of one board come to outcomes; each waits at most `timeout` seconds for the others."""

    def __init__(self, board: Board, timeout: float) -> None:
        self.board, self.timeout = board, timeout

    def say(self, key: str, report: Report) -> None:
        """This rank's report under a name."""
        self.board.post(f"{key}/{self.board.rank}", report)

    def objection(self, key: str, what: str) -> str:
        """Why the reports under a name do not agree, empty where they do; for the leader."""
        reports, silent = self.board.gather(key, self.timeout)
        errors, said = differences(reports)
        if said:
            log.warning("ranks differ in what they found out while serving:%s", listed(said))
        if not silent and not errors:
            return ""
        why = f" {silent}" if silent else listed(errors)
        return f"the ranks do not agree on the {what}, and nothing has changed on any:{why}"

    def settle(self, key: str, outcome: Outcome) -> Outcome:
        """Write the outcome, if nobody has; what holds."""
        return Outcome(**self.board.settle(f"{key}/outcome", asdict(outcome)))

    def settled(self, key: str) -> Outcome | None:
        """The outcome, if there is one yet."""
        found = self.board.settled(f"{key}/outcome")
        return None if found is None else Outcome(**found)

    def wait(self, key: str, meanwhile: Callable[[], bool] = bool) -> Outcome:
        """The leader's outcome, or that the leader is silent; for the others.

        Args:
            meanwhile: What to look after while waiting; True where the leader has been heard.
        """
        longest = 2 * self.timeout  # the leader itself may wait for somebody
        until = time.monotonic() + longest
        leads = self.board.ranks[0]
        while True:
            outcome = self.settled(key)
            if outcome is not None:
                return outcome
            if meanwhile():
                until = time.monotonic() + longest
            elif self.board.ended(leads):
                return self.settle(key, Outcome(f"the process of {spelt([leads])}, which leads, has ended"))
            elif time.monotonic() > until:
                return self.settle(key, Outcome(f"{spelt([leads])}, which leads, did not decide within {longest:g} s"))
            else:
                time.sleep(PAUSE)

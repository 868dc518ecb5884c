"""A policy that is ready on the leader -> the same policy in force on all ranks, from one step of their loops on.

| | the leader | every rank, the leader too |
|---|---|---|
| prepare | sends the texts of the policy | reads and compiles them, and says what it would decide by |
| agree | compares; whoever differs or is silent ends it | |
| promise | names a step that no loop has reached | says whether its own loop is before it |
| commit | decides, if all have promised | swaps when its loop gets to that step |
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date

from layerzero.check.program import Layer, Text
from layerzero.distributed.agreement import Agreement, Outcome
from layerzero.distributed.board import Json, spelt
from layerzero.distributed.report import Report
from layerzero.distributed.steps import Steps, Swap
from layerzero.errors import LayerZeroError, RanksError
from layerzero.runtime.building import Material
from layerzero.runtime.engine import Candidate, Engine
from layerzero.runtime.worker_data import material_data, material_from

log = logging.getLogger("layerzero")

PATIENCE = 1.0  # seconds that a loop waits at the step of a swap to hear what came of it
_AHEAD = (2, 16, 128, 1024)  # how far from the fastest loop a step is promised, one attempt after the other
_IDLE = 0.05  # seconds between two looks for a new swap


class Swapping:
    """The swaps of one rank. The leader calls `lead`, the others run `follow`, the loops of all call `step`.

    Attributes:
        number: Of the last swap that was decided.
        failure: Why it came to nothing, None where it did not.
    """

    def __init__(self, engine: Engine, agreement: Agreement, report: Callable[[Candidate], Report]) -> None:
        self.number = 0
        self.failure: str | None = None
        self.steps = Steps()
        self.leading = threading.RLock()
        self.closed = threading.Event()
        self._engine, self._agreement, self._board, self._report = engine, agreement, agreement.board, report

    # ------------------------------------------------------------ the loop

    def step(self) -> int:
        """Begin a step: its number. What waits for it is put in force.

        Raises:
            RanksError: What came of a swap cannot be known.
        """
        number, due = self.steps.advance()
        for swap in due:
            self._take(number, swap)
        return number

    def _take(self, step: int, swap: Swap) -> None:
        if not swap.wait(step, PATIENCE):
            reason = f"{spelt([self._board.rank])} was at step {step} and heard nothing for {PATIENCE:g} s"
            try:
                swap.settle(self._agreement.settle(f"swap/{swap.number}", Outcome(reason)))
            except RanksError as error:
                self.steps.arm(swap, step + 1)  # the next step is no better
                raise RanksError(f"it is not known whether the ranks swapped at step {step}: {error}") from error
        if swap.outcome is not None and swap.outcome.commit:
            self.commit(swap.candidate)

    def commit(self, candidate: Candidate) -> None:
        """Put a policy in force that all ranks have agreed on."""
        between = self._engine.commit(candidate)
        identity = candidate.snapshot.identity
        log.info("policy `%s` (%s) is in force on all ranks", identity.name, identity.digest[:12])
        if between is not None:
            # Perhaps a breaker opened between the promise and the step: no loop waits until that is compiled in, and
            # calls heed it meanwhile.
            resume = threading.Thread(target=self._engine.resume, args=(candidate, between), daemon=True)
            resume.start()

    # ------------------------------------------------------------ the leader

    def lead(self, candidate: Candidate) -> int:
        """Have a policy swapped in on all ranks: the step at which they do.

        Raises:
            RanksError: A rank cannot, differs or is silent; the policy before stays on all.
        """
        with self.leading:
            number = self.number + 1
            key, swap = f"swap/{number}", Swap(number, candidate)
            self._board.post(f"{key}/proposal", proposal_of(candidate))
            self._agreement.say(key, self._report(candidate))
            reason, at = self._agreement.objection(key, "policy"), 0
            if not reason:
                reason, at = self._promised(key, swap)
            outcome = self._agreement.settle(key, Outcome(reason, at, self.number))
            self._decided(number, swap, outcome)
            self._board.forget(f"swap/{number - 1}/{name}" for name in self._entries())
            if not outcome.commit:
                raise RanksError(outcome.reason)
            return at

    def _promised(self, key: str, swap: Swap) -> tuple[str, int]:
        """A step that every loop has promised, or why there is none."""
        fastest, at, stays = self.steps.number, 0, "the policy before stays in force on all ranks"
        for attempt, ahead in enumerate(_AHEAD):
            at = fastest + ahead
            self._board.post(f"{key}/step/{attempt}", {"at": at})
            self._vote(key, attempt, swap, at)
            votes, silent = self._board.gather(f"{key}/vote/{attempt}", self._agreement.timeout)
            if silent:
                return f"{stays}: {silent}", 0
            if all(vote["early"] for vote in votes.values()):
                return "", at
            fastest = max(vote["step"] for vote in votes.values())
        return f"{stays}: a loop passed step {at} before all had promised it", 0

    def _entries(self) -> Iterator[str]:
        """What the board holds of one swap."""
        yield from ("proposal", "outcome", *map(str, self._board.ranks))
        for attempt in range(len(_AHEAD)):
            yield f"step/{attempt}"
            yield from (f"vote/{attempt}/{rank}" for rank in self._board.ranks)

    # ------------------------------------------------------------ the others

    def follow(self) -> None:
        """Take part in every swap, until `closed`."""
        pause = _IDLE + len(self._board.ranks) / 4000  # a thousand ranks ask one store
        try:
            while not self.closed.wait(pause):
                proposal = self._board.read(f"swap/{self.number + 1}/proposal")
                if proposal is not None:
                    self._take_part(self.number + 1, proposal)
        except RanksError as error:
            self.failure = f"no swap reaches this rank any more: {error}"
            log.error("%s: %s; the policy in force stays", spelt([self._board.rank]), self.failure)

    def _take_part(self, number: int, proposal: Json) -> None:
        key, swap, attempt = f"swap/{number}", None, 0
        try:
            material = material_from(proposal["material"], os.getcwd())
            swap = Swap(number, self._engine.prepare(material, date.fromordinal(proposal["day"])))
            report = self._report(swap.candidate)
        except (LayerZeroError, OSError) as error:
            report = {"error": str(error)}
        except Exception as error:
            log.exception("preparing a policy")
            report = {"error": f"{type(error).__name__}: {error}"}  # the other ranks wait to hear of it
        self._agreement.say(key, report)

        def promise() -> bool:
            nonlocal attempt
            asked = None if swap is None else self._board.read(f"{key}/step/{attempt}")
            if swap is None or asked is None:
                return False
            self._vote(key, attempt, swap, asked["at"])
            attempt += 1
            return True

        outcome = self._agreement.wait(key, promise)
        if not outcome.commit:
            log.error("%s: a swap came to nothing: %s", spelt([self._board.rank]), outcome.reason)
        self._decided(number, swap, outcome)

    def _vote(self, key: str, attempt: int, swap: Swap, at: int) -> None:
        """Promise a step, with everything ready for what is in force on this rank by now."""
        swap.candidate = self._engine.renew(swap.candidate)
        early = self.steps.arm(swap, at)
        vote = {"early": early, "step": self.steps.number}
        self._board.post(f"{key}/vote/{attempt}/{self._board.rank}", vote)

    def _decided(self, number: int, swap: Swap | None, outcome: Outcome) -> None:
        self.number = number
        self.failure = outcome.reason or None
        if swap is not None:
            swap.settle(outcome)


def proposal_of(candidate: Candidate) -> Json:
    """What other ranks are to prepare: the policy's own texts, on the leader's day. Words, facts and rules of calls are
    their own."""
    loaded, day = candidate.inputs.loaded, candidate.inputs.day
    assert day is not None
    material = kept(Material().of_policy(loaded.material), loaded.all_texts)
    return {"material": material_data(material), "day": day.toordinal()}


def kept(material: Material, texts: Sequence[Text]) -> Material:
    """A policy as texts that were read, in place of files that may be others by now."""
    own = tuple(text.source for text in texts if text.layer is Layer.POLICY)
    return material if material.text is not None else replace(material, path=None, kept=own)

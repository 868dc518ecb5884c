"""One rank's part in its group: what `lz.join_ranks` returns."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from layerzero.check.expressions import Value
from layerzero.dispatch.warmup import Warmth, WarmupReport
from layerzero.distributed.agreement import Agreement, Outcome
from layerzero.distributed.board import Board
from layerzero.distributed.report import Report, report_of
from layerzero.distributed.swapping import Swapping, kept
from layerzero.errors import ArgumentError, LayerZeroError, RanksError
from layerzero.operations.device import set_place
from layerzero.operations.tensors import check_count, check_number
from layerzero.runtime.building import Loaded, Material
from layerzero.runtime.engine import Candidate, Engine
from layerzero.runtime.live import Live
from layerzero.runtime.policy import Policy
from layerzero.runtime.watcher import Watcher
from layerzero.runtime.worker import shared_worker

log = logging.getLogger("layerzero")

_OPEN: set[Ranks] = set()  # of this process; those that `lz.join_ranks` made


@dataclass(frozen=True, slots=True)
class RanksStatus:
    """Where one rank stands. `swaps` counts those that were decided; `failure` is why the last came to nothing."""

    rank: int
    ranks: tuple[int, ...]
    step: int
    swaps: int
    policy: str
    digest: str
    failure: str | None


class Ranks:
    """One rank of a group. The policy is changed through this alone: `lz.configure` changes it on one rank."""

    def __init__(
        self, engine: Engine, live: Live, warmth: Warmth, board: Board, place: Mapping[str, Value], timeout: float
    ) -> None:
        self._engine, self._live, self._warmth, self._board = engine, live, warmth, board
        self._place, self._timeout = dict(place), timeout
        self._agreement = Agreement(board, timeout)
        self._swapping = Swapping(engine, self._agreement, self._report)
        self._agreed = False  # whether all ranks have had a policy in common
        self._calls = 0  # of what every rank calls: the name of each such call
        self._watcher: Watcher | None = None
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ every rank calls these, in the same order

    def configure(self, policy: str | Path | Policy | None, watch: bool = False) -> Policy:
        """Put a policy in force on all ranks, or on none. Every rank reads its own copy, and all are compared.

        Args:
            policy: As in `lz.configure`.
            watch: The leader follows its files from now on, and each good version is swapped in on all ranks.

        Raises:
            RanksError: The ranks differ in policy, packages, devices or decisions, or one has errors or is silent.
        """
        path = Path(policy).absolute() if isinstance(policy, str | Path) else None
        if watch and path is None:
            raise ArgumentError("argument `watch` wants the path of a policy")
        with nullcontext() if self._watcher is None else self._watcher.paused():
            candidate = self._configure(policy)
            self._stop_watching()
            self._live.stop()
        self._engine.say_warnings(candidate.inputs.loaded)
        if not self._board.leads and self._thread is None:
            self._thread = threading.Thread(target=self._swapping.follow, name="layerzero-ranks", daemon=True)
            self._thread.start()
        if self._board.leads:
            self._engine.on_new_day = self._new_day
        if self._board.leads and watch and path is not None:
            self._watcher = Watcher(self._engine, Material(path=path), replace_policy=self._replace_policy)
            self._engine.watching = self._watcher.status
            self._watcher.start()
        return candidate.policy

    def warmup(self, warm: Callable[[], WarmupReport]) -> WarmupReport:
        """Warm up on every rank, then compare what the ranks decide for all that was planned:
        `ranks.warmup(lambda: lz.warmup("attention.causal", shapes))`

        Raises:
            RanksError: They differ, a kernel is not ready on one of them, or one is silent.
        """
        done, cause = None, None
        try:
            done = warm()
            report = self._report(None)
            report["facts"][f"warm-up of {done.plan.operation}"] = "ready"
            if not done.ok:
                report = {"error": str(done)}
        except LayerZeroError as error:
            cause, report = error, {"error": str(error)}
        self._agree("warm-up", report, cause)
        assert done is not None
        return done

    def compare(self) -> None:
        """Compare policy, packages, devices and decisions for planned calls of all ranks.

        Raises:
            RanksError: They differ, or one is silent.
        """
        self._agree("policy in force", self._report(None))

    def step(self) -> int:
        """Begin the next step of the loop: its number, 1 for the first. A policy that waits for it is put in force.

        Raises:
            RanksError: It cannot be known whether the other ranks swapped at this step, because the store of the group
                is gone; this rank must not go on.
        """
        return self._swapping.step()

    # ------------------------------------------------------------ the leader calls this, from any thread

    def swap(self, policy: str | Path | Policy | None) -> int:
        """Put another policy in force on all ranks, at one step of their loops: that step. It returns once all have
        promised the step, which may be before they get there.

        Raises:
            ArgumentError: This rank does not lead, or no policy was agreed on before.
            PolicyError: The policy has errors.
            RanksError: Another rank cannot, differs or is silent; the policy before stays on all.
        """
        if not self._board.leads:
            raise ArgumentError(f"rank {self._board.ranks[0]} leads this group: swaps begin there")
        if not self._agreed:
            raise ArgumentError("a swap wants a policy that all ranks have agreed on: call `configure` on every rank")
        return self._swapping.lead(self._engine.prepare(_material(policy), self._engine.today()))

    def status(self) -> RanksStatus:
        """Where this rank stands."""
        identity, swaps = self._engine.current().identity, self._swapping
        own = (self._board.rank, self._board.ranks, swaps.steps.number, swaps.number)
        return RanksStatus(*own, identity.name, identity.digest, swaps.failure)

    def close(self) -> None:
        """Leave the group: no swap succeeds in it any more, and the policy in force stays."""
        if self._swapping.closed.is_set():
            return
        self._swapping.closed.set()
        self._stop_watching()
        set_place({})
        self._engine.on_new_day = None
        self._engine.change(lambda inputs: replace(inputs, day=None))
        _OPEN.discard(self)
        try:
            self._board.leave()
        except RanksError as error:
            log.info("leaving the ranks: %s", error)
        if self._thread is not None:
            self._thread.join(self._timeout)

    # ------------------------------------------------------------ parts

    def _configure(self, policy: str | Path | Policy | None) -> Candidate:
        candidate, cause = None, None
        before, self._engine.builder = self._engine.builder, shared_worker()  # swaps compile beside the loop
        try:
            try:
                candidate = self._engine.prepare(_material(policy), self._engine.today())
                report = self._report(candidate)
            except (LayerZeroError, OSError) as error:
                cause, report = error, {"error": str(error)}
            with self._swapping.leading:
                outcome = self._agree("policy", report, cause)
                assert candidate is not None
                self._swapping.steps.drop(outcome.swaps)
                self._swapping.commit(candidate)
        except BaseException:
            self._engine.builder = before
            raise
        self._agreed = True
        return candidate

    def _agree(self, what: str, report: Report, cause: Exception | None = None) -> Outcome:
        """One comparison that every rank takes part in.

        Raises:
            RanksError: They do not agree, on all ranks.
        """
        self._calls += 1
        key = f"call/{self._calls}"
        self._agreement.say(key, report)
        if self._board.leads:
            with self._swapping.leading:
                reason = self._agreement.objection(key, what)
                outcome = self._agreement.settle(key, Outcome(reason, swaps=self._swapping.number))
        else:
            outcome = self._agreement.wait(key)
        if not outcome.commit:
            raise RanksError(outcome.reason) from cause
        return outcome

    def _report(self, candidate: Candidate | None) -> Report:
        snapshot = self._engine.current() if candidate is None else candidate.snapshot
        return report_of(snapshot, self._place, list(self._warmth.plans.values()))

    def _replace_policy(self, material: Material, accept: Callable[[Loaded], bool]) -> Policy | None:
        """What the watcher does with another version of its files, in place of a swap on this rank alone."""
        candidate = self._engine.prepare(material, self._engine.today())
        if not accept(candidate.inputs.loaded):
            return None
        if candidate.snapshot.identity.digest != self._engine.current().identity.digest:
            self._swapping.lead(candidate)
        return candidate.policy

    def _new_day(self) -> None:
        """A rule ends at midnight by the leader's clock, on all ranks at one step."""

        def swap() -> None:
            try:
                self._swapping.lead(self._engine.on_day(self._engine.today()))
            except RanksError as error:
                log.error("the ranks stay on the day before, and try again within a minute: %s", error)

        threading.Thread(target=swap, name="layerzero-ranks-day", daemon=True).start()

    def _stop_watching(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            self._engine.watching = None
            watcher.stop()


def join(
    engine: Engine, live: Live, warmth: Warmth, group: Any, sizes: Mapping[str, int | None], timeout: float
) -> Ranks:
    """Take part in a group; see lz.join_ranks.

    Raises:
        ArgumentError: torch.distributed is not initialised, this process is not in the group, or a size is none.
        RanksError: The store of the group does not answer.
    """
    import torch.distributed as dist

    if not getattr(dist, "is_initialized", bool)():
        raise ArgumentError("torch.distributed is not initialised: call `init_process_group` before `join_ranks`")
    if _OPEN:
        raise ArgumentError("this process has joined ranks already: it serves by one policy, so close that first")
    check_number("timeout", timeout, "seconds, from 0.1 to an hour", 0.1, 3600)
    place: dict[str, Value] = {name: size for name, size in sizes.items() if size is not None}
    for name, size in place.items():
        check_count(name, size, "how many ranks, at least 1")
    own: Any = dist.group.WORLD if group is None else group
    if dist.get_rank(own) < 0:
        raise ArgumentError("argument `group`: this process is not in the group")
    place["rank"] = dist.get_rank()
    board = Board(own.get_group_store(), dist.get_rank(), dist.get_process_group_ranks(own))
    set_place(place)
    engine.refresh()
    ranks = Ranks(engine, live, warmth, board, place, timeout)
    _OPEN.add(ranks)
    return ranks


def _material(policy: str | Path | Policy | None) -> Material:
    """The policy as it is to be read; of a loaded one, the texts that it was loaded from."""
    if not isinstance(policy, Policy):
        return Material(path=None if policy is None else Path(policy))
    if policy.origin is None:
        raise ArgumentError("this policy has no file or text that could be sent to other ranks")
    return kept(policy.origin, policy.snapshot.texts)

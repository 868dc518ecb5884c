"""Follows a source: fetch, verify, choose, put in force, report; in a thread of its own, so that calls never wait.

A release that is refused changes nothing, and neither does a source that is away: what is in force stays, and at a
start the last good bundle that was kept on disk is put in force. A candidate that this node cannot activate, or under
which a breaker opens or calls fail more often than before, is taken back here and held for everybody else.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from layerzero.fleet.bundle import Bundle
from layerzero.fleet.errors_risen import FailureCounts
from layerzero.fleet.kept import KeptBundles
from layerzero.fleet.keys import Trust
from layerzero.fleet.node import Node
from layerzero.fleet.source import Hold, Source, SourceError, open_source, shown
from layerzero.fleet.status import FleetStatus, Running, report_bytes, report_of
from layerzero.runtime.engine import Engine
from layerzero.runtime.failures import Failure
from layerzero.runtime.policy import Policy
from layerzero.runtime.refusals import Refusals
from layerzero.runtime.snapshot import Snapshot

log = logging.getLogger("layerzero")

LONGEST_POLL = 30.0  # seconds that a source may keep a question while nothing changes
ROLLOUT_POLL = 5.0  # the same while there is a candidate, whose hold has to be noticed
HEARTBEAT = 30.0  # seconds between two reports that say the same
LONGEST_PAUSE = 30.0  # seconds between two tries of a source that is away

_FOLLOWERS: weakref.WeakSet[Follower] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Options:
    """How a node follows its source.

    Attributes:
        node: Its name; one that stays the same keeps it in the same share.
        interval: Seconds between two questions to a source that answers at once.
        reports: Whether it reports, and holds a candidate that fails here; an onlooker does not.
    """

    node: str
    interval: float = 1.0
    reports: bool = True
    poll: float = LONGEST_POLL


class Follower:
    """Implements runtime.live.Following."""

    def __init__(
        self,
        engine: Engine,
        url: str,
        trusted: Callable[[], Trust],
        options: Options,
        keep: KeptBundles | None = None,
        failures: FailureCounts | None = None,
        on_failure: Callable[[Failure], None] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._url = url
        self._options = options
        self._keep = keep
        self._failures = failures
        self._clock = clock
        self._refusals = Refusals(engine, shown(url), on_failure)
        self._node = Node(engine, options.node, trusted, keep, clock, lambda: not self._ended.is_set())
        self._mark: str | None = None
        self._how = "not reached yet"
        self._away: SourceError | None = None
        self._reached: datetime | None = None
        self._reporting: str | None = None
        self._reported: tuple[Mapping[str, Any], float] = {}, 0.0
        self._prepare()

    def _prepare(self) -> None:
        self._busy = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ from outside

    def first(self) -> Policy:
        """Put the bundle that this node has to run in force, here and now; where the source is away or what it has is
        refused, the one that was kept.

        Raises:
            SourceError: The source is away, and no bundle is kept.
            PolicyError: What it has is refused, and no bundle is kept.
        """
        self._node.begin()
        with closing(open_source(self._url)) as source:
            try:
                self._look(source, 0.0)
            except SourceError as error:
                self._away = error
        with self._busy:
            policy = self._node.settle()
        problem = self._away or self._node.problem()
        if policy is None and problem is not None:
            raise problem
        assert policy is not None, "nothing is in force, and nothing is wrong"
        self._judge()
        return policy

    def failed_at_start(self, error: Exception) -> None:
        """`first` raised; what it found is followed all the same, until it is good."""
        self._judge()

    def start(self) -> None:
        """Begin to follow the source."""
        self._engine.listeners.append(self._in_force)
        _FOLLOWERS.add(self)
        self._begin()

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="layerzero-fleet", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Begin nothing new; `stop` waits for what has begun."""
        _FOLLOWERS.discard(self)
        self._ended.set()

    def stop(self) -> None:
        """End; what is in force stays. The thread ends once the source has answered, and puts nothing in force."""
        self.end()
        if self._in_force in self._engine.listeners:
            self._engine.listeners.remove(self._in_force)
        with self._busy:
            pass

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is put in force inside."""
        with self._busy:
            yield

    def status(self) -> FleetStatus:
        """See FleetStatus."""
        failure, node, keep = self._refusals.failure, self._node, self._keep
        active, candidate, hold = node.active, node.candidate, node.hold
        return FleetStatus(
            path=shown(self._url),
            state="current" if failure is None else "failed",
            how=self._how,
            candidate="" if candidate is None else candidate.digest,
            failure=failure,
            reloads=max(node.activations - 1, 0),
            last_good=None if keep is None else str(keep.kept.problem or keep.kept.file),
            node=node.name,
            active=None if active is None else Running.of(active, node.name),
            rollout=None if candidate is None else Running.of(candidate, node.name),
            held=None if hold is None else f"{hold.node}: {hold.reason}",
            reached=self._reached,
            reporting=self._reporting,
        )

    def revive(self) -> None:
        """Go on in a forked child, which has none of its parent's threads and must not use its connections."""
        self._engine.after_fork()
        self._prepare()
        self._begin()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        tries = 0
        while not self._ended.is_set():
            try:
                with closing(open_source(self._url)) as source:
                    while not self._ended.is_set():
                        pause = self._round(source)
                        tries = 0
                        self._ended.wait(pause)
                    return
            except SourceError as error:
                self._away = error
            except Exception as error:  # whatever goes wrong, the next look is not lost
                log.exception("following %s", shown(self._url))
                self._away = SourceError(f"{type(error).__name__}: {error}")
            self._judge()
            tries += 1
            pause = min(self._options.interval * 2 ** min(tries, 10), LONGEST_PAUSE)
            self._ended.wait(pause * random.uniform(0.5, 1.0))  # not all nodes at once when the source is back

    def _round(self, source: Source) -> float:
        """Ask once and act on it; the seconds to wait until the next question."""
        began, poll = time.monotonic(), self._options.poll
        self._look(source, min(ROLLOUT_POLL, poll) if self._node.candidate is not None else poll)
        with self._busy:
            if not self._ended.is_set():
                self._node.settle()
        self._count_failures()
        self._hold_what_failed(source)
        self._judge()
        self._report(source)
        return max(self._options.interval - (time.monotonic() - began), 0.0)

    def _look(self, source: Source, wait: float) -> None:
        fetched = source.fetch(self._mark, wait)
        self._away, self._reached = None, self._clock()
        with self._busy:
            self._node.offered(fetched.data)
        self._mark, self._how = fetched.mark, source.how
        candidate = self._node.candidate
        if candidate is None or not self._node.wants_candidate:
            return
        try:
            found = source.held(candidate.digest)
        except SourceError as error:
            self._node.hold_unknown = str(error)
        else:
            with self._busy:
                self._node.told_of_hold(found)

    # ------------------------------------------------------------ what goes wrong

    def _in_force(self, snapshot: Snapshot) -> None:
        """Told of each epoch. A breaker that opens under a candidate takes it back; not in this thread, which publishes
        epochs."""
        active = self._node.on_trial
        if active is None:
            return
        opened = {k: why for k, why in snapshot.environment.open_breakers.items() if k not in self._node.open_before}
        for name, why in sorted(opened.items()):
            reason = f"the breaker of `{name}` opened under {active}: {why}"
            threading.Thread(target=self._take_back, args=(active, reason), daemon=True).start()
            return

    def _take_back(self, bundle: Bundle, reason: str) -> None:
        self._give_up(bundle, reason)
        with closing(open_source(self._url)) as source:
            self._hold_what_failed(source)
        self._judge()

    def _give_up(self, bundle: Bundle, reason: str) -> None:
        with self._busy:
            if not self._ended.is_set():
                self._node.give_up(bundle, reason)

    def _count_failures(self) -> None:
        if self._failures is None:
            return
        active = self._node.on_trial
        if active is None:
            self._failures.under_stable()
        elif (why := self._failures.under_candidate()) is not None:
            self._give_up(active, f"under {active} {why}")

    def _hold_what_failed(self, source: Source) -> None:
        """Have nobody else begin to run a candidate that has failed here."""
        candidate, why = self._node.candidate, self._node.candidate_failure
        if candidate is None or why is None or self._node.hold is not None or not self._options.reports:
            return
        hold = Hold(self._options.node, why)
        with self._telling():
            source.hold(candidate.digest, hold)
            self._node.hold = hold

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """A source that takes no reports or holds still is one to follow: the status shows it, and the log once."""
        try:
            yield
        except SourceError as error:
            if self._reporting is None:
                log.warning("reports do not arrive: %s", error)
            self._reporting = str(error)
        else:
            self._reporting = None

    def _judge(self) -> None:
        """Tell of what is wrong, once."""
        with self._busy:
            problem, candidate = self._away or self._node.problem(), self._node.candidate
            if problem is None:
                self._refusals.succeeded()
            else:
                self._refusals.failed(problem, "" if candidate is None else candidate.digest)
        if not self._ended.is_set():
            self._refusals.tell()

    def _report(self, source: Source) -> None:
        if not self._options.reports:
            return
        engine = self._engine.status()
        report = report_of(self.status(), engine.digest, engine.open_breakers)
        said, at = self._reported
        if said == report and time.monotonic() - at < HEARTBEAT:
            return
        with self._telling():
            source.report(self._options.node, report_bytes(report, self._clock()))
        self._reported = report, time.monotonic()


def _revive_all() -> None:
    for follower in list(_FOLLOWERS):
        follower.revive()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_revive_all)

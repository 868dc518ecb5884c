"""Follows a source: fetch, verify, choose, put in force, report; in a thread of its own, so that calls never wait.

A release that is refused changes nothing, and neither does a source that is away: what is in force stays, and at a
start the last good bundle that was kept on disk is put in force. A candidate that this node cannot activate, or under
which a breaker opens, is taken back here and held for everybody else.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from layerzero.errors import LayerZeroError
from layerzero.fleet.bundle import Bundle, BundleError, open_sealed, split
from layerzero.fleet.kept import KeptBundles
from layerzero.fleet.keys import Trust
from layerzero.fleet.rollout import RolloutState, admit, choose, in_share, release_of
from layerzero.fleet.source import Hold, Source, SourceError, open_source, shown
from layerzero.fleet.status import FleetStatus, Running, report_of
from layerzero.runtime.building import Material
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
LOOK_AGAIN = timedelta(minutes=1)  # at a release that was refused: it may have come before its time

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
        trust: Trust,
        options: Options,
        keep: KeptBundles | None = None,
        on_failure: Callable[[Failure], None] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._url = url
        self._trust = trust
        self._options = options
        self._keep = keep
        self._clock = clock
        self._refusals = Refusals(engine, shown(url), on_failure)
        self._state = RolloutState()
        self._kept: tuple[RolloutState, dict[str, Bundle]] | None = None  # what was kept last
        self._candidate: Bundle | None = None  # of the release
        self._stable: Bundle | None = None  # of the release
        self._good: Bundle | None = None  # the stable bundle that ran last: the one to go back to
        self._active: Bundle | None = None
        self._before: frozenset[str] = frozenset()  # breakers that were open when it was put in force
        self._failed: dict[str, LayerZeroError | OSError] = {}  # digest -> why this node does not run it
        self._mark: str | None = None
        self._release = b""
        self._refused: BundleError | None = None  # of the release
        self._looked = datetime.min.replace(tzinfo=UTC)
        self._away: SourceError | None = None
        self._hold: Hold | None = None  # of the candidate
        self._hold_unknown = ""
        self._reached: datetime | None = None
        self._reporting: str | None = None
        self._reported: tuple[bytes, float] = b"", 0.0
        self._activations = 0
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
        kept: tuple[Bundle, ...] = ()
        if self._keep is not None:
            self._state, kept = self._keep.read(self._trust)
        self._candidate, self._good = release_of(kept)  # until the source has something that is good
        with closing(open_source(self._url)) as source:
            try:
                self._look(source, 0.0)
            except SourceError as error:
                self._away = error
        with self._busy:
            policy = self._settle()
        problem = self._problem()
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
        failure, node, active, candidate = self._refusals.failure, self._options.node, self._active, self._candidate
        return FleetStatus(
            path=shown(self._url),
            state="current" if failure is None else "failed",
            how="signed bundles",
            candidate="" if candidate is None else candidate.digest,
            failure=failure,
            reloads=max(self._activations - 1, 0),
            last_good=None if self._keep is None else str(self._keep.kept.problem or self._keep.kept.file),
            node=node,
            active=None if active is None else Running.of(active, node),
            rollout=None if candidate is None else Running.of(candidate, node),
            held=None if self._hold is None else f"{self._hold.node}: {self._hold.reason}",
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
        began = time.monotonic()
        self._look(source, min(ROLLOUT_POLL, self._options.poll) if self._candidate else self._options.poll)
        with self._busy:
            if not self._ended.is_set():
                self._settle()
        self._hold_what_failed(source)
        self._judge()
        self._report(source)
        return max(self._options.interval - (time.monotonic() - began), 0.0)

    def _look(self, source: Source, wait: float) -> None:
        fetched = source.fetch(self._mark, wait)
        now = self._clock()
        self._away, self._reached = None, now
        with self._busy:
            if fetched.data is not None and fetched.data != self._release:
                self._open(fetched.data, now)
            elif self._refused is not None and now - self._looked > LOOK_AGAIN:
                self._open(self._release, now)
        self._mark = fetched.mark
        if self._candidate is not None and in_share(self._candidate, self._options.node):
            self._ask_for_hold(source, self._candidate.digest)

    def _open(self, release: bytes, now: datetime) -> None:
        """Verify a release. What may not come in is left out; where nothing may, all stays as it is."""
        self._release, self._looked, self._refused = release, now, None
        admitted: list[Bundle] = []
        try:
            for sealed in split(release):
                try:
                    bundle = open_sealed(sealed, self._trust)
                    admit(bundle, self._state, now)
                    admitted.append(bundle)
                except BundleError as error:
                    self._refused = self._refused or error
            candidate, stable = release_of(admitted)
        except BundleError as error:
            self._refused = error
            return
        if not admitted:
            return
        if candidate is None or self._candidate is None or candidate.digest != self._candidate.digest:
            self._hold = None
        self._candidate, self._stable = candidate, stable or self._stable
        known = {one.digest for one in (candidate, self._stable, self._active, self._good) if one is not None}
        self._failed = {digest: why for digest, why in self._failed.items() if digest in known}
        for bundle in admitted:
            self._state = self._state.saw(bundle)

    def _ask_for_hold(self, source: Source, digest: str) -> None:
        try:
            found, self._hold_unknown = source.held(digest), ""
        except SourceError as error:
            self._hold_unknown = str(error)  # as long as nobody knows, nobody begins
            return
        with self._busy:
            if found is None and self._hold is not None:
                self._failed.pop(digest, None)  # somebody has resumed it: this node may try again as well
            self._hold = found

    def _settle(self) -> Policy | None:
        """Put the bundle in force that this node has to run; None where it runs already, or there is none."""
        while True:
            known = [one for one in (self._candidate, self._stable, self._good) if one is not None]
            candidate = "" if self._candidate is None else self._candidate.digest
            held = {candidate} if self._hold is not None or self._hold_unknown else ()
            running = "" if self._active is None else self._active.digest
            chosen = choose(known, self._options.node, self._failed, held, running)
            if chosen is None or chosen.digest == running:
                if chosen is not None:  # the same policy, perhaps for more nodes by now
                    self._active, self._good = chosen, chosen if chosen.is_stable else self._good
                self._remember()
                return None
            try:
                return self._activate(chosen)
            except (LayerZeroError, OSError) as error:
                self._failed[chosen.digest] = error

    def _activate(self, bundle: Bundle) -> Policy:
        policy = self._engine.replace_policy(Material(kept=bundle.sources), lambda _: not self._ended.is_set())
        if policy is None:
            raise SourceError("the source is followed no more")
        self._before = frozenset(self._engine.status().open_breakers)
        self._active, self._good = bundle, bundle if bundle.is_stable else self._good
        self._activations += 1
        log.info("%s of %s is in force", bundle, shown(self._url))
        self._remember()
        return policy

    def _remember(self) -> None:
        """Keep on disk what the next start wants, where it has changed."""
        back = None if self._active is None or self._active.is_stable else self._good or self._stable
        bundles = {one.digest: one for one in (self._active, back) if one is not None}
        if self._keep is not None and self._kept != (self._state, bundles):
            self._keep.save(self._state, bundles.values())
            self._kept = self._state, bundles

    # ------------------------------------------------------------ what goes wrong

    def _in_force(self, snapshot: Snapshot) -> None:
        """Told of each epoch. A breaker that opens under a candidate takes it back; not in this thread, which publishes
        epochs."""
        active = self._active
        if active is None or active.is_stable or active.digest in self._failed:
            return
        opened = {k: why for k, why in snapshot.environment.open_breakers.items() if k not in self._before}
        for name, why in sorted(opened.items()):
            reason = f"the breaker of `{name}` opened under {active}: {why}"
            threading.Thread(target=self._take_back, args=(active, reason), daemon=True).start()
            return

    def _take_back(self, bundle: Bundle, reason: str) -> None:
        with self._busy:
            if self._ended.is_set() or self._active is not bundle or bundle.digest in self._failed:
                return
            self._failed[bundle.digest] = BundleError(reason)
            self._settle()
        with closing(open_source(self._url)) as source:
            self._hold_what_failed(source)
        self._judge()

    def _hold_what_failed(self, source: Source) -> None:
        """Have nobody else begin to run a candidate that has failed here."""
        candidate = self._candidate
        if candidate is None or candidate.digest not in self._failed or self._hold is not None:
            return
        if self._options.reports:
            hold = Hold(self._options.node, str(self._failed[candidate.digest]))
            with self._telling():
                source.hold(candidate.digest, hold)
                self._hold = hold

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

    def _problem(self) -> LayerZeroError | OSError | None:
        """What is wrong at the moment, the gravest first."""
        if self._away is not None or self._refused is not None:
            return self._away or self._refused
        for one in (self._candidate, self._stable):
            if one is not None and one.digest in self._failed:
                return self._failed[one.digest]
        if self._active is not None:
            try:
                admit(self._active, RolloutState(), self._clock())
            except BundleError as error:
                return BundleError(f"{error}; it stays in force until there is another")
            return None
        if self._candidate is not None:
            return BundleError(
                f"{self._candidate} is for a share of the nodes, and there is no stable bundle for this one"
            )
        return BundleError(f"{shown(self._url)} has no bundle for this node")

    def _judge(self) -> None:
        """Tell of what is wrong, once."""
        with self._busy:
            problem = self._problem()
            if problem is None:
                self._refusals.succeeded()
            else:
                self._refusals.failed(problem, "" if self._candidate is None else self._candidate.digest)
        if not self._ended.is_set():
            self._refusals.tell()

    def _report(self, source: Source) -> None:
        if not self._options.reports:
            return
        engine = self._engine.status()
        report = report_of(self.status(), engine.digest, engine.open_breakers, datetime.min)
        said, at = self._reported
        if said == report and time.monotonic() - at < HEARTBEAT:
            return
        with self._telling():
            now = report_of(self.status(), engine.digest, engine.open_breakers, self._clock())
            source.report(self._options.node, now)
        self._reported = report, time.monotonic()


def _revive_all() -> None:
    for follower in list(_FOLLOWERS):
        follower.revive()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_revive_all)

"""Releases, holds and failures, as they come -> the bundle in force on this node. It asks no source."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from layerzero.errors import LayerZeroError
from layerzero.fleet.bundle import Bundle, BundleError
from layerzero.fleet.kept import KeptBundles
from layerzero.fleet.keys import Trust
from layerzero.fleet.release import read_release
from layerzero.fleet.rollout import RolloutState, admit, choose, in_share
from layerzero.fleet.source import Hold
from layerzero.runtime.building import Material
from layerzero.runtime.engine import Engine
from layerzero.runtime.policy import Policy

log = logging.getLogger("layerzero")

LOOK_AGAIN = timedelta(minutes=1)  # at a release that was refused: it may have come before its time, or before a key


class Node:
    """What one node knows. Callers see to it that one thread at a time is in here, but for reading attributes.

    Attributes:
        candidate: Of the release.
        stable: Of the release.
        active: The bundle in force; None where it is another policy.
        open_before: The breakers that were open when it was put in force.
        hold: Why nobody begins to run the candidate.
        hold_unknown: Why it is not known whether it is held; nobody begins then either.
        activations: How many bundles were put in force.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        trusted: Callable[[], Trust],
        keep: KeptBundles | None,
        clock: Callable[[], datetime],
        going_on: Callable[[], bool],
    ) -> None:
        self.name = name
        self.candidate: Bundle | None = None
        self.stable: Bundle | None = None
        self.active: Bundle | None = None
        self.open_before: frozenset[str] = frozenset()
        self.hold: Hold | None = None
        self.hold_unknown = ""
        self.activations = 0
        self._engine = engine
        self._trusted = trusted
        self._trust = trusted()
        self._keep = keep
        self._clock = clock
        self._going_on = going_on
        self._state = RolloutState()
        self._good: Bundle | None = None  # the stable bundle that ran last: the one to go back to
        self._failed: dict[str, LayerZeroError | OSError] = {}  # digest -> why this node does not run it
        self._release = b""
        self._refused: BundleError | None = None  # of the release
        self._looked = datetime.min.replace(tzinfo=UTC)
        self._kept: tuple[RolloutState, dict[str, Bundle]] | None = None  # what was kept last

    # ------------------------------------------------------------ what comes in

    def begin(self) -> None:
        """Begin with what was kept on disk, until a source has something that is good."""
        if self._keep is not None:
            self._state, self.candidate, self._good = self._keep.read(self._trust)

    def offered(self, release: bytes | None) -> None:
        """Verify a release; None: it is still the one before. Where nothing in it may come in, all stays as it is."""
        now = self._clock()
        if release is None or release == self._release:
            if self._refused is None or abs(now - self._looked) < LOOK_AGAIN:
                return
            release = self._release
        try:
            self._trust = self._trusted()  # anew, so that keys are changed without another start
        except (LayerZeroError, OSError) as error:
            log.warning("the keys read before stay: %s", error)
        found = read_release(release, self._trust, self._state, now)
        self._release, self._looked, self._refused = release, now, found.refused
        if found.candidate is None and found.stable is None:
            return
        before = "" if self.candidate is None else self.candidate.digest
        if found.candidate is None or found.candidate.digest != before:
            self.hold, self.hold_unknown = None, ""
        if found.stable is not None and found.stable.digest == before:
            self._failed.pop(before, None)  # it is for everybody now, whatever it did here: it is tried again
        self.candidate, self.stable, self._state = found.candidate, found.stable or self.stable, found.state
        known = {one.digest for one in (self.candidate, self.stable, self.active, self._good) if one is not None}
        self._failed = {digest: why for digest, why in self._failed.items() if digest in known}

    def told_of_hold(self, found: Hold | None) -> None:
        """What the source says of the candidate."""
        if found is None and self.hold is not None and self.candidate is not None:
            self._failed.pop(self.candidate.digest, None)  # somebody has resumed it: this node may try again as well
        self.hold, self.hold_unknown = found, ""

    # ------------------------------------------------------------ what is in force

    @property
    def wants_candidate(self) -> bool:
        """Whether there is a candidate for this node."""
        return self.candidate is not None and in_share(self.candidate, self.name)

    @property
    def on_trial(self) -> Bundle | None:
        """The candidate, while it is in force and has not failed."""
        active = self.active
        return None if active is None or active.is_stable or active.digest in self._failed else active

    @property
    def candidate_failure(self) -> str | None:
        """Why the candidate does not run here."""
        return None if self.candidate is None else str(self._failed.get(self.candidate.digest) or "") or None

    def settle(self) -> Policy | None:
        """Put the bundle in force that this node has to run; None where it runs already, or there is none."""
        while True:
            known = [one for one in (self.candidate, self.stable, self._good) if one is not None]
            held = {self.candidate.digest} if self.candidate is not None and (self.hold or self.hold_unknown) else ()
            running = "" if self.active is None else self.active.digest
            chosen = choose(known, self.name, self._failed, held, running)
            if chosen is None or chosen.digest == running:
                self._runs(chosen or self.active)  # the same policy, perhaps for more nodes by now
                return None
            try:
                return self._activate(chosen)
            except (LayerZeroError, OSError) as error:
                self._failed[chosen.digest] = error

    def give_up(self, bundle: Bundle, reason: str) -> None:
        """Go back from a candidate to the stable bundle."""
        if self.on_trial is not None and self.on_trial.digest == bundle.digest:
            self._failed[bundle.digest] = BundleError(reason)
            self.settle()

    def _activate(self, bundle: Bundle) -> Policy:
        policy = self._engine.replace_policy(Material(kept=bundle.sources), lambda _: self._going_on())
        if policy is None:
            raise BundleError("the source is followed no more")
        self.open_before = frozenset(self._engine.status().open_breakers)
        self.activations += 1
        log.info("%s is in force", bundle)
        self._runs(bundle)
        return policy

    def _runs(self, bundle: Bundle | None) -> None:
        """Have the bundle as the active one, and keep on disk what the next start wants, where that has changed."""
        self.active = bundle
        if bundle is None:
            return
        if bundle.is_stable:
            self._good = bundle
        back = self._good or self.stable
        bundles = {one.digest: one for one in (bundle, back) if one is not None}
        if self._keep is not None and self._kept != (self._state, bundles):
            self._keep.save(self._state, bundles.values())
            self._kept = self._state, bundles

    def problem(self) -> LayerZeroError | OSError | None:
        """What is wrong at the moment, the gravest first."""
        if self._refused is not None:
            return self._refused
        for one in (self.candidate, self.stable):
            if one is not None and one.digest in self._failed:
                return self._failed[one.digest]
        if self.active is not None:
            try:
                admit(self.active, RolloutState(), self._clock())
            except BundleError as error:
                return BundleError(f"{error}; it stays in force until there is another")
            return None
        if self.candidate is not None:
            return BundleError(f"{self.candidate} is for a share of the nodes, and there is none for this one")
        return BundleError("there is no bundle for this node")

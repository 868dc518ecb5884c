"""Holds the snapshot in force and replaces it. Readers take one reference; writers queue behind one lock.

Everything that a snapshot is made of stands in `Inputs`; each change (another policy, a rule by a call, an open
breaker, a new day) makes new inputs, builds a snapshot from them beside the one in force, and then puts it in place
with one assignment. What fails leaves the snapshot in force as it was.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from layerzero.check.expressions import Value
from layerzero.check.program import Layer
from layerzero.errors import ArgumentError, PolicyError
from layerzero.runtime.ambient import INSIDE
from layerzero.runtime.building import Builder, InProcess, Loaded, Material
from layerzero.runtime.failures import Failure, WatchStatus
from layerzero.runtime.policy import Policy
from layerzero.runtime.snapshot import DEVICE_FIELDS, Snapshot
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.environment import Environment

log = logging.getLogger("layerzero")

_LONGEST_WAIT = timedelta(minutes=1)
_EDGE = ("open_breakers", "stopped_arms", "stop_reasons")  # of Inputs: what happens to a process by itself
_MOST_IDLE = 8  # epochs for which a policy of `using` that nobody uses is still compiled


class Machine(Protocol):
    """The edge: what this process runs on. Asked when a snapshot is built, never when a call is decided."""

    def environment(self, vocabulary: Vocabulary, today: date) -> Environment:
        """Installed packages, import failures and missing adapters, for the kernels of a program."""
        ...

    def devices(self) -> Sequence[Mapping[str, Value]]:
        """The device fields of every device present, the CPU included."""
        ...


@dataclass(frozen=True)
class Inputs:
    """All that the snapshot in force was made of. `day` is the day on which `until` is judged, where that is not to be
    this machine's own: one that several processes have agreed on."""

    loaded: Loaded
    open_breakers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    stopped_arms: frozenset[tuple[str, str]] = frozenset()
    stop_reasons: Mapping[tuple[str, str], str] = field(default_factory=lambda: MappingProxyType({}))
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """What `lz.status()` shows. `pinned_epochs` are older epochs that somebody still holds pinned, with how many."""

    policy: str
    version: str | None
    digest: str
    environment: str
    epoch: int
    files: tuple[str, ...]
    runtime_rules: tuple[str, ...]
    open_breakers: Mapping[str, str]
    stopped_arms: tuple[tuple[str, str], ...]
    pinned_epochs: Mapping[int, int]
    last_failure: str | None
    dropped_records: int = 0  # by decision logs, since the process began
    watching: WatchStatus | None = None  # of the files, where they are watched


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that is read and compiled, and waits to be put in force in place of `before`."""

    inputs: Inputs
    snapshot: Snapshot
    scoped: dict[tuple[str, int], _Scoped]
    before: Snapshot | None

    @property
    def policy(self) -> Policy:
        return _policy(self.snapshot, self.inputs.loaded)

    def at(self, epoch: int) -> Candidate:
        """The same as another epoch."""
        scoped = {
            (digest, epoch): replace(one, snapshot=one.snapshot.at(epoch)) for (digest, _), one in self.scoped.items()
        }
        return replace(self, snapshot=self.snapshot.at(epoch), scoped=scoped)


class Engine:
    """The policy in force in this process."""

    __slots__ = ("__dict__", "__weakref__", "_current")  # the native entry reads it where it lies

    def __init__(
        self,
        machine: Machine,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        builder: Builder | None = None,
    ) -> None:
        self.builder: Builder = builder or InProcess()
        self._machine = machine
        self._clock = clock
        self._writing = threading.RLock()  # of those who change something, for as long as they compile
        self._swapping = threading.Lock()  # of the assignments that are a swap: nobody waits for it
        self._inputs: Inputs | None = None
        self._current: Snapshot | None = None
        self._last_failure: str | None = None
        self._timer: threading.Timer | None = None
        self._scoped: dict[tuple[str, int], _Scoped] = {}  # of `using`, by policy digest and epoch
        # Each engine has its own: a pin of one says nothing about the policies of another.
        self._pinned: ContextVar[Snapshot | None] = ContextVar("layerzero_pinned", default=None)
        self._using: ContextVar[Policy | None] = ContextVar("layerzero_using", default=None)
        self._pins: dict[object, Snapshot] = {}  # each change and each copy of it is one step for all threads
        self.listeners: list[Callable[[Snapshot], None]] = []  # told of each snapshot put in force
        self.failure_listeners: list[Callable[[Failure], None]] = []  # told of each distinct failure to load a policy
        self.on_new_day: Callable[[], None] | None = None  # told, about every minute, where `Inputs.day` is over
        self.watching: Callable[[], WatchStatus] | None = None  # how the files of the policy are watched

    # ------------------------------------------------------------ reading

    def current(self) -> Snapshot:
        """The snapshot for a call made here: pinned, of `using`, or the one in force."""
        # INVARIANT: a call reads this once and keeps it to its end, so one assignment is the whole swap.
        pinned = self._pinned.get()
        if pinned is not None:
            return pinned
        policy = self._using.get()
        if policy is not None:
            return self._of_policy(policy)
        snapshot = self._current
        return snapshot if snapshot is not None else self._start()

    @property
    def scopes(self) -> tuple[ContextVar[Snapshot | None], ContextVar[Policy | None]]:
        """The variables of `pin` and `using`; where both are None, `current` is the snapshot in force."""
        return self._pinned, self._using

    def status(self) -> Status:
        """The policy in force, as an operator wants to see it."""
        if self._current is None:
            self._start()
        with self._writing:
            snapshot, inputs = self._current, self._inputs
            assert snapshot is not None and inputs is not None
            held: dict[int, int] = {}
            for pinned in list(self._pins.values()):
                if pinned.epoch < snapshot.epoch:
                    held[pinned.epoch] = held.get(pinned.epoch, 0) + 1
            return Status(
                policy=snapshot.identity.name,
                version=snapshot.identity.version,
                digest=snapshot.identity.digest,
                environment=snapshot.environment.digest,
                epoch=snapshot.epoch,
                files=inputs.loaded.files,
                runtime_rules=tuple(source.text.strip() for source in inputs.loaded.material.runtime),
                open_breakers=dict(inputs.open_breakers),
                stopped_arms=tuple(sorted(inputs.stopped_arms)),
                pinned_epochs=held,
                last_failure=self._last_failure,
                watching=None if self.watching is None else self.watching(),
            )

    # ------------------------------------------------------------ scopes

    @contextmanager
    def pin(self, snapshot: Snapshot | None = None) -> Iterator[Snapshot]:
        """Keep one snapshot for every decision made inside, whatever is swapped meanwhile."""
        kept = snapshot or self.current()
        token, mark = self._pinned.set(kept), object()
        self._pins[mark] = kept
        try:
            with INSIDE:
                yield kept
        finally:
            self._pins.pop(mark, None)  # first: one that was abandoned is left in another context than its own
            self._pinned.reset(token)

    def hold(self, snapshot: Snapshot) -> object:
        """Count a snapshot as pinned for as long as somebody keeps what this returns."""
        mark, key = _Mark(), object()
        self._pins[key] = snapshot
        weakref.finalize(mark, self._pins.pop, key, None).atexit = False
        return mark

    @contextmanager
    def using(self, policy: Policy) -> Iterator[None]:
        """Decide by another policy in this thread or task; the rules of run-time calls stay on top of it."""
        if not isinstance(policy, Policy):
            given = f"{policy!r}: load it with `lz.Policy.load`" if isinstance(policy, str | Path) else repr(policy)
            raise ArgumentError(f"argument `policy`: wanted a Policy, given {given}")
        self._of_policy(policy)  # compiled before the first call, errors here
        token = self._using.set(policy)
        unpinned = self._pinned.set(None)
        try:
            with INSIDE:
                yield
        finally:
            self._pinned.reset(unpinned)
            self._using.reset(token)

    def _of_policy(self, policy: Policy) -> Snapshot:
        base = self._current or self._start()
        found = self._scoped.get((policy.digest, base.epoch))
        if found is None:
            with self._writing:
                base, inputs = self._current or base, self._started()
                key = (policy.digest, base.epoch)
                found = self._scoped.get(key)
                if found is None:
                    found = _Scoped(policy, self._build_beneath(policy, inputs, base.epoch))
                    with self._swapping:
                        self._scoped = {**self._scoped, key: found}
        found.idle = 0
        return found.snapshot

    def _ahead(self, inputs: Inputs, epoch: int) -> dict[tuple[str, int], _Scoped]:
        """The scoped policies that were used lately, for the next epoch: their threads do not wait for a compiler.

        Raises:
            PolicyError: A rule of a call does not fit one of them; it is told to who made the call.
        """
        ahead = {}
        for (digest, _), one in self._scoped.items():
            if one.idle < _MOST_IDLE:
                snapshot = self._build_beneath(one.policy, inputs, epoch)
                ahead[digest, epoch] = _Scoped(one.policy, snapshot, one.idle + 1)
        return ahead

    def _build_beneath(self, policy: Policy, inputs: Inputs, epoch: int) -> Snapshot:
        return self._build(replace(inputs, loaded=self._beneath(policy, inputs.loaded.material)), epoch)

    # ------------------------------------------------------------ changing

    def configure(self, policy: str | Path | Policy | Material | None) -> Policy:
        """Put a policy in force, in place of the files before; the rules of run-time calls stay. None is the shipped
        policy alone.

        Raises:
            FileNotFoundError: There is no such file or folder.
            PolicyError: The policy has errors; the one before stays in force.
        """
        with self._writing:
            before = self._started().loaded.material
            try:
                if isinstance(policy, Policy):
                    loaded = self._beneath(policy, before)
                else:
                    loaded = self.builder.load(before.of_policy(_material(policy)))
            except (PolicyError, OSError) as error:
                self._last_failure = str(error)
                raise
            self.say_warnings(loaded)
            return _policy(self._publish(lambda: replace(self._started(), loaded=loaded)), loaded)

    def replace_policy(self, material: Material, accept: Callable[[Loaded], bool]) -> Policy | None:
        """Put a policy in force as `configure` does, holding nobody up: it is read and compiled beside all other
        changes, and one that comes in between has it read again, the third time holding the others back.

        Args:
            material: The policy; run-time rules and registered kernels are those in force.
            accept: Asked when everything is ready, with what was read; False ends it without a change.

        Raises:
            FileNotFoundError: There is no such file or folder.
            PolicyError: The policy has errors.
        """
        for alone in (False, False, True):
            with self._writing if alone else nullcontext():
                candidate = self.prepare(material)
                if not accept(candidate.inputs.loaded):
                    return None
                with self._writing:
                    if not self._put(candidate):
                        continue
                    self.say_warnings(candidate.inputs.loaded)
                self._tell(candidate.snapshot)
                return candidate.policy
        raise AssertionError("unreachable: nothing comes between a holder of the lock and its change")

    def today(self) -> date:
        """The day by this machine's clock, UTC."""
        return self._clock().date()

    def prepare(self, material: Material, day: date | None = None) -> Candidate:
        """Read and compile a policy beside the one in force, with the run-time rules and kernels in force.

        Args:
            material: The policy.
            day: See Inputs; None leaves it as it is.

        Raises:
            FileNotFoundError: There is no such file or folder.
            PolicyError: The policy has errors.
        """
        with self._writing:
            inputs, before = self._started(), self._current
        assert before is not None
        loaded = self.builder.load(inputs.loaded.material.of_policy(material))
        return self._candidate(replace(inputs, loaded=loaded, day=day or inputs.day), before)

    def on_day(self, day: date) -> Candidate:
        """The policy in force, prepared for another day."""
        with self._writing:
            inputs, before = self._started(), self._current
        return self._candidate(replace(inputs, day=day), before)

    def renew(self, candidate: Candidate) -> Candidate:
        """The same policy, prepared for what is in force now; the candidate itself where nothing has changed."""
        with self._writing:
            inputs, before = self._started(), self._current
        if candidate.before is before:
            return candidate
        loaded = candidate.inputs.loaded
        material = inputs.loaded.material.of_policy(loaded.material)
        if material != loaded.material:  # as it was read then: the files may be others by now
            loaded = self.builder.revise(loaded, material)
        return self._candidate(replace(inputs, loaded=loaded, day=candidate.inputs.day), before)

    def commit(self, candidate: Candidate) -> Inputs | None:
        """Put a prepared policy in force at once, waiting for no writer and no compiler.

        Returns:
            What came between, where another change did: `resume` puts it on top.
        """
        with self._swapping:
            now, between = self._current, self._inputs
            assert now is not None
            overtaken = now is not candidate.before
            put = candidate.at(now.epoch + 1) if overtaken else candidate
            self._assign(put)
        self._tell(put.snapshot)
        return between if overtaken else None

    def resume(self, committed: Candidate, between: Inputs) -> None:
        """Put on top of the policy in force what a commit overtook: open breakers, stopped arms, rules of calls."""

        def resumed() -> Inputs:
            now, then = self._started(), committed.inputs
            kept = {name: getattr(between, name) for name in _EDGE if getattr(now, name) == getattr(then, name)}
            if now.loaded is then.loaded:
                material = between.loaded.material.of_policy(now.loaded.material)
                if material != now.loaded.material:
                    kept["loaded"] = self.builder.revise(now.loaded, material)
            return replace(now, **kept)

        with self._writing:
            if resumed() != self._started():
                self._publish(resumed)

    def change(self, of: Callable[[Inputs], Inputs]) -> Snapshot:
        """Publish what `of` makes of the inputs in force, as one step among all writers.

        Raises:
            PolicyError: A rule of the change is wrong; nothing has changed.
        """
        with self._writing:
            before = self._started()
            if of(before) == before and self._current is not None:
                return self._current
            return self._publish(lambda: of(self._started()))

    def change_material(self, of: Callable[[Material], Material]) -> Snapshot:
        """Publish a changed material (run-time rules, registered kernels), checked with the policy as it was read."""

        def changed() -> Inputs:
            before = self._started()
            return replace(before, loaded=self.builder.revise(before.loaded, of(before.loaded.material)))

        return self._publish(changed)

    def refresh(self) -> None:
        """Judge what is in force anew: another day, another package."""
        self._publish(self._started)

    def publish(self, inputs: Inputs) -> Snapshot:
        """Build a snapshot of these inputs and put it in force as the next epoch."""
        return self._publish(lambda: inputs)

    def _publish(self, make: Callable[[], Inputs]) -> Snapshot:
        """Put in force what `make` makes of the inputs in force; made anew where a commit has come in between."""
        with self._writing:
            while True:
                before = self._current
                candidate = self._candidate(make(), before or self._current)
                if self._put(candidate):
                    break
        self._tell(candidate.snapshot)
        return candidate.snapshot

    def _candidate(self, inputs: Inputs, before: Snapshot | None) -> Candidate:
        snapshot = self._build(inputs, 1 if before is None else before.epoch + 1)
        return Candidate(inputs, snapshot, self._ahead(inputs, snapshot.epoch), before)

    def _put(self, candidate: Candidate) -> bool:
        """Put it in force, unless something else has come in between."""
        with self._swapping:
            if self._current is not candidate.before:
                return False
            self._assign(candidate)
        return True

    def _assign(self, candidate: Candidate) -> None:
        self._inputs = candidate.inputs
        self._scoped = candidate.scoped
        self._current = candidate.snapshot
        self._last_failure = None
        self._wake_at_expiry(candidate.snapshot)

    def _tell(self, snapshot: Snapshot) -> None:
        for listener in self.listeners:
            listener(snapshot)

    def after_fork(self) -> None:
        """Make the engine of a forked child usable: the thread that held its lock may not be in the child."""
        self._writing, self._swapping = threading.RLock(), threading.Lock()
        self._timer = None
        if self._current is not None:
            self._wake_at_expiry(self._current)

    def close(self) -> None:
        """End the timer of the next `until`; what is in force stays."""
        with self._writing:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def policy_failed(self, failure: Failure) -> None:
        """Tell everybody once that a policy could not be loaded; the snapshot in force stays."""
        self._last_failure = failure.message
        for listener in self.failure_listeners:
            listener(failure)

    def failed(self, message: str) -> None:
        """Keep what went wrong for `status`; the snapshot in force stays."""
        self._last_failure = message

    def say_warnings(self, loaded: Loaded) -> None:
        for finding in loaded.warnings:
            log.warning("%s: %s[%s] %s", finding.span, finding.severity, finding.code, finding.message)

    # ------------------------------------------------------------ building

    def _start(self) -> Snapshot:
        with self._writing:
            if self._current is None:
                self.publish(Inputs(self.builder.load(Material())))
            assert self._current is not None
            return self._current

    def _started(self) -> Inputs:
        self._start()
        assert self._inputs is not None
        return self._inputs

    def _beneath(self, policy: Policy, material: Material) -> Loaded:
        """A policy object under the run-time rules in force."""
        if policy.origin is None:
            if material.runtime or material.catalogs:
                raise PolicyError(
                    "this policy has no file or text, so rules and kernels of calls cannot be added to it"
                )
            return Loaded(material, Vocabulary.of(policy.program), lambda: policy.program, policy.files)
        wanted, snapshot = material.of_policy(policy.origin), policy.snapshot
        read = Loaded(
            wanted, snapshot.vocabulary, lambda: policy.program, policy.files, policy.warnings, snapshot.own_texts
        )
        # What `configure` returned may have been checked with rules of calls that have been taken back since.
        added = (*material.catalogs, *material.runtime, *(t for t in snapshot.texts if t.layer is Layer.RUNTIME))
        if not added:  # what was checked already serves
            return read
        return self.builder.revise(replace(read, material=policy.origin), wanted)

    def _build(self, inputs: Inputs, epoch: int) -> Snapshot:
        loaded = inputs.loaded
        environment = self._machine.environment(loaded.vocabulary, inputs.day or self.today())
        environment = replace(environment, open_breakers=inputs.open_breakers, stopped_arms=inputs.stopped_arms)
        environment = replace(environment, stop_reasons=inputs.stop_reasons)
        known = loaded.vocabulary.types
        devices = [{name: d.get(name) for name in DEVICE_FIELDS if name in known} for d in self._machine.devices()]
        forms = self.builder.compile(loaded, environment, devices)
        return Snapshot(loaded.vocabulary, environment, loaded.program, forms, epoch, loaded.texts)

    def _wake_at_expiry(self, snapshot: Snapshot, soonest: timedelta = timedelta(0)) -> None:
        """Publish a new epoch at 00:00 UTC of the next `until`, so that deciding never reads a clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not snapshot.vocabulary.expiries:
            return
        today = snapshot.environment.today
        coming = [day for day in snapshot.vocabulary.expiries if day > today]
        wait = datetime.combine(coming[0], time(), UTC) - self._clock() if coming else _LONGEST_WAIT
        # A clock that is set, forward or back, and a machine that slept are noticed within a minute; back too, so that
        # a quarantine which ended by a wrong clock is in force again when the clock is right.
        self._timer = threading.Timer(min(max(wait, soonest), _LONGEST_WAIT).total_seconds() + 0.01, self._wake)
        self._timer.daemon = True
        self._timer.start()

    def _wake(self) -> None:
        with self._writing:
            snapshot, inputs = self._current, self._inputs
            if snapshot is None or inputs is None:
                return
            over = self.today() != snapshot.environment.today
            if over and inputs.day is None:
                self.refresh()
            else:
                self._wake_at_expiry(snapshot, _LONGEST_WAIT if over else timedelta(0))
        if over and inputs.day is not None and self.on_new_day is not None:
            self.on_new_day()


def _material(policy: str | Path | Material | None) -> Material:
    if isinstance(policy, Material):
        return policy
    return Material(path=None if policy is None else Path(policy))


def _policy(snapshot: Snapshot, loaded: Loaded) -> Policy:
    return Policy.of_snapshot(snapshot, loaded.files, loaded.warnings, Material().of_policy(loaded.material))


class _Mark:
    """A pin that ends with whoever keeps it."""


@dataclass(slots=True)
class _Scoped:
    """A policy of `using` in one epoch, and for how many epochs nobody has used it."""

    policy: Policy
    snapshot: Snapshot
    idle: int = 0

"""Holds the snapshot in force and replaces it. Readers take one reference; writers queue behind one lock."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Protocol

from layerzero.check import load, load_text, require
from layerzero.check.expressions import Value
from layerzero.check.program import Program
from layerzero.errors import PolicyError
from layerzero.runtime.policy import Policy
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source

log = logging.getLogger("layerzero")
NO_POLICY = "<no policy>"


class Machine(Protocol):
    """The edge: what this process runs on. Asked when a snapshot is built, never when a call is decided."""

    def environment(self, program: Program, today: date) -> Environment:
        """Installed packages, import failures and missing adapters, for the kernels of a program."""
        ...

    def devices(self) -> Sequence[Mapping[str, Value]]:
        """The device fields of every device present, the CPU included."""
        ...


@dataclass(frozen=True, slots=True)
class Status:
    """What `lz.status()` shows."""

    policy: str
    version: str | None
    digest: str
    environment: str
    epoch: int
    files: tuple[str, ...]
    last_failure: str | None


class Engine:
    """The policy in force in this process."""

    def __init__(self, machine: Machine, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._machine = machine
        self._clock = clock
        self._writing = threading.RLock()
        self._current: Snapshot | None = None
        self._path: Path | None = None  # of the policy in force, unless it came as an object
        self._files: tuple[str, ...] = ()
        self._last_failure: str | None = None
        self._timer: threading.Timer | None = None
        self._registered: set[str] = set()
        self._catalogs: tuple[Source, ...] = ()  # of registered kernels

    def current(self) -> Snapshot:
        """The snapshot in force; the shipped policy when nothing was configured."""
        # INVARIANT: a call reads this once and keeps it to its end, so one assignment is the whole swap.
        snapshot = self._current
        return snapshot if snapshot is not None else self._start()

    def configure(self, policy: str | Path | Policy) -> Policy:
        """Put a policy in force, in place of the one before.

        Raises:
            FileNotFoundError: There is no such file or folder.
            PolicyError: The policy has errors; the one before stays in force.
        """
        with self._writing:
            try:
                loaded = policy if isinstance(policy, Policy) else self._load(Path(policy))
                self._refuse_unsupported(loaded.program)
            except (PolicyError, OSError) as error:
                self._last_failure = str(error)
                raise
            self._path = None if isinstance(policy, Policy) else Path(policy)
            self._publish(loaded.program, loaded.files)
            self._last_failure = None
            return loaded.on(self.current().environment)

    def register(self, function: Callable[..., Any], catalog: str, functions: dict[str, Callable[..., Any]]) -> str:
        """Declare a kernel of the program's own; `functions` is where the machine looks up what to call.

        Raises:
            PolicyError: The text has errors, or does not declare exactly one kernel.
        """
        with self._writing:
            before = self.current().program.kernels
            added = Source(f"<kernel {getattr(function, '__name__', 'registered')}>", catalog)
            catalogs = (*self._catalogs, added)
            checked = (
                load_text("", name=NO_POLICY, catalogs=catalogs)
                if self._path is None
                else load(self._path, catalogs=catalogs)
            )
            program = require(checked)
            new = sorted(set(program.kernels) - set(before))
            if len(new) != 1:
                raise PolicyError(
                    f"the catalog of a registered kernel declares one kernel, this one declares {len(new)}"
                )
            self._catalogs = catalogs
            functions[new[0]] = function
            self._registered.add(new[0])
            self._publish(self._adopt(program), checked.files)
            return new[0]

    def _adopt(self, program: Program) -> Program:
        """Registered kernels are callable though no file names their code."""
        known = self._registered & set(program.kernels)
        adopted = {name: replace(program.kernels[name], adapter="<registered>") for name in known}
        return replace(program, kernels={**program.kernels, **adopted}) if adopted else program

    def refresh(self) -> None:
        """Judge the policy in force anew: another day, another package, another breaker."""
        with self._writing:
            self._publish(self.current().program, self._files)

    def status(self) -> Status:
        snapshot = self.current()
        program = snapshot.program
        return Status(
            policy=program.name,
            version=program.version,
            digest=program.digest,
            environment=snapshot.environment.digest,
            epoch=snapshot.epoch,
            files=self._files,
            last_failure=self._last_failure,
        )

    def _load(self, path: Path) -> Policy:
        checked = load(path, catalogs=self._catalogs)
        program = self._adopt(require(checked))
        for finding in checked.diagnostics:
            log.warning("%s: %s[%s] %s", finding.span, finding.severity, finding.code, finding.message)
        return Policy(program, self._environment(program), checked.files, checked.diagnostics)

    def _start(self) -> Snapshot:
        with self._writing:
            if self._current is None:
                self._publish(require(load_text("", name=NO_POLICY)), ())
            assert self._current is not None
            return self._current

    def _environment(self, program: Program) -> Environment:
        return self._machine.environment(program, self._clock().date())

    def _publish(self, program: Program, files: Sequence[str]) -> None:
        epoch = 1 if self._current is None else self._current.epoch + 1
        snapshot = Snapshot(program, self._environment(program), self._machine.devices(), epoch)
        self._current = snapshot
        self._files = tuple(files)
        self._wake_at_expiry(snapshot)

    def _wake_at_expiry(self, snapshot: Snapshot) -> None:
        """Publish a new epoch at 00:00 UTC of the next `until`, so that deciding never reads a clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        today = snapshot.environment.today
        coming = [rule.until for rule in snapshot.program.rules if rule.until is not None and rule.until > today]
        if not coming:
            return
        wait = datetime.combine(min(coming), time(), UTC) - self._clock()
        # A timer of months overflows some platforms' waits; waking daily is cheap and also survives a clock set back.
        self._timer = threading.Timer(
            min(max(wait, timedelta(0)), timedelta(days=1)).total_seconds() + 0.01, self.refresh
        )
        self._timer.daemon = True
        self._timer.start()

    @staticmethod
    def _refuse_unsupported(program: Program) -> None:
        from layerzero.syntax.diagnostics import Diagnostic
        from layerzero.syntax.render import render

        findings = tuple(
            Diagnostic("LZ901", "guards are not watched yet in a live policy", guard.span, help="leave the guard out")
            for experiment in program.experiments.values()
            for guard in experiment.guards
        )
        if findings:
            raise PolicyError(f"the policy cannot go live yet\n{render(findings)}", findings)

"""A policy as an object: load it, ask it. It looks at no device, and by default not at this machine's packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from layerzero import native
from layerzero.check import load_text, require
from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ArgumentError, ContextError
from layerzero.runtime.building import Material
from layerzero.runtime.cached import Cached, kept_program_form
from layerzero.runtime.decision import Decision
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.context import read_context
from layerzero.semantics.environment import Environment
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.source import Source


@dataclass(frozen=True, slots=True)
class Prepared:
    """A context that `Policy.prepare` has validated; it may be used with the policy that made it.

    `packed` is what the native matcher reads, None where there is none or where deciding will raise.
    """

    scope: Scope
    values: Mapping[str, Value]
    arms: Mapping[str, str]
    packed: object | None = field(default=None, repr=False, compare=False)


def offline_environment(today: date | None = None) -> Environment:
    """No machine in particular: every package counts as present at an accepted version."""
    return Environment(assume_packages=True, today=today or datetime.now(UTC).date())


class Policy:
    """A checked policy with the environment that it is asked in. Immutable; threads may share it.

    `origin` is what it was made from, None for one made from a program.
    """

    def __init__(
        self,
        program: Program,
        environment: Environment,
        files: Sequence[str] = (),
        warnings: Sequence[Diagnostic] = (),
        origin: Material | None = None,
    ) -> None:
        self._decide_by(Snapshot.compiled(program, environment))
        self.files = tuple(files)
        self.warnings = tuple(warnings)
        self.origin = origin

    @classmethod
    def of_snapshot(
        cls, snapshot: Snapshot, files: Sequence[str], warnings: Sequence[Diagnostic], origin: Material | None
    ) -> Policy:
        """The policy of a snapshot that is compiled already."""
        policy = cls.__new__(cls)
        policy._decide_by(snapshot)
        policy.files, policy.warnings, policy.origin = tuple(files), tuple(warnings), origin
        return policy

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        environment: Environment | None = None,
        prelude: bool = True,
        catalogs: Sequence[str | Path | Source] = (),
        today: date | None = None,
    ) -> Policy:
        """Read and check the policy in a file or folder; one that was before, without a finding, comes from the disk.

        Args:
            path: A `.lzp` file, or a folder that holds one program.
            environment: What to assume of the machine; None assumes every package at an accepted version.
            prelude: False leaves out the shipped prelude and catalogs.
            catalogs: `.lzp` files, or texts as a Source, to trust besides the installed ones.
            today: The day on which `until` is judged, when no environment is given; None is the present UTC day.

        Raises:
            FileNotFoundError: There is no such path.
            PolicyError: The policy has errors; the message shows each with its place.
        """
        origin = Material(Path(path), prelude=prelude, with_catalogs=tuple(_catalogs(catalogs)))
        loaded = Cached(whole=True).load(origin)
        where = environment or offline_environment(today)
        snapshot = Snapshot(loaded.vocabulary, where, loaded.program, texts=loaded.texts, compile=kept_program_form)
        return cls.of_snapshot(snapshot, loaded.files, loaded.warnings, origin)

    @classmethod
    def from_text(
        cls,
        text: str,
        *,
        prelude: bool = True,
        catalogs: Sequence[str | Path | Source] = (),
        name: str = "<text>",
        environment: Environment | None = None,
        today: date | None = None,
    ) -> Policy:
        """The policy in a string. Arguments and errors as for `load`; a text cannot import files."""
        if not isinstance(text, str):
            raise ArgumentError(f"argument `text`: wanted the text of a policy, given {type(text).__name__}")
        checked = load_text(text, name=name, prelude=prelude, catalogs=_catalogs(catalogs))
        program = require(checked)
        where = environment or offline_environment(today)
        origin = Material(text=Source(name, text), prelude=prelude, with_catalogs=tuple(_catalogs(catalogs)))
        return cls(program, where, checked.files, checked.diagnostics, origin)

    @property
    def program(self) -> Program:
        return self._snapshot.program

    @property
    def name(self) -> str:
        return self._snapshot.identity.name

    @property
    def version(self) -> str | None:
        return self._snapshot.identity.version

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical program: layout, comments and order do not change it."""
        return self._snapshot.identity.digest

    @property
    def environment(self) -> Environment:
        return self._snapshot.environment

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    def on(self, environment: Environment) -> Policy:
        """The same policy asked in another environment."""
        return Policy(self.program, environment, self.files, self.warnings, self.origin)

    def assuming(self, packages: Mapping[str, str]) -> Policy:
        """The same policy with these package versions given: `assuming({"flash-attn": "2.8.3"})`."""
        return self.on(replace(self.environment, packages={**self.environment.packages, **packages}))

    def prepare(self, context: Mapping[str, Any]) -> Prepared:
        """Validate and pack a context once, to decide it many times.

        Args:
            context: `{"operation": "attention.decode", "dtype": "bf16", ...}`; None is an absent field.

        Raises:
            ContextError: An unknown or doubled field, a wrong type, a value outside its range.
        """
        scope, values = read_context(self.program, context)
        arms = self._snapshot.enrol(values)
        return Prepared(scope, values, arms, self._snapshot.pack(scope, values, arms))

    def decide(self, context: Mapping[str, Any] | Prepared) -> Decision:
        """Decide one context; a decision without a kernel has `error` set and raises nothing.

        Raises:
            ContextError: As `prepare`; or a needed field is missing, or the context contradicts the asserted view.
        """
        return _decide(self._snapshot, context)

    def _decide_by(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        if native.matcher is not None:
            # In place of the method: the same answers, and for prepared contexts without a Python frame.
            slowly = partial(_decide, snapshot)
            vars(self)["decide"] = native.matcher.Decider(snapshot, slowly, Prepared, Decision)

    def __repr__(self) -> str:
        version = "" if self.version is None else f" version {self.version}"
        return f"<Policy {self.name!r}{version} {self.digest[:12]}>"


def _decide(snapshot: Snapshot, context: Mapping[str, Any] | Prepared) -> Decision:
    if isinstance(context, Prepared):
        if context.scope.operation not in snapshot.program.operations:
            raise ContextError(f"the context was prepared by another policy, with an operation `{context.scope}`")
        return snapshot.decide(context.scope, context.values, context.arms)
    return snapshot.decide(*read_context(snapshot.program, context))


def _catalogs(given: Sequence[str | Path | Source]) -> list[Path | Source]:
    return [catalog if isinstance(catalog, Source) else Path(catalog) for catalog in given]

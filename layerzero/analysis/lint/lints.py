"""Program -> advice: all lints, in one tuple, without what the author allowed in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

from layerzero.analysis.lint import (
    contradictory_facts,
    endless_quarantine,
    suppressions,
    unexplained_quarantine,
    unused_define,
    vague_name,
    wide_device_glob,
)
from layerzero.analysis.lint.subject import Subject
from layerzero.check.program import Program
from layerzero.syntax.diagnostics import Diagnostic


@dataclass(frozen=True, slots=True)
class Lint:
    """One lint: the module's name is its name, the module's docstring its page."""

    module: ModuleType

    @property
    def name(self) -> str:
        return self.module.__name__.rpartition(".")[2]

    @property
    def page(self) -> str:
        return (self.module.__doc__ or "").strip()

    @property
    def run(self) -> Callable[[Subject], Iterator[Diagnostic]]:
        found: Callable[[Subject], Iterator[Diagnostic]] = self.module.check
        return found


LINTS: tuple[Lint, ...] = (
    Lint(vague_name),
    Lint(unexplained_quarantine),
    Lint(endless_quarantine),
    Lint(unused_define),
    Lint(wide_device_glob),
    Lint(contradictory_facts),
)


def lint(program: Program) -> list[Diagnostic]:
    """Run all lints; in the order of the text."""
    subject = Subject(program)
    found = [(one.name, finding) for one in LINTS for finding in one.run(subject)]
    left = list(suppressions.apply(subject.own_trees, [one.name for one in LINTS], found))
    return sorted(left, key=lambda finding: (finding.span.source.name, finding.span.start, finding.code))

"""Program and day -> findings: all checks, in one tuple."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from layerzero.analysis import (
    boost_of_zero_priority,
    conflicting_locks,
    conflicting_orders,
    expired_rule,
    impossible_lock,
    unguarded_optional_field,
)
from layerzero.analysis.findings import Answer, Doubt
from layerzero.check.program import Program
from layerzero.syntax.diagnostics import Diagnostic


@dataclass(frozen=True, slots=True)
class Check:
    """One check. One that `searches` looks at whole regions of contexts and is left out by `--fast`."""

    name: str
    run: Callable[[Program, date], Iterator[Answer]]
    searches: bool = False


CHECKS: tuple[Check, ...] = (
    Check("expired_rule", expired_rule.check),
    Check("unguarded_optional_field", unguarded_optional_field.check),
    Check("boost_of_zero_priority", boost_of_zero_priority.check),
    Check("conflicting_locks", conflicting_locks.check, searches=True),
    Check("conflicting_orders", conflicting_orders.check, searches=True),
    Check("impossible_lock", impossible_lock.check, searches=True),
)


@dataclass(frozen=True, slots=True)
class Analysis:
    """All findings in the order of the text, and the questions that were too large to decide."""

    findings: tuple[Diagnostic, ...]
    doubts: tuple[Doubt, ...]


def study(program: Program, today: date, fast: bool = False) -> Analysis:
    """Run the checks on one day; `fast` leaves out those that search."""
    answers = [answer for check in CHECKS if not (fast and check.searches) for answer in check.run(program, today)]
    findings = [answer for answer in answers if isinstance(answer, Diagnostic)]
    findings.sort(key=lambda finding: (finding.span.source.name, finding.span.start, finding.code))
    return Analysis(tuple(findings), tuple(answer for answer in answers if isinstance(answer, Doubt)))


def analyse(program: Program, today: date, fast: bool = False) -> list[Diagnostic]:
    """The findings alone."""
    return list(study(program, today, fast).findings)

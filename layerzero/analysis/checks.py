"""Program and day -> findings: all checks, in one tuple."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from layerzero.analysis import (
    boost_of_zero_priority,
    conflicting_locks,
    conflicting_orders,
    dead_rule,
    decided_condition,
    denied_lock,
    expired_rule,
    idle_kernel,
    impossible_lock,
    only_fallback,
    quarantined_lock,
    redundant_allow,
    repeated_test,
    shadowed_rule,
    unguarded_optional_field,
)
from layerzero.analysis.findings import Answer, Doubt
from layerzero.analysis.ground import Ground
from layerzero.analysis.lint import suppressions
from layerzero.check.program import Program
from layerzero.syntax.codes import CODES
from layerzero.syntax.diagnostics import Diagnostic


@dataclass(frozen=True, slots=True)
class Check:
    """One check. One that `searches` looks at whole regions of contexts and is left out by `--fast`."""

    name: str
    run: Callable[[Ground], Iterator[Answer]]
    searches: bool = False


CHECKS: tuple[Check, ...] = (
    Check("expired_rule", expired_rule.check),
    Check("unguarded_optional_field", unguarded_optional_field.check),
    Check("boost_of_zero_priority", boost_of_zero_priority.check),
    Check("conflicting_locks", conflicting_locks.check, searches=True),
    Check("conflicting_orders", conflicting_orders.check, searches=True),
    Check("impossible_lock", impossible_lock.check, searches=True),
    Check("quarantined_lock", quarantined_lock.check, searches=True),
    Check("denied_lock", denied_lock.check, searches=True),
    Check("dead_rule", dead_rule.check, searches=True),
    Check("decided_condition", decided_condition.check, searches=True),
    Check("repeated_test", repeated_test.check, searches=True),
    Check("only_fallback", only_fallback.check, searches=True),
    Check("idle_kernel", idle_kernel.check, searches=True),
    Check("redundant_allow", redundant_allow.check, searches=True),
    Check("shadowed_rule", shadowed_rule.check, searches=True),
)
"""The quick ones first: a budget that ends leaves the slow ones."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """All findings in the order of the text, and the questions that were too large to decide, or not reached."""

    findings: tuple[Diagnostic, ...]
    doubts: tuple[Doubt, ...]


def study(program: Program, today: date, fast: bool = False, spent: Callable[[], bool] = lambda: False) -> Analysis:
    """Run the checks on one day.

    Args:
        fast: leave out those that search.
        spent: whether the budget is at its end; what was not examined by then is among the doubts.
    """
    ground = Ground(program, today, spent)
    asked = [check for check in CHECKS if not (fast and check.searches)]
    answers = [answer for check in asked for answer in check.run(ground)]
    findings = [answer for answer in answers if isinstance(answer, Diagnostic)]
    doubts = [answer for answer in answers if isinstance(answer, Doubt)]
    names = [code.name for code in CODES.values() if code.severity == "warning" and code.code.startswith("LZ5")]
    named = [(CODES[finding.code].name, finding) for finding in findings]
    # What was not looked at cannot tell which suppressions are needed.
    every = not fast and not doubts
    left = list(suppressions.apply(ground.subject.own_trees, names, named, word="check", unused=every))
    left.sort(key=lambda finding: (finding.span.source.name, finding.span.start, finding.code))
    return Analysis(tuple(left), tuple(doubts))


def analyse(program: Program, today: date, fast: bool = False) -> list[Diagnostic]:
    """The findings alone."""
    return list(study(program, today, fast).findings)

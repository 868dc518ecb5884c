"""What the checks of one run share: the program, the day, what is reported, how long they may go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

from layerzero.analysis.lint.subject import Subject
from layerzero.analysis.model import Model
from layerzero.check.program import Kernel, Program, Rule
from layerzero.regions.region import Nowhere, Undecided
from layerzero.regions.space import Space
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Span

BUDGET_SPENT = "not examined: the budget is spent"


@dataclass(frozen=True)
class Ground:
    """A program on one day. `spent` says whether the budget is at its end; a check that asks then stops."""

    program: Program
    today: date
    spent: Callable[[], bool] = lambda: False
    deaths: dict[int, Nowhere | Undecided | None] = field(default_factory=dict)  # what dead_rule found, by rule
    _models: dict[tuple[str, date, bool], Model] = field(default_factory=dict)

    def model(self, operation: str, today: date | None = None, ranging: bool = False) -> Model:
        """What decides in an operation; `ranging` where kernels' packages may be missing."""
        key = (operation, today or self.today, ranging)
        if key not in self._models:
            environment = Environment(assume_packages=True, today=key[1])
            self._models[key] = Model(self.program, self.program.operations[operation], environment, ranging)
        return self._models[key]

    def models(self, ranging: bool = False) -> Iterator[Model]:
        return (self.model(operation, ranging=ranging) for operation in self.program.operations)

    def space(self, operation: str) -> Space:
        return self.model(operation).space

    # ------------------------------------------------------------ how far a question is followed

    def pieces(self, model: Model) -> int:
        """Of one question about a rule or kernel: the more rules ask, and the more kernels have to be decided about in
        each piece, the fewer, so that all end in time."""
        by_rules = 20_000 // (len(self.program.rules) + 1)
        by_kernels = 2_800 // (len(model.kernels) + 1)
        return max(40, min(400, by_rules, by_kernels))

    def steps(self, model: Model) -> int:
        """Splits of the search for that many pieces. Each may be decided with and without a rule, and takes as much
        longer in a space of more kernels."""
        return min(15 * self.pieces(model), 300_000 // (len(model.kernels) + 1) ** 2)

    # ------------------------------------------------------------ what is reported

    @cached_property
    def subject(self) -> Subject:
        return Subject(self.program)

    def reports(self, span: Span) -> bool:
        """Whether a finding at this place concerns the reader; what others declared serves every policy."""
        return self.subject.reports(span)

    def rules(self, *kinds: str) -> list[Rule]:
        """The rules that are looked at and in force, in the order of the text."""
        found = (rule for rule in self.program.rules if not kinds or rule.kind in kinds)
        valid = (rule for rule in found if (rule.until is None or rule.until > self.today) and self.reports(rule.span))
        return sorted(valid, key=lambda rule: (rule.span.source.name, rule.span.start))

    def kernels(self) -> list[Kernel]:
        return self.subject.kernels()

    def days(self, rule: Rule) -> list[date]:
        """Today, and each later day on which another rule ends while this one is still in force."""
        ends = {other.until for other in self.program.rules if other.until is not None and other.until > self.today}
        return [self.today, *sorted(day for day in ends if rule.until is None or day < rule.until)]

"""`lz diff` is complete and true: a sampled context is decided otherwise exactly where a printed region says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from random import Random

import pytest

from layerzero.analysis.difference import Difference, Side, difference
from layerzero.analysis.settle import outcome_of
from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ContextError, PolicyError
from layerzero.semantics.context import complete
from layerzero.semantics.environment import Environment
from layerzero.semantics.evaluate import Lookups
from layerzero.semantics.experiments import enrol
from tests.properties.generators import TODAY, field_value, make_case

STEPS = 600  # of one difference; past it the rest is unexamined


def edited(program: Program, random: Random) -> Program:
    """A program that differs in one thing."""
    rules, kernels = list(program.rules), dict(program.kernels)
    at, name = random.randrange(len(rules)), random.choice(sorted(kernels))
    rule, kernel = rules[at], kernels[name]
    match random.choice(["drop", "condition", "always", "factor", "targets", "priority", "facts", "strict"]):
        case "drop":
            del rules[at]
        case "condition":
            rules[at] = replace(rule, condition=random.choice(rules).condition)
        case "always":
            rules[at] = replace(rule, condition=None)
        case "factor":
            rules[at] = replace(rule, factor=2.5) if rule.kind == "boost" else replace(rule, priority=rule.priority + 5)
        case "targets":
            rules[at] = replace(rule, targets=random.choice(rules).targets[: len(rule.targets)])
        case "priority":
            kernels[name] = replace(kernel, priority=kernel.priority + random.choice([-30, 30]))
        case "facts":
            kernels[name] = replace(kernel, requirements=kernel.requirements[1:], supports=kernel.supports[1:])
        case "strict":
            return replace(program, strict=not program.strict)
    return replace(program, rules=tuple(rules), kernels=kernels)


def contexts(program: Program, given: list[dict[str, Value]], random: Random) -> Iterator[dict[str, Value]]:
    """The sampled ones, and some that differ from them in a few fields."""
    for values in given:
        yield values
        for _ in range(4):
            changed = {name: field_value(random, name) for name in random.sample(sorted(program.fields), 3)}
            yield {name: value for name, value in {**values, **changed}.items() if value is not None}


def check(old: Side, new: Side, found: Difference, given: list[dict[str, Value]], random: Random) -> tuple[int, int]:
    """Hold a difference against contexts; how many were decided alike and otherwise."""
    alike = otherwise = 0
    for operation in ("one", "two"):
        for values in contexts(old.program, given, random):
            try:
                completed = complete(old.program, Scope(operation), values)
            except ContextError:
                continue
            lookups = Lookups(completed.values, {}, enrol(old.program, values))
            proofs = [side.decide(operation, values, {}) for side in (old, new)]
            before, after = map(outcome_of, proofs)
            mine = [change for change in found.changes if change.operation == operation]
            doubts = [one for one in found.unexamined if one.operation == operation]
            within = [change for change in mine if change.region.contains(lookups)]
            if before == after:
                assert not within, (operation, values, before)
                alike += 1
                continue
            fitting = [c for c in within if before in c.before or after in c.after]
            unknown = any(one.region is None or one.region.contains(lookups) for one in doubts)
            assert fitting or unknown, (operation, values, before, after)
            otherwise += bool(fitting)
    return alike, otherwise


@pytest.mark.parametrize("seed", range(10))
def test_what_is_printed_is_what_changes(seed: int) -> None:
    random = Random(seed)
    for attempt in count():
        try:
            case = make_case(4000 + 50 * seed + attempt, 12)
        except PolicyError:
            continue
        break
    environment = Environment(assume_packages=True, call_kernels=False, today=TODAY)
    given = [dict(values) for _, values, _ in case.contexts]
    old, new = Side(case.program, environment), Side(edited(case.program, random), environment)
    found = difference(old, new, steps=STEPS)
    for change in found.changes:
        example = change.example
        assert outcome_of(example.old) != outcome_of(example.new)
        assert outcome_of(example.old) in change.before and outcome_of(example.new) in change.after
        assert change.causes
    check(old, new, found, given, random)


def test_the_property_is_not_empty() -> None:
    """Over all seeds, differences are found and sampled contexts lie in them."""
    alike = otherwise = 0
    for seed in range(10):
        random = Random(seed)
        try:
            case = make_case(5000 + seed, 12)
        except PolicyError:
            continue
        environment = Environment(assume_packages=True, call_kernels=False, today=TODAY)
        old = Side(case.program, environment)
        new = Side(replace(case.program, rules=case.program.rules[3:]), environment)
        counted = check(old, new, difference(old, new, steps=STEPS), [dict(v) for _, v, _ in case.contexts], random)
        alike, otherwise = alike + counted[0], otherwise + counted[1]
    assert alike > 150 and otherwise > 15

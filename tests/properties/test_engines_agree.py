"""The interpreter is the definition; the matchers, generated and native, are held equal to it over random policies and
contexts.

Each policy is compiled three ways, for both: as a tree, as bits, and with some fields fixed. `make test` decides at
least 20 000 (policy, context) pairs. The same pairs then catch every mutation of the compiler, so the property has
teeth.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import pytest

from layerzero import native
from layerzero.check import expressions as typed, program_from_text
from layerzero.check.expressions import Expression, walk
from layerzero.check.program import Program, Scope
from layerzero.compiler.compile import LIMITS, compile_program
from layerzero.compiler.form import Form
from layerzero.compiler.matcher import Matcher, build, build_in_python
from layerzero.errors import PolicyError
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Outcome, Proof

POLICIES = 112
CONTEXTS = 184
SMALLEST_SHARE = 0.02
SMALL_TREES = (600, 40_000)
"""Limits of trees here: most policies get one, the others soon turn to bits."""


def _load(name: str) -> ModuleType:
    """A module beside this file; the test folders are no packages."""
    import importlib.util
    import sys
    from pathlib import Path

    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


generators = _load("generators")
mutations = _load("mutations")


@dataclass(frozen=True)
class Judged:
    """A case with what the interpreter says about each of its contexts."""

    case: generators.Case
    outcomes: tuple[Outcome, ...]


@cache
def judged() -> tuple[tuple[Judged, ...], Counter[str], int]:
    """All cases, how often each thing decided, and how many policies the checker refused."""
    found: list[Judged] = []
    counts: Counter[str] = Counter()
    seed = refused = 0
    while len(found) < POLICIES:
        seed += 1
        try:
            case = generators.make_case(seed, CONTEXTS)
        except PolicyError:
            refused += 1
            continue
        outcomes = []
        places = _places(case.program)
        for operation, values, arms in case.contexts:
            proof = decide(case.program, case.environment, Scope(operation), values, arms)
            outcomes.append(Outcome.of(proof))
            counts.update(_decided(proof, places))
        found.append(Judged(case, tuple(outcomes)))
    return tuple(found), counts, refused


def matchers(case: generators.Case) -> Iterator[tuple[str, Matcher]]:
    for name, fixed, limits in (("tree", {}, SMALL_TREES), ("bits", {}, (0, 0)), ("fixed", case.fixed, SMALL_TREES)):
        form = compile_program(case.program, case.environment, fixed, limits)
        yield name, build_in_python(form)
        if native.matcher is not None:
            yield f"native {name}", build(form)


def disagreement(one: Judged) -> str | None:
    """The first context on which a matcher and the interpreter differ."""
    for name, matcher in matchers(one.case):
        for (operation, values, arms), expected in zip(one.case.contexts, one.outcomes, strict=True):
            got = matcher.decide(operation, values, arms)
            if got != expected:
                return f"seed {one.case.seed}, {name}: {operation} {values} {arms}: expected {expected}, got {got}"
    return None


# ---------------------------------------------------------------- the property


def test_matchers_equal_the_interpreter_on_random_policies() -> None:
    cases, _, refused = judged()
    pairs = sum(len(one.outcomes) for one in cases)
    print(f"\n{pairs} pairs of {len(cases)} policies; {refused} policies were refused by the checker")
    assert pairs >= 20_000
    assert [found for found in map(disagreement, cases) if found] == []


@pytest.mark.stress
def test_matchers_equal_the_interpreter_on_a_hundred_thousand_pairs_more() -> None:
    """`make stress`, or this test alone: `pytest -m stress -s tests/properties/test_engines_agree.py`."""
    pairs = policies = 0
    seed = 1_000_000  # none of those that every run decides
    while pairs < 100_000:
        seed += 1
        try:
            case = generators.make_case(seed, CONTEXTS)
        except PolicyError:
            continue
        decided = (decide(case.program, case.environment, Scope(o), values, arms) for o, values, arms in case.contexts)
        one = Judged(case, tuple(map(Outcome.of, decided)))
        assert disagreement(one) is None
        pairs, policies = pairs + len(one.outcomes), policies + 1
    print(f"\n{pairs} pairs of {policies} policies")


def test_the_random_policies_reach_everything() -> None:
    cases, counts, refused = judged()
    pairs = sum(len(one.outcomes) for one in cases)
    print()
    for name in EXPECTED:
        print(f"{name:32} {counts[name] / pairs:7.1%}")
    rare = {name: counts[name] / pairs for name in EXPECTED if counts[name] < SMALLEST_SHARE * pairs}
    assert rare == {}
    assert refused < len(cases) / 4


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_mutation_of_the_compiler_is_caught(
    mutation: mutations.Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases, _, _ = judged()
    mutation.apply(monkeypatch)
    assert any(_fails(one) for one in cases), f"no pair tells `{mutation.name}` from the compiler"


def _fails(one: Judged) -> bool:
    try:
        return disagreement(one) is not None
    except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError):
        return True


def test_there_are_thirty_mutations() -> None:
    assert len({mutation.name for mutation in mutations.MUTATIONS}) >= 30


# ---------------------------------------------------------------- forms


def test_forms_are_reproducible_and_survive_json() -> None:
    import json

    for one in judged()[0][:12]:
        case = one.case
        for limits in (LIMITS, (0, 0)):
            form = compile_program(case.program, case.environment, case.fixed, limits)
            again = compile_program(program_again(case), case.environment, case.fixed, limits)
            assert form.digest == again.digest
            loaded = Form.from_data(json.loads(json.dumps(form.to_data())))
            assert loaded.digest == form.digest
            matcher = build(loaded)
            got = tuple(matcher.decide(*context) for context in case.contexts)
            assert got == one.outcomes


def test_the_order_of_statements_never_matters() -> None:
    for one in judged()[0][:25]:
        header, *lines = [line for line in one.case.text.split("\n") if line]
        random.Random(one.case.seed).shuffle(lines)
        shuffled = _on_the_same_machine(program_from_text("\n".join([header, *lines]), prelude=False), one.case)
        assert shuffled.digest == one.case.program.digest
        form = compile_program(shuffled, one.case.environment, {}, LIMITS)
        assert form.digest == compile_program(one.case.program, one.case.environment, {}, LIMITS).digest
        matcher = build(form)
        assert tuple(matcher.decide(*context) for context in one.case.contexts) == one.outcomes


def program_again(case: generators.Case) -> Program:
    """The same text, read anew: no object is shared with the first program."""
    return _on_the_same_machine(program_from_text(case.text, prelude=False), case)


def _on_the_same_machine(program: Program, case: generators.Case) -> Program:
    from dataclasses import replace

    adapters = {name: replace(k, adapter=case.program.kernels[name].adapter) for name, k in program.kernels.items()}
    return replace(program, kernels=adapters)


# ---------------------------------------------------------------- what decided

STAGES = (
    "requirement feature package breaker quarantine lock else_choose else_fallback else_fail allow deny boost order "
    "disagreement degraded no_kernel invalid_context chosen unknown assumed expired arm"
).split()
OPERATORS = (
    "and or not if == != < <= > >= chain in_set in_range not_in like + - * // % minus min max has kernel.X package()"
).split()
EXPECTED = (*STAGES, *OPERATORS)


def _decided(proof: Proof, places: dict[tuple[str, str], set[str]]) -> set[str]:
    """Everything that had a part in one decision."""
    found: set[str] = set()
    operators: set[str] = set()
    for verdict in proof.verdicts.values():
        for reason in verdict.reasons:
            found.add({"not_allowed": "allow", "denied": "deny", "not_locked": "lock"}.get(reason.kind, reason.kind))
            operators |= places.get((reason.at, reason.text), set())
            found |= {"unknown"} if reason.missing else set()
        if verdict.stage == "chosen":
            found |= {"chosen"} | ({"boost"} if verdict.boosts else set())
    for one in proof.rules:
        if one.applied and one.rule.condition is not None:
            operators |= _operators(one.rule.condition)
        found |= {"unknown"} if one.missing else set()
        found |= {"arm"} if one.applied and one.rule.arm else set()
        if one.note is not None:
            found |= {"expired"} if one.note.startswith("expired") else set()
            found |= {"disagreement"} if "disagree" in one.note else set()
            found |= {f"else_{one.rule.otherwise}"} if one.note.startswith("missed") else set()
    found |= {"lock"} if proof.locked_by else set()
    found |= {"order"} if proof.ordered_by else set()
    found |= {"degraded"} if proof.degraded else set()
    found |= {"assumed"} if proof.assumed else set()
    found |= {proof.error.code} if proof.error is not None else set()
    return found | operators


def _places(program: Program) -> dict[tuple[str, str], set[str]]:
    """(place, text) of every condition -> the operators in it."""
    conditions: list[Expression] = []
    for kernel in program.kernels.values():
        conditions.extend(one.condition for one in kernel.requirements)
        conditions.extend(one.when for one in kernel.supports if one.when is not None)
    for operation in program.operations.values():
        conditions.extend(operation.views.values())
    found: dict[tuple[str, str], set[str]] = {}
    for condition in conditions:
        for part in walk(condition):
            found.setdefault((str(part.span), part.span.text), set()).update(_operators(part))
    return found


def _operators(expression: Expression) -> set[str]:
    return {name for part in walk(expression) for name in _names(part)}


def _names(part: Expression) -> set[str]:
    match part:
        case typed.Comparison(operators=operators):
            return set(operators) | ({"chain"} if len(operators) > 1 else set())
        case typed.Membership(items=items, negated=negated):
            ranges = any(isinstance(item, typed.Interval) for item in items)
            return {"in_range" if ranges else "in_set"} | ({"not_in"} if negated else set())
        case typed.Arithmetic(operator=operator):
            return {operator}
        case typed.Extremum(function=function):
            return {function}
        case _:
            return {_SINGLE[type(part)]} if type(part) in _SINGLE else set()


_SINGLE = {
    typed.And: "and",
    typed.Or: "or",
    typed.Not: "not",
    typed.Conditional: "if",
    typed.Like: "like",
    typed.Negate: "minus",
    typed.HasField: "has",
    typed.AttributeValue: "kernel.X",
    typed.InstalledVersion: "package()",
}


def test_generated_code_holds_no_text_of_the_policy() -> None:
    from layerzero.compiler.codegen import source_of

    allowed = re.compile(
        r"decide|def|values|arms|get|return|if|else|is|not|None|and|or|True|False|min|max|float|[KvapsmodqE][0-9_]*|d[0-9]+_[0-9]+|q[0-9]+_[0-9]+"
    )
    for one in judged()[0][:6]:
        for limits in (LIMITS, (0, 0)):
            form = compile_program(one.case.program, one.case.environment, {}, limits)
            for operation in form.operations.values():
                words = set(re.findall(r"[A-Za-z_][A-Za-z_0-9]*", source_of(operation)))
                assert {word for word in words if not allowed.fullmatch(word)} == set()

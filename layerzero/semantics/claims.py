"""The `test` blocks of a program -> which claims hold. A `given` is decided; a `whenever` is sampled, not proved.

Proofs of a `whenever` are made in layerzero/analysis/proving.py, which comes back here for what it cannot decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

from layerzero.check.expressions import Value
from layerzero.check.program import Claim, Given, Program, Scope, Test, Whenever
from layerzero.semantics.decision_json import Json, values_json
from layerzero.semantics.environment import Environment
from layerzero.semantics.explanation import headline
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof
from layerzero.semantics.sampling import inside, sample

SAMPLES = 400


@dataclass(frozen=True, slots=True)
class Situation:
    """Where a claim was decided: the context and what else the decision depended on."""

    scope: Scope
    values: Mapping[str, Value]
    arms: Mapping[str, str]
    packages: Mapping[str, str]  # those given or chosen; the others are the environment's
    today: date

    def without(self, name: str) -> Situation:
        """The same without one value, arm or package."""
        return replace(
            self,
            values={key: value for key, value in self.values.items() if key != name},
            arms={key: arm for key, arm in self.arms.items() if key != name},
            packages={key: version for key, version in self.packages.items() if key != name},
        )

    @property
    def size(self) -> tuple[int, int]:
        """How much a reader has to take in."""
        return (len(self.values) + len(self.arms) + len(self.packages), len(str(self.context)))

    @property
    def context(self) -> Json:
        """What `lz decide` would read: the operation and the values."""
        return {"operation": str(self.scope), **values_json(self.values)}


@dataclass(frozen=True, slots=True)
class Broken:
    """A claim that does not hold: `expect not acme.*`, and what was decided instead, where."""

    claim: Claim
    situation: Situation
    proof: Proof

    @property
    def message(self) -> str:
        return f"wanted `{self.claim.span.text}`, got {headline(self.proof)}"


@dataclass(frozen=True, slots=True)
class TestResult:
    """`sampled` counts the contexts tried for a `whenever` that is not proved; `rules` applied in one of them.

    `proofs` are the decisions that were looked at, and `undecided` says why a claim was neither proved nor refuted.
    """

    __test__ = False

    test: Test
    broken: tuple[Broken, ...]
    sampled: int | None
    rules: frozenset[str]
    proofs: tuple[Proof, ...] = ()
    proved: bool = False
    undecided: str | None = None
    vacuous: bool = False  # proved, for there is no context that the claim is about

    @property
    def passed(self) -> bool:
        return not self.broken

    @property
    def verdict(self) -> str:
        """`passed`, `failed`, or for a `whenever` without a counterexample `proved` or `sampled, not proved`."""
        if self.broken:
            return "failed"
        if self.proved:
            return "proved"
        return "passed" if self.sampled is None else "sampled, not proved"


def run_tests(program: Program, environment: Environment, samples: int = SAMPLES, seed: int = 0) -> list[TestResult]:
    """The result of every test of a program, in its order. The same seed samples the same contexts."""
    return [run_test(program, environment, test, samples, seed) for test in program.tests]


def run_test(
    program: Program, environment: Environment, test: Test, samples: int = SAMPLES, seed: int = 0
) -> TestResult:
    match test.subject:
        case Given() as given:
            situations: Iterable[Situation] = [_situation(environment, given)]
        case Whenever() as whenever:
            drawn = sample(program, environment, whenever, samples, seed)
            situations = [Situation(whenever.scope, d.values, d.arms, d.packages, d.today) for d in drawn]
    rules: set[str] = set()
    proofs: list[Proof] = []
    broken: dict[int, Broken] = {}
    for situation in situations:
        proof = _decide(program, environment, situation)
        proofs.append(proof)
        rules.update(applied.rule.name for applied in proof.rules if applied.applied)
        for place, claim in enumerate(test.claims):
            if place not in broken and not holds(claim, proof):
                broken[place] = Broken(claim, situation, proof)
    found = [broken[place] for place in sorted(broken)]
    if isinstance(test.subject, Whenever):
        found = [shrunk(program, environment, test.subject, one) for one in found]
        return TestResult(test, tuple(found), len(proofs), frozenset(rules), tuple(proofs))
    return TestResult(test, tuple(found), None, frozenset(rules), tuple(proofs))


def shrunk(program: Program, environment: Environment, whenever: Whenever, broken: Broken) -> Broken:
    """The counterexample without the values, arms and packages that it does not need, as readers want it."""
    situation = broken.situation
    for name in [*situation.values, *situation.arms, *situation.packages]:
        smaller = broken.situation.without(name)
        if inside(program, whenever, smaller.values):
            proof = _decide(program, environment, smaller)
            if not holds(broken.claim, proof):
                broken = Broken(broken.claim, smaller, proof)
    return broken


def holds(claim: Claim, proof: Proof) -> bool:
    """Whether one `expect` line is true of a decision."""
    held = True
    if claim.kernels is not None:
        held = proof.kernel in claim.kernels
    if claim.outcome is not None:
        held = proof.degraded if claim.outcome == "degraded" else proof.error is not None
    if claim.rule is not None:
        held = held and any(applied.applied and applied.rule.name == claim.rule for applied in proof.rules)
    return held is not claim.negated


def _situation(environment: Environment, given: Given) -> Situation:
    packages = {choice.name: _version(choice.specifiers) for choice in given.packages}
    return Situation(given.scope, given.values, given.arms, packages, environment.today)


def _version(specifiers: tuple[str, ...]) -> str:
    """`("==1.5.1",)` -> `1.5.1`; the checker lets nothing else pass in a `given`."""
    return specifiers[0].lstrip("=").strip()


def _decide(program: Program, environment: Environment, situation: Situation) -> Proof:
    packages = {**environment.packages, **situation.packages}
    there = replace(environment, packages=packages, today=situation.today)
    return decide(program, there, situation.scope, situation.values, situation.arms)

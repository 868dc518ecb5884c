"""A `whenever` claim -> proved, refuted with the smallest counterexample that was found, or not decided.

Every context in which the claim could be false is decided, piece by piece. For `expect not acme.*` those are the ones
in which a kernel of acme may come out; where there provably are none, there is nothing left to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial

from layerzero.analysis.chosen import Chosen
from layerzero.analysis.ground import BUDGET_SPENT
from layerzero.analysis.model import Model, packages_of
from layerzero.analysis.settle import settle
from layerzero.check.program import Claim, Program, Test, Whenever
from layerzero.regions import formula as f
from layerzero.regions.explore import explore
from layerzero.regions.formula import Formula
from layerzero.regions.region import Region, Undecided, Witness
from layerzero.regions.terms import PackageDimension, full
from layerzero.regions.translate import TooComplexError
from layerzero.semantics.claims import SAMPLES, Broken, Situation, TestResult, holds, run_test, shrunk
from layerzero.semantics.environment import Environment
from layerzero.semantics.proof import Proof

STEPS = 3_000
PIECES = 120
GUESS = 1_000
COUNTEREXAMPLES = 3
"""Of these, each without what it does not need, the smallest is shown."""


def examined(
    program: Program,
    environment: Environment,
    test: Test,
    spent: Callable[[], bool] = lambda: False,
    samples: int = SAMPLES,
) -> TestResult:
    """The result of a test: a `given` is decided, a `whenever` proved or refuted, or else sampled with the reason."""
    if not isinstance(test.subject, Whenever):
        return run_test(program, environment, test)
    try:
        return _Trial(program, environment, test, test.subject, spent).result()
    except TooComplexError as error:
        sampled = run_test(program, environment, test, samples)
        return replace(sampled, undecided=None if sampled.broken else str(error))


@dataclass
class _Trial:
    program: Program
    environment: Environment
    test: Test
    whenever: Whenever
    spent: Callable[[], bool]
    proofs: list[Proof] = field(default_factory=list)

    def result(self) -> TestResult:
        if packages_of([self.whenever.condition]):
            raise TooComplexError("its condition reads a package")
        broken: list[Broken] = []
        rules: set[str] = set()
        self.proofs += self.examples()
        vacuous = not self.proofs
        doubt: TooComplexError | None = None
        for claim in self.test.claims:
            found: list[Broken] = []
            try:
                for one in self.counterexamples(claim, rules):
                    found.append(shrunk(self.program, self.environment, self.whenever, one))
                    if len(found) == COUNTEREXAMPLES:
                        break
            except TooComplexError as error:
                doubt = error
            if found:
                broken.append(min(found, key=lambda one: one.situation.size))
        if doubt is not None and not broken:
            raise doubt
        return TestResult(
            self.test, tuple(broken), None, frozenset(rules), tuple(self.proofs), not broken, vacuous=vacuous
        )

    def examples(self) -> list[Proof]:
        """A decision of each stretch of days; none at all where the claim is about no context."""
        proofs = []
        for model in self.models():
            found = Region(model.space, self.inside(model)).find()
            if isinstance(found, Undecided):
                raise TooComplexError(found.reason)
            if isinstance(found, Witness):
                proofs.append(model.decided(found))
        return proofs

    def counterexamples(self, claim: Claim, rules: set[str]) -> Iterator[Broken]:
        for model in self.models():
            inside = self.inside(model)
            for suspect in _suspects(model, claim):
                region = f.all_of([inside, suspect])
                if region == f.FALSE:
                    continue
                found = Region(model.space, region).find(partial(_false, model, claim), GUESS, shortest=False)
                if isinstance(found, Witness):
                    yield self.broken(model, claim, found)
                    continue
                yield from self.explored(model, claim, region, rules)

    def explored(self, model: Model, claim: Claim, region: Formula, rules: set[str]) -> Iterator[Broken]:
        def look(witness: Witness) -> tuple[bool, tuple[Formula, ...]]:
            proof = model.decided(witness)
            rules.update(one.rule.name for one in proof.rules if one.applied)
            self.proofs.append(proof)
            settled = settle(model, witness, proof, naming=claim.rule)
            return holds(claim, proof), settled.within

        def over() -> bool:
            if self.spent():
                raise TooComplexError(BUDGET_SPENT)
            return False

        for piece in explore(model.space, region, look, over, STEPS, PIECES):
            if not piece.answer:
                yield self.broken(model, claim, piece.witness)

    def broken(self, model: Model, claim: Claim, witness: Witness) -> Broken:
        supposed = model.supposed(witness)
        packages = {name: text for name, text in supposed.packages.items() if name not in self.environment.packages}
        situation = Situation(self.whenever.scope, witness.given, witness.lookups.arms, packages, model.today)
        return Broken(claim, situation, model.decided(witness))

    def models(self) -> Iterator[Model]:
        """One for each stretch of days on which the same rules are in force."""
        operation = self.program.operations[self.whenever.scope.operation]
        untils = sorted({rule.until for rule in self.program.rules if rule.until and rule.concerns(operation.name)})
        days: list[date] = [untils[0] - timedelta(days=1), *untils] if untils else [self.environment.today]
        for day in days:
            yield Model(self.program, operation, replace(self.environment, today=day), free_arms=True)

    def inside(self, model: Model) -> Formula:
        """The contexts that the claim is about; a package that conditions read has a version."""
        space = model.space
        parts = [space.within([self.whenever.scope]), space.where(self.whenever.condition), model.machine]
        if self.environment.assume_packages:
            dimensions = (PackageDimension(name) for name in sorted(model.packages_read))
            parts += [f.literal(dimension, full(dimension).only_known()) for dimension in dimensions]
        return f.all_of(parts)


def _false(model: Model, claim: Claim, witness: Witness) -> bool:
    return not holds(claim, model.decided(witness))


# ---------------------------------------------------------------- where a claim may be false


def _suspects(model: Model, claim: Claim) -> Iterator[Formula]:
    """Formulas that together hold wherever the claim is false, and more."""
    if claim.rule is not None:
        yield f.TRUE
    elif claim.kernels is not None:
        for kernel in model.kernels:
            if (kernel in claim.kernels) is claim.negated:
                yield _may_come_out(model, kernel)
        if not claim.negated:
            yield _may_fail(model)
    elif claim.outcome == "degraded" and claim.negated:
        every = Chosen(model)
        for kernel in model.operation.fallback:
            if kernel in model.kernels:
                left = f.any_of([every.locked, f.negation(every.allowed(kernel))])
                yield f.all_of([every.feasible(kernel), left])
    elif claim.outcome == "error" and claim.negated:
        yield _may_fail(model)
    else:
        yield f.TRUE


def _may_come_out(model: Model, kernel: str) -> Formula:
    """Where a kernel may be chosen: by a lock on it, as a candidate, or as a fallback."""
    every = Chosen(model)
    feasible, candidate = every.feasible(kernel), every.candidate(kernel)
    locks = [model.part(one, kernel) for one in model.reaches("lock") if kernel in one.kernels]
    options = [f.all_of([feasible, f.any_of(locks)]), f.all_of([every.locked, candidate])]
    if kernel in model.operation.fallback:
        options.append(f.all_of([feasible, f.any_of([every.locked, f.negation(every.allowed(kernel))])]))
    try:
        options.append(every.may_be_first(kernel))
    except TooComplexError:
        options.append(candidate)
    return f.any_of(options)


def _may_fail(model: Model) -> Formula:
    """Where a decision may be an error: a lock fails, or no fallback is feasible and not denied."""
    every = Chosen(model)
    if model.program.strict:
        return f.any_of([every.locked, *[f.all_of(f.negation(every.candidate(kernel)) for kernel in model.kernels)]])
    fallbacks = [kernel for kernel in model.operation.fallback if kernel in model.kernels]
    gone = [f.any_of([f.negation(every.feasible(kernel)), every.denied(kernel)]) for kernel in fallbacks]
    unserved = [f.negation(every.candidate(kernel)) for kernel in model.kernels]
    return f.any_of([every.locked, f.all_of([*gone, *unserved])])

"""What is said of a whole piece of contexts is said of each: sampled contexts decide as their piece claims."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import islice
from random import Random

import pytest
from packaging.version import Version

from layerzero.analysis.model import Model
from layerzero.analysis.settle import Outcome, outcome_of, settle
from layerzero.check.program import Scope
from layerzero.errors import ContextError, PolicyError
from layerzero.regions import formula as f
from layerzero.regions.explore import Piece, explore
from layerzero.regions.region import Witness
from layerzero.regions.translate import TooComplexError
from layerzero.semantics.context import complete
from layerzero.semantics.environment import Environment
from layerzero.semantics.evaluate import Lookups
from layerzero.semantics.experiments import enrol
from tests.properties.generators import VERSIONS, Case, field_value, make_case

TODAY = date(2026, 6, 1)
CASES = 3
PIECES = 15


def cases(first: int, count: int, contexts: int) -> Iterator[Case]:
    """The next policies that the checker accepts."""
    made = 0
    for seed in range(first, first + 10 * count):
        try:
            case = make_case(seed, contexts)
        except PolicyError:
            continue
        yield case
        made += 1
        if made == count:
            return


def witnesses(case: Case, model: Model, random: Random) -> Iterator[Witness]:
    """The sampled contexts of a case, each with versions of some of the packages that conditions read."""
    operation = model.operation.name
    for _, values, _ in case.contexts:
        try:
            completed = complete(case.program, Scope(operation), values)
        except ContextError:
            continue
        read = sorted(model.packages_read)
        packages = {name: Version(random.choice(VERSIONS)) for name in read if random.random() < 0.6}
        yield Witness(operation, values, Lookups(completed.values, packages, enrol(case.program, values)))


def neighbours(model: Model, witness: Witness, random: Random) -> Iterator[Witness]:
    """Contexts that differ from one in a few fields."""
    for _ in range(50):
        changed = {name: field_value(random, name) for name in random.sample(sorted(model.program.fields), 3)}
        values = {name: value for name, value in {**witness.given, **changed}.items() if value is not None}
        try:
            completed = complete(model.program, Scope(witness.operation), values)
        except ContextError:
            continue
        arms = enrol(model.program, values)
        yield Witness(witness.operation, values, Lookups(completed.values, witness.lookups.packages, arms))


@pytest.mark.parametrize("operation", ["one", "two"])
def test_the_formulas_say_what_the_interpreter_says(operation: str) -> None:
    """For every sampled context, with packages given, assumed and missing."""
    random = Random(1)
    asked = 0
    for case in cases(1000, 4 * CASES, 40):
        for assume in (True, False):
            environment = Environment(assume_packages=assume, call_kernels=False, today=TODAY)
            model = Model(case.program, case.program.operations[operation], environment)
            for witness in witnesses(case, model, random):
                given = witness if assume else Witness(operation, witness.given, Lookups(witness.lookups.fields))
                proof = model.decided(given)
                assert f.holds_in(model.machine, given.lookups)
                try:
                    found = settle(model, given, proof)
                except TooComplexError as error:
                    assert "the formulas say" not in str(error), (case.seed, given, str(error))
                    continue
                assert found.outcome == outcome_of(proof), case.seed
                asked += 1
    assert asked > 200


@pytest.mark.parametrize("operation", ["one", "two"])
def test_every_context_of_a_piece_has_its_outcome(operation: str) -> None:
    """Neighbours of the context that a piece was found by: those still in the piece decide the same."""
    random = Random(2)
    compared = 0
    for case in cases(2000, CASES, 0):
        model = Model(case.program, case.program.operations[operation], Environment(assume_packages=True, today=TODAY))
        for piece in islice(_pieces(model), PIECES):
            for witness in neighbours(model, piece.witness, random):
                if f.holds_in(piece.formula, witness.lookups):
                    assert piece.answer == outcome_of(model.decided(witness)), (case.seed, witness)
                    compared += 1
    assert compared > 40


def test_pieces_are_the_whole_region() -> None:
    """Where the exploration ends, every sampled context lies in some piece."""
    random = Random(3)
    compared = 0
    for case in cases(3000, CASES, 60):
        model = Model(case.program, case.program.operations["two"], Environment(assume_packages=True, today=TODAY))
        try:
            pieces = list(
                explore(model.space, f.TRUE, lambda witness, m=model: _look(m, witness), steps=6000, pieces=150)
            )
        except TooComplexError:
            continue
        for witness in witnesses(case, model, random):
            assert any(f.holds_in(piece.formula, witness.lookups) for piece in pieces), (case.seed, witness)
            compared += 1
    assert compared > 10


def _look(model: Model, witness: Witness) -> tuple[Outcome, tuple[f.Formula, ...]]:
    found = settle(model, witness, model.decided(witness))
    return found.outcome, found.within


def _pieces(model: Model) -> Iterator[Piece[Outcome]]:
    try:
        yield from explore(model.space, f.TRUE, lambda witness: _look(model, witness), steps=4000)
    except TooComplexError:
        return

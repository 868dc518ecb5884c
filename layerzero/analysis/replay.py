"""A witness -> what the interpreter says of it. Nothing is claimed of a context that was not replayed."""

from __future__ import annotations

from datetime import date

from layerzero.check.program import Program, Rule, Scope
from layerzero.regions.region import Witness
from layerzero.semantics.applicability import Application, applications
from layerzero.semantics.call import Call
from layerzero.semantics.environment import Environment
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof


def environment(witness: Witness, today: date) -> Environment:
    """Every package is there at an accepted version, but for those that the witness names."""
    return Environment(packages=witness.packages, assume_packages=True, today=today)


def applied(program: Program, witness: Witness, today: date) -> dict[int, Application]:
    """What each rule says about the witness, by the rule's id()."""
    operation = program.operations[witness.operation]
    call = Call(program, environment(witness, today), operation, witness.lookups.fields, witness.lookups.arms)
    return {id(one.rule): one for one in applications(call)}


def application(program: Program, witness: Witness, today: date, rule: Rule) -> Application | None:
    return applied(program, witness, today).get(id(rule))


def decided(program: Program, witness: Witness, today: date) -> Proof:
    scope = Scope(witness.operation)
    return decide(program, environment(witness, today), scope, witness.given, witness.lookups.arms)

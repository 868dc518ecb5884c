"""Small programs as text, and decisions on them, in one line each."""

from __future__ import annotations

from functools import lru_cache

from layerzero.check import program_from_text
from layerzero.check.expressions import Expression, Value
from layerzero.check.program import Program
from layerzero.semantics.context import read_context
from layerzero.semantics.environment import Environment
from layerzero.semantics.evaluate import Lookups, evaluate
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof
from layerzero.semantics.values import Result

OFFLINE = Environment(assume_packages=True)

FIELDS = """
field a: int
field b: int
field i: int in -100..100
field x: float
field y: float
field p: bool
field q: bool
field s: string
field t: string
field v: version
field w: version
field e: enum(red, green, blue)
field g: enum(green, grey)
alias scarlet = red
"""


@lru_cache(maxsize=512)
def program(text: str) -> Program:
    """A program without prelude."""
    return program_from_text(text, prelude=False)


def condition(text: str) -> Expression:
    """A condition over FIELDS, as a view of an operation that may read them all."""
    operation = f"operation o {{ optional a, b, i, x, y, p, q, s, t, v, w, e, g view z when {text} }}"
    return program(FIELDS + operation).operations["o"].views["z"]


def value_of(text: str, **values: Value) -> Result:
    """The value of a condition over FIELDS; fields that are not given are absent."""
    return evaluate(condition(text), Lookups(values))


def decided(text: str, context: dict[str, object], environment: Environment = OFFLINE, **arms: str) -> Proof:
    """The proof of one context of one program; `operation` is `o` unless the context names another."""
    made = program(text)
    scope, values = read_context(made, {"operation": "o", **context})
    return decide(made, environment, scope, values, arms)

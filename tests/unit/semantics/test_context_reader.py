"""The reader of many contexts says exactly what `read_context` says, errors included."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from layerzero.check import program_from_text
from layerzero.errors import ContextError
from layerzero.semantics.context import read_context
from layerzero.semantics.context_reader import ContextReader

PROGRAM = program_from_text(
    """
policy "p"
field size: int in 0..1000
field any: int
field ratio: float in 0..1
field open: float in 0..<1
field free: float
field name: string
field on: bool
field kind: enum(one, two, three)
field release: version
alias length = size
alias eins = one
operation work { needs size view large when size > 10 fallback k.a }
kernel k.a for work { }
device small { size = 3, on = true }
""",
    prelude=False,
)
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        1000,
        1001,
        -1,
        2**63,
        -(2**63),
        10**50,
        0.0,
        1.0,
        0.5,
        -0.0,
        float("nan"),
        float("inf"),
    ),
    *("", "one", "eins", "four", "1.2", "x", [], {}, [1]),
]
KEYS = ["size", "length", "any", "ratio", "open", "free", "name", "on", "kind", "release", "sizes", ""]
OPERATIONS: list[Any] = ["work", "work.large", "wrok", "", None, 1, [], {}]


def contexts(count: int) -> list[dict[str, Any]]:
    random = Random(3)
    found = []
    for _ in range(count):
        keys = random.sample(KEYS, random.randint(0, 5))
        context = {key: random.choice(VALUES) for key in keys}
        if random.random() < 0.95:
            context["operation"] = random.choice(OPERATIONS[: 2 if random.random() < 0.8 else None])
        found.append(context)
    return found


def said(read: Any, *arguments: Any) -> Any:
    try:
        scope, values = read(*arguments)
    except ContextError as error:
        return str(error)
    return scope, [(name, type(value), repr(value)) for name, value in sorted(values.items())]


@pytest.mark.parametrize("device", [None, "small"])
def test_it_agrees_with_read_context_on_plain_and_on_odd_contexts(device: str | None) -> None:
    reader = ContextReader(PROGRAM, device)
    answers = set()
    for context in contexts(6000):
        wanted = said(read_context, PROGRAM, context, device)
        assert said(reader, context) == wanted, context
        answers.add(type(wanted))
    assert answers == {str, tuple}


def test_plain_contexts_are_read_quickly() -> None:
    quick = ContextReader(PROGRAM).quick
    assert quick({"operation": "work", "length": 3, "kind": "eins", "on": True, "free": 0.5}) is not None
    assert quick({"operation": "work", "length": 3, "size": 3}) is None


def test_an_unknown_device_is_an_error_at_once() -> None:
    with pytest.raises(ContextError, match="smal"):
        ContextReader(PROGRAM, "smal")

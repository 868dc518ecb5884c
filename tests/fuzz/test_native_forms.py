"""Damaged arrays are refused with a reason, or decide something: they never take the process down."""

from __future__ import annotations

import random
from array import array
from typing import Any

import pytest

from layerzero import native
from layerzero.compiler import compile_program
from layerzero.compiler.codegen import INVALID
from layerzero.compiler.flatten import flatten
from layerzero.runtime.policy import Policy

ROUNDS = 1500
TEXT = """policy "p"
field name: string
field size: int in 0..64
field share: float = 0.5
operation work { needs size optional name, share fallback k.slow }
kernel k.slow for work { priority 1 }
kernel k.fast for work { require size % 8 == 0 and share < 0.75 and name in {"a", "b"} and not name like "x*" }
"""

pytestmark = pytest.mark.skipif(native.matcher is None, reason=f"no native matcher: {native.why_not}")


@pytest.mark.parametrize("limits", [(1000, 100_000), (0, 0)], ids=["tree", "bits"])
def test_damaged_arrays_are_refused_or_decide(limits: tuple[int, int]) -> None:
    policy = Policy.from_text(TEXT, prelude=False)
    form = compile_program(policy.program, policy.environment, {}, limits).operations["work"]
    flat = flatten(form)
    outcomes = () if form.tree is None else form.tree.outcomes
    assert native.matcher is not None

    def operation(words: bytes) -> Any:
        tables = (flat.fields, (), flat.strings, (str.isalpha,) * len(flat.objects), outcomes)
        return native.matcher.Operation(words, *tables, INVALID, lambda mask: mask)

    sound, rng = array("q", flat.words), random.Random(1)
    assert operation(sound.tobytes())({"size": 8}, {}) is not None
    refused = decided = 0
    for _ in range(ROUNDS):
        words = array("q", sound)
        for _ in range(rng.randint(1, 3)):
            words[rng.randrange(len(words))] = rng.choice((-2, -1, 0, 1, 7, 2**40, rng.choice(words)))
        if rng.random() < 0.1:
            del words[rng.randrange(len(words)) :]
        try:
            damaged = operation(words.tobytes())
        except ValueError as error:
            assert str(error).startswith("not a compiled form: ")
            refused += 1
            continue
        for values in ({}, {"size": 8, "name": "a"}, {"size": 2**63 - 1, "share": float("nan"), "name": "x" * 5000}):
            damaged(values, {})
        decided += 1
    assert refused > ROUNDS / 4 and decided > ROUNDS / 50


def test_what_is_no_array_is_refused() -> None:
    assert native.matcher is not None
    for words in (b"", b"abc", bytes(8), bytes(800)):
        with pytest.raises(ValueError, match="not a compiled form"):
            native.matcher.Operation(words, (), (), (), (), (), INVALID, None)

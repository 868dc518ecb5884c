"""The stages of the extension say what the stages in Python say, for any set of parts; damaged arrays are refused."""

from __future__ import annotations

import random
from array import array

import pytest

from layerzero import native
from layerzero.check import program_from_text
from layerzero.compiler.compile import compile_operation
from layerzero.compiler.flat_stages import flat_stages
from layerzero.compiler.form import OperationForm
from layerzero.compiler.native import outcome_of_mask
from layerzero.compiler.stages import Stages
from layerzero.semantics.environment import Environment

pytestmark = pytest.mark.skipif(native.matcher is None, reason=f"no extension: {native.why_not}")

OTHERWISE = ("", "else choose", "else fallback")
BITS_ONLY = (0, 0)


def form_of(seed: int, kernels: int, rules: int) -> OperationForm:
    """An operation with rules of every kind and equal ranks, priorities and factors among them."""
    rng = random.Random(seed)
    names = [f"k.a{number}" for number in range(kernels)]
    lines = ['policy "p"' + (" strict" if seed % 3 == 0 else ""), "field x: int in 0..1000000", "field y: bool"]
    lines.append(f"operation work {{ needs x optional y fallback {', '.join(rng.sample(names, min(3, kernels)))} }}")
    lines += [
        f"kernel {name} for work {{ priority {rng.choice((0, 50, 50, 90))} require x != {n} }}"
        for n, name in enumerate(names)
    ]
    for number in range(rules):
        kind = rng.choice(("lock", "allow", "deny", "boost", "quarantine", "order"))
        targets = ", ".join(rng.sample(names, rng.randint(1, min(4, kernels))))
        when = f"for work when x != {kernels + number} as r{number}"
        if kind == "order":
            lines.append(f"order {targets.replace(', ', ' > ')} {when} priority {rng.randint(0, 2)}")
        elif kind == "boost":
            lines.append(f"boost {{{targets}}} by {rng.choice(('0.0', '0.1', '0.5', '1.1', '3', '1e300'))} {when}")
        elif kind == "lock":
            lines.append(f"lock {{{targets}}} {when} priority {rng.randint(0, 2)} {rng.choice(OTHERWISE)}")
        else:
            lines.append(f"{kind} {{{targets}}} {when}")
    program = program_from_text("\n".join(lines), prelude=False)
    return compile_operation(program, Environment(assume_packages=True), {}, program.operations["work"], BITS_ONLY)


@pytest.mark.parametrize(("kernels", "rules"), [(1, 0), (3, 8), (20, 60), (63, 100), (64, 100), (65, 100), (130, 300)])
def test_they_agree_on_any_set_of_parts(kernels: int, rules: int) -> None:
    rng = random.Random(kernels)
    seen = set()
    for seed in range(3):
        form = form_of(seed, kernels, rules)
        stages, answer, count = Stages(form.lowered), outcome_of_mask(form), len(form.lowered.parts)
        for _ in range(150):
            share = rng.choice((0.0, 0.03, 0.3, 0.7, 1.0))
            parts = sum(1 << number for number in range(count) if rng.random() < share)
            beyond = rng.getrandbits(64) << count  # bits that stand for no part
            mask = ((parts | beyond) & (1 << 64 * -(-count // 64)) - 1).to_bytes(8 * -(-count // 64), "little")
            wanted = stages.outcome(parts)
            assert answer(mask) == wanted
            seen.add((wanted.error, wanted.degraded, bool(wanted.locked_by), bool(wanted.ordered_by)))
    assert len(seen) > 3 or rules == 0


def test_a_mask_of_another_length_is_refused() -> None:
    stages = native.matcher.Stages(flat_stages(form_of(1, 3, 8).lowered))  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="another length"):
        stages(b"1234")


def test_damaged_arrays_are_refused_or_harmless() -> None:
    rng = random.Random(5)
    whole = array("q", flat_stages(form_of(2, 20, 60).lowered))
    refused = 0
    for _ in range(3000):
        damaged = array("q", whole)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.choice(
                (-1, 0, 1, 7, 64, 2**31, 2**62, -(2**63), rng.getrandbits(40))
            )
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(damaged)) :]
        try:
            stages = native.matcher.Stages(damaged.tobytes())  # type: ignore[union-attr]
        except ValueError:
            refused += 1
            continue
        for words in range(4):
            try:
                stages(rng.randbytes(8 * words))
            except ValueError:
                continue
    assert refused > 1000
    with pytest.raises(ValueError, match="whole number"):
        native.matcher.Stages(b"123")  # type: ignore[union-attr]

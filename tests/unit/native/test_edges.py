"""What random policies seldom meet: both matchers against the interpreter at the edges of numbers and texts."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from itertools import product
from types import MappingProxyType

import pytest

from layerzero import native
from layerzero.check.program import Scope
from layerzero.compiler import compile_program
from layerzero.compiler.compile import LIMITS
from layerzero.compiler.matcher import build, build_in_python
from layerzero.runtime.policy import Policy
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Outcome

needs_native = pytest.mark.skipif(native.matcher is None, reason=f"no native matcher: {native.why_not}")

LOWEST, HIGHEST = -(2**63), 2**63 - 1
INTS = (LOWEST, LOWEST + 1, -(2**53) - 1, -2, -1, 0, 1, 2, 2**53 + 1, HIGHEST - 1, HIGHEST)
FLOATS = (-math.inf, -1e308, -2.5, -0.0, 0.0, 5e-324, 0.1, 2.5, 2.0**53, 2.0**63, 1e308, math.inf, math.nan)
CONDITIONS = (
    "a + b > 0",
    "a - b < 0",
    "a * b == 6",
    "a // b == -1",
    "a % b == 1",
    "-a > 0",
    "a // b * b + a % b == a",
    "min(a, b) == a",
    "max(a, x) == x",
    "a < x",
    "a <= x",
    "a == x",
    "x + y > 1.0",
    "x // y == -1.0",
    "x % y < 0.5",
    "x * y == 0.25",
    "-x > 0.0",
    "a + x < 0.0",
    "a % x > 0.0",
    "(a if x > y else b) > 1",
    "has(x) and not has(y)",
    f"a in {LOWEST}..-1",
    f"a > {HIGHEST - 1}",
    "x in 0.1..2.5",
    "x == 0.0",
    "a > 9223372036854775807.0",
    "a >= -9223372036854775808.0",
    "b < 1.5 and b >= 0.5",
    "a > 1e300 or a > 5",
    "b < -1e300 or b < 7",
)
TEXTS = ("", "a", "aa", "é", "\x00", "a" * 100_000, "b")
TEXT_CONDITIONS = (
    "s == t",
    's == "a"',
    's in {"", "é"}',
    's like "a*"',
    's like "*a?"',
    'not (s like "[!a]*")',
    "has(t)",
)


def policy_of(conditions: tuple[str, ...]) -> Policy:
    """A kernel for each condition; the first that holds wins."""
    kernels = [
        f"kernel k.n{index:02} for work {{ priority {900 - index} require {condition} }}"
        for index, condition in enumerate(conditions)
    ]
    fields = "field a: int\nfield b: int\nfield x: float\nfield y: float\nfield s: string\nfield t: string\n"
    operation = "operation work { optional a, b, x, y, s, t fallback k.last }\nkernel k.last for work { priority 1 }\n"
    return Policy.from_text(f'policy "p"\n{fields}{operation}' + "\n".join(kernels), prelude=False)


def disagreements(condition: str, contexts: list[dict[str, object]]) -> list[object]:
    policy = policy_of((condition,))
    expected = [Outcome.of(decide(policy.program, policy.environment, Scope("work"), c, {})) for c in contexts]
    found = []
    for limits in (LIMITS, (0, 0)):
        form = compile_program(policy.program, policy.environment, {}, limits)
        for matcher in (build(form), build_in_python(form)):
            got = [matcher.decide("work", context) for context in contexts]
            found += [(c, e, g) for c, e, g in zip(contexts, expected, got, strict=True) if e != g]
    return found


@pytest.mark.parametrize("condition", CONDITIONS)
def test_numbers_at_their_edges(condition: str) -> None:
    ints = [{"a": a, "b": b} for a, b in product(INTS, (*INTS[::2], None))]
    mixed = [{"a": a, "x": x} for a, x in product(INTS[::2], FLOATS)]
    floats = [{"x": x, "y": y, "b": 2} for x, y in product(FLOATS, (*FLOATS, None))]
    contexts = [{name: v for name, v in c.items() if v is not None} for c in (*ints, *mixed, *floats)]
    assert disagreements(condition, contexts) == []


@pytest.mark.parametrize("condition", TEXT_CONDITIONS)
def test_texts_of_any_size(condition: str) -> None:
    contexts = [{"s": s, "t": t} for s, t in product(TEXTS, (*TEXTS, None))]
    assert disagreements(condition, [{n: v for n, v in c.items() if v is not None} for c in contexts]) == []


@needs_native
def test_an_integer_beyond_64_bits_is_an_error_not_another_number() -> None:
    policy = policy_of(("a > 0",))
    with pytest.raises(OverflowError):
        build(compile_program(policy.program, policy.environment)).decide("work", {"a": 2**63})


def test_values_may_be_any_mapping() -> None:
    policy = policy_of(("a > 0",))
    matcher = build(compile_program(policy.program, policy.environment))
    assert matcher.decide("work", MappingProxyType({"a": 1}), MappingProxyType({})).kernel == "k.n00"


@needs_native
def test_a_bitset_remembers_regions_and_stays_bounded() -> None:
    policy = policy_of(tuple(f"a == {number} or b == {number}" for number in range(40)))
    function = build(compile_program(policy.program, policy.environment, {}, (0, 0))).function("work")
    for _ in range(2):
        for a in range(30):
            function({"a": a, "b": -1}, {})
    hits, computed, held = function.counts
    assert (hits, computed, held) == (30, 30, 30)


@needs_native
def test_threads_may_share_a_matcher() -> None:
    policy = policy_of(TEXT_CONDITIONS + CONDITIONS[:6])
    contexts = [{"s": s, "a": a, "b": 3} for s, a in product(TEXTS[:5], INTS)]
    form = compile_program(policy.program, policy.environment, {}, (0, 0))
    expected = [build_in_python(form).decide("work", context) for context in contexts]
    matcher = build(form)
    wrong: list[object] = []

    def run() -> None:
        for _ in range(20):
            wrong.extend(c for c, e in zip(contexts, expected, strict=True) if matcher.decide("work", c) != e)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@needs_native
def test_a_sub_interpreter_gets_the_python_matcher() -> None:
    script = (
        "import _xxsubinterpreters as sub\n"
        "code = 'from layerzero import native; print(native.matcher, native.why_not)'\n"
        "sub.run_string(sub.create(), code)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    if "No module named '_xxsubinterpreters'" in done.stderr:
        pytest.skip("this Python hides its sub-interpreters")
    assert done.stdout.startswith("None "), done.stdout + done.stderr


def test_the_switch_keeps_the_extension_out() -> None:
    script = "from layerzero import native; print(native.matcher, native.why_not)"
    env = {"LAYERZERO_NATIVE": "0", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "None LAYERZERO_NATIVE=0 keeps it out\n"

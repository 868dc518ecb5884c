"""`whenever` claims: proved where they hold, refuted by a small counterexample, and honest where neither is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from layerzero.analysis.coverage import coverage
from layerzero.analysis.ground import Ground
from layerzero.analysis.proving import examined
from layerzero.check import program_from_text
from layerzero.errors import PolicyError
from layerzero.semantics.claims import TestResult, run_test
from layerzero.semantics.environment import Environment
from layerzero.semantics.interpret import decide
from tests.properties.generators import make_case

TODAY = date(2026, 6, 1)
OFFLINE = Environment(assume_packages=True, today=TODAY)
FACTS = """
field batch: int in 1..1024
field heads: int in 1..64
field kv_heads: int in 1..64
field tenant: string
field dtype: enum(fp16, bf16, fp32)
operation attention { needs batch, heads, kv_heads, dtype  view large when batch > 64  fallback plain.a }
kernel fast.a for attention { priority 80 require dtype in {fp16, bf16} and heads % kv_heads == 0 }
kernel fast.b for attention { priority 70 require package("lib") >= "2" }
kernel plain.a for attention { priority 10 }
"""


def asked(rules: str, whenever: str, expect: str) -> TestResult:
    program = program_from_text(
        f'{FACTS}{rules}\ntest "claim" {{ whenever {whenever} expect {expect} }}', prelude=False
    )
    return examined(program, OFFLINE, program.tests[0])


@pytest.mark.parametrize(
    ("rules", "whenever", "expect"),
    [
        ("", "attention when dtype == fp32", "not fast.a"),
        ("", "attention when heads < kv_heads", "not fast.a"),
        ("", "attention.large", "not error"),
        ("deny fast.* for attention when batch % 2 == 0", "attention when batch % 4 == 2", "plain.a"),
        ("lock plain.a for attention when batch > 3 as pin", "attention.large", "by pin"),
        ('deny * when has(tenant) and tenant == "bank"', 'attention when tenant == "bank"', "error"),
        ("allow fast.* for attention", "attention when dtype == fp32", "not fast.a"),
        (
            "order plain.a > * for attention when heads == kv_heads as first",
            "attention when heads == kv_heads",
            "by first",
        ),
        (
            "experiment e on tenant { arm a 50% { deny fast.a } arm b 50% }",
            "attention when dtype == fp32",
            "not fast.a",
        ),
    ],
)
def test_what_holds_is_proved(rules: str, whenever: str, expect: str) -> None:
    found = asked(rules, whenever, expect)
    assert (found.verdict, found.sampled) == ("proved", None), found.undecided or found.broken


@pytest.mark.parametrize(
    ("rules", "whenever", "expect", "values"),
    [
        ("", "attention when batch > 511", "not fast.a", {"batch": 512}),
        ("deny fast.a for attention when batch > 3", "attention when heads == kv_heads", "not fast.a", {"batch": 1}),
        ("deny fast.a for attention until 2026-08-01", "attention", "not fast.a", {}),
        ("quarantine * when batch == 77", "attention", "not error", {"batch": 77}),
    ],
)
def test_what_does_not_hold_is_refuted(rules: str, whenever: str, expect: str, values: dict[str, int]) -> None:
    (broken,) = asked(rules, whenever, expect).broken
    assert values.items() <= broken.situation.values.items()
    assert set(broken.situation.values) == {"batch", "heads", "kv_heads", "dtype"}  # what every call needs, no more


def test_a_rule_that_ends_is_judged_after_its_end_as_well() -> None:
    (broken,) = asked("deny fast.a for attention until 2026-08-01", "attention", "not fast.a").broken
    assert broken.situation.today == date(2026, 8, 1)


def test_an_arm_may_be_the_counterexample() -> None:
    rules = "experiment e on tenant { arm control 100% arm later 0% { lock fast.b for attention else choose } }"
    (broken,) = asked(rules, "attention when dtype == fp32", "plain.a").broken
    assert broken.proof.kernel == "fast.b"
    (broken,) = asked(rules + "\ndeny fast.b", "attention when dtype == fp32", "plain.a").broken
    assert broken.situation.arms == {"e": "later"}


def test_what_cannot_be_decided_is_sampled_and_says_why() -> None:
    rules = (
        "field a: int\nfield b: int\nlock fast.b for attention when a * a * a + b * b * b == 87654321 and a % 9 == 4"
    )
    found = asked(rules, "attention when dtype == fp16 and heads == kv_heads", "fast.a")
    assert found.verdict == "sampled, not proved"
    assert found.undecided is not None and found.sampled


def test_a_spent_budget_leaves_a_sample() -> None:
    program = program_from_text(f'{FACTS} test "t" {{ whenever attention expect not error }}', prelude=False)
    program = replace(program, strict=False)
    found = examined(program, OFFLINE, program.tests[0], spent=lambda: True)
    assert found.verdict in ("proved", "sampled, not proved")


CLAIMS = ("not error", "not degraded", "not p.k0", "not q.k1", "not by rule_2")


def test_what_is_proved_has_no_sampled_counterexample() -> None:
    proved = refuted = 0
    for seed in range(5000, 5005):
        try:
            case = make_case(seed, 0)
        except PolicyError:
            continue
        for index, claim in enumerate(CLAIMS):
            operation = ("one", "two")[index % 2]
            text = f'{case.text}\ntest "t" {{ whenever {operation} when n > {index * 8} expect {claim} }}'
            try:
                program = program_from_text(text, prelude=False)
            except PolicyError:
                continue  # no such rule in this policy
            found = examined(program, OFFLINE, program.tests[0], _after(40), samples=20)
            if found.proved:
                proved += 1
                assert not run_test(program, OFFLINE, program.tests[0], samples=60).broken, (seed, claim)
            refuted += bool(found.broken)
    assert proved >= 3
    assert refuted >= 3


def _after(calls: int):  # type: ignore[no-untyped-def]
    """A budget of looks, so that the test takes as long on every machine."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_coverage_counts_what_tests_reach_and_shows_what_they_do_not() -> None:
    rules = "deny fast.a for attention when batch > 32 as large\nboost fast.b by 2 for attention when heads > 8 as many"
    given = "batch = 33, heads = 2, kv_heads = 2, dtype = fp16"
    program = program_from_text(f'{FACTS}{rules}\ntest "t" {{ given attention, {given} expect fast.b }}', prelude=False)
    result = examined(program, OFFLINE, program.tests[0])
    found = coverage(Ground(program, TODAY), result.proofs)
    assert (found.rules, found.rules_met, found.outcomes, found.outcomes_met) == (2, 1, 4, 2)
    assert [gap.text for gap in found.gaps] == [
        "`batch > 32` is false in no test",
        "`many` applies in no test",
        "`heads > 8` is true in no test",
    ]
    many = found.gaps[1]
    assert many.where == "heads >= 9"
    assert many.example is not None
    scope = program.tests[0].subject.scope  # type: ignore[union-attr]
    proof = decide(program, OFFLINE, scope, many.example.given)
    assert any(one.applied and one.rule.name == "many" for one in proof.rules)

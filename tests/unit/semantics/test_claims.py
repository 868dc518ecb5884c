"""`test` blocks: given claims are decided, whenever claims sampled; a counterexample is shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from layerzero.semantics.claims import TestResult, run_tests
from tests.unit.semantics.build import OFFLINE, program

TEXT = """
field n: int in 0..100
field m: int in 0..100
field dtype: enum(fp32, fp16)
field kind: string
operation o { needs n optional m, dtype, kind view low when n < 10 fallback ref.o }
kernel k.a for o { package lib >=1.4, !=1.5.1 }
kernel k.b for o { priority 40 require dtype == fp16 }
kernel ref.o for o { priority 0 }
lock k.b for o when n == 7 as pin else choose
context seven { n = 7, dtype = fp16 }
device gpu { n = 20 }
experiment e on kind { arm control 50% { } arm odd 50% { lock ref.o for o as arm_lock } }
"""


def result(body: str, more: str = "", today: date = date.min) -> TestResult:
    made = program(TEXT + more + f'\ntest "t" {{ {body} }}')
    return run_tests(made, replace(OFFLINE, today=today))[0]


@pytest.mark.parametrize(
    "body",
    [
        "given o, seven expect k.b by pin",
        "given o, seven expect k.b expect not k.a expect not degraded expect not error",
        "given o, seven, n = 8 expect k.a expect not k.a by pin",  # later items override
        "given o, n = 8, seven expect by pin",
        "given o, gpu expect k",
        "given o, n = 8, package lib ==1.5.1 expect not k.a",
        "given o, n = 8, package lib ==1.5.1 expect ref.o expect not degraded",
        "given o, n = 8, arm e.odd expect ref.o by arm_lock",
        'given o, n = 8, kind = "x" expect k.a',  # nobody is enrolled without `arm`
        "given o expect error",  # n is needed
        "given o.low, n = 20 expect error",
        "given o.low, n = 2 expect {k.a, ref.o}",
    ],
)
def test_claims_that_hold(body: str) -> None:
    found = result(body)
    assert found.broken == ()
    assert (found.verdict, found.sampled) == ("passed", None)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("given o, seven expect k.a", "wanted `expect k.a`, got o -> k.b, score 40"),
        ("given o, seven expect not k.b", "wanted `expect not k.b`, got o -> k.b"),
        ("given o, n = 8 expect k.a by pin", "wanted `expect k.a by pin`, got o -> k.a"),
        ("given o, n = 8 expect degraded", "wanted `expect degraded`"),
        ("given o, n = 8 expect error", "wanted `expect error`"),
        ("given o, n = 8 expect not k.a by nothing", ""),
    ],
)
def test_claims_that_do_not_hold(body: str, wanted: str) -> None:
    if not wanted:
        body = "given o expect k.a"
        wanted = "got o -> error invalid_context"
    found = result(body)
    assert found.verdict == "failed"
    assert wanted in found.broken[0].message


def test_every_expect_line_must_hold() -> None:
    found = result("given o, seven expect k.b expect k.a expect degraded")
    assert [broken.claim.span.text for broken in found.broken] == ["expect k.a", "expect degraded"]


def test_a_whenever_without_a_counterexample_is_sampled_not_proved() -> None:
    found = result("whenever o when dtype == fp32 expect not k.b")
    assert found.verdict == "sampled, not proved"
    assert found.sampled is not None
    assert found.sampled > 300


def test_a_counterexample_is_shown_with_its_context() -> None:
    found = result("whenever o when dtype == fp16 expect not k.b")
    assert found.verdict == "failed"
    broken = found.broken[0]
    assert broken.situation.values["dtype"] == "fp16"
    assert broken.situation.values["n"] == 7
    assert broken.proof.kernel == "k.b"


def test_a_whenever_ranges_over_arms() -> None:
    found = result("whenever o when n != 7 expect not ref.o")
    assert found.broken[0].situation.arms == {"e": "odd"}


def test_a_whenever_ranges_over_days_before_and_after_each_until() -> None:
    more = "deny k.a for o until 2027-03-01"
    before = result("whenever o when dtype == fp32 expect not k.a", more)
    assert before.broken[0].situation.today == date(2027, 3, 1)
    after = result("whenever o when n != 7 expect k.a by never", more.replace("until", "as never until"))
    assert after.verdict == "failed"


def test_a_whenever_ranges_over_the_versions_that_conditions_read() -> None:
    more = 'deny k.a for o when package("lib") >= "2.0"'
    found = result("whenever o when n != 7 expect not k.b", more)
    assert set(found.broken[0].situation.packages) == {"lib"}


def test_a_whenever_of_a_view_stays_inside_it() -> None:
    more = "lock ref.o for o when n >= 10 lock k.a for o when n < 10 priority 9"
    found = result("whenever o.low expect not ref.o", more)
    arm_free = [broken for broken in found.broken if not broken.situation.arms]
    assert arm_free == []


def test_narrow_regions_are_found() -> None:
    found = result('whenever o when n == 63 and m in 40..41 and kind like "acme*" expect k.b')
    assert found.verdict == "failed"


def test_a_counterexample_holds_no_more_than_it_needs() -> None:
    found = result("whenever o when dtype == fp16 expect not k.b")
    situation = found.broken[0].situation
    assert situation.context == {"operation": "o", "dtype": "fp16", "n": 7}
    assert (situation.arms, situation.packages) == ({}, {})


def test_the_same_seed_samples_the_same_contexts() -> None:
    made = program(TEXT + 'test "t" { whenever o expect not k.b }')
    assert run_tests(made, OFFLINE)[0].broken[0].situation == run_tests(made, OFFLINE)[0].broken[0].situation


def test_the_rules_that_applied_are_collected() -> None:
    assert result("given o, seven expect k.b").rules == {"pin"}
    assert result("given o, n = 8 expect k.a").rules == frozenset()

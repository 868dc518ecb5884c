"""The analyses as functions: seeded conflicts are found, witnesses decide as claimed, doubts are no findings."""

from __future__ import annotations

from datetime import date
from random import Random

import pytest

from layerzero.analysis import CHECKS, conflicting_locks, study
from layerzero.analysis.ground import Ground
from layerzero.check import program_from_text
from layerzero.check.program import Program
from layerzero.semantics.applicability import applications
from layerzero.semantics.call import Call
from layerzero.semantics.context import complete, read_context
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import enrol
from layerzero.semantics.interpret import decide
from layerzero.syntax.codes import CODES
from layerzero.syntax.diagnostics import Diagnostic

TODAY = date(2026, 6, 1)
FACTS = """
field sm: int in 10..999
field batch: int in 1..4096
field heads: int in 1..256
field kv_heads: int in 1..256
field dtype: enum(fp16, bf16, fp32)
field tenant: string
field paged: bool = false
attribute vetted: bool = false
operation attention {
  needs batch, heads, kv_heads, dtype  optional sm
  view paged when paged  view plain when not paged
  feature gqa when heads != kv_heads
}
kernel acme.decode for attention { require sm >= 90 supports gqa set vetted = true }
kernel acme.prefill for attention { require dtype in {fp16, bf16} }
kernel torch.sdpa for attention { supports gqa when heads % kv_heads == 0 }
"""


def program(text: str) -> Program:
    return program_from_text(FACTS + text, prelude=False)


def analyse(found: Program, today: date, fast: bool = False) -> list[Diagnostic]:
    """The conflicts and what single rules say; the findings about effects have tests of their own."""
    return [finding for finding in study(found, today, fast=fast).findings if finding.code < "LZ510"]


def codes(text: str) -> list[str]:
    return [finding.code for finding in analyse(program(text), TODAY)]


def test_every_check_has_a_page_and_says_whether_it_searches() -> None:
    for check in CHECKS:
        module = __import__(f"layerzero.analysis.{check.name}", fromlist=["check"])
        code = module.__doc__.split(":")[0]
        assert CODES[code].name == check.name
        for part in ("**What it does.**", "**Why it is bad.**", "**Avoid**", "**Prefer**"):
            assert part in module.__doc__, (check.name, part)


def test_fast_leaves_out_the_searches() -> None:
    conflicting = program(
        "lock acme.decode for attention\nlock torch.sdpa for attention\nboost acme.* by 2 until 2020-01-01"
    )
    assert [finding.code for finding in analyse(conflicting, TODAY, fast=True)] == ["LZ502"]
    assert [finding.code for finding in analyse(conflicting, TODAY)] == ["LZ401", "LZ502"]


def test_an_expired_lock_conflicts_with_nothing() -> None:
    text = "lock acme.decode for attention until 2026-06-01\nlock torch.sdpa for attention"
    assert codes(text) == ["LZ502"]
    before = analyse(program(text), date(2026, 5, 31))
    assert [finding.code for finding in before] == ["LZ401"]


def test_a_glob_for_no_kernel_of_the_operation_has_no_feasible_target() -> None:
    assert codes("lock nothing.* for attention when batch == 7") == ["LZ403"]


def test_a_lock_that_never_applies_is_not_impossible() -> None:
    assert codes("lock acme.decode for attention when sm < 80 and sm > 90") == []


def test_terms_that_exclude_each_other_are_no_overlap() -> None:
    text = """
    lock acme.decode for attention when heads % kv_heads == 0 and sm >= 90
    lock torch.sdpa for attention when heads < kv_heads and heads * 2 > 300 else choose
    """
    result = study(program(text), TODAY)
    assert result.doubts == ()
    assert not any(finding.code < "LZ510" for finding in result.findings)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "acme.decode for attention when heads % kv_heads == 0",
            "torch.sdpa for attention when heads * kv_heads >= 64",
        ),
        ("acme.decode for attention.paged", "torch.sdpa for attention when batch > 7"),
        ('acme.decode for attention when tenant == "x"', "torch.sdpa for attention when has(tenant) and sm > 1"),
        ("acme.* for attention when kernel.vetted and dtype == fp16", "{acme.prefill, torch.*} for attention"),
        ('acme.decode for attention when package("acme") >= "2"', 'torch.* for attention when package("acme") < "3"'),
        ("acme.decode for attention when dtype not in {fp16}", "torch.* for attention when batch in {3, 9..12}"),
    ],
)
def test_a_conflict_is_found_and_its_witness_replays(one: str, other: str) -> None:
    found = program(f"lock {one}\nlock {other}")
    (finding,) = analyse(found, TODAY)
    assert finding.code == "LZ401"
    assert finding.witness is not None
    packages = {"acme": "2"} if "package" in one else {}
    asked, refused = _locks(found, finding.witness, packages)
    assert asked and refused and not asked & refused


def _locks(found: Program, witness: dict[str, object], packages: dict[str, str]) -> list[frozenset[str]]:
    """The kernels that each of the locks asks for in the witness, read as `lz decide` reads it."""
    scope, values = read_context(found, witness)
    environment = Environment(packages=packages, assume_packages=True, today=TODAY)
    completed = complete(found, scope, values)
    call = Call(found, environment, found.operations[scope.operation], completed.values, enrol(found, values))
    said = {id(one.rule): one for one in applications(call) if one.applies}
    locks = [rule for rule in found.rules if rule.kind == "lock"]
    return [said[id(rule)].kernels if id(rule) in said else frozenset() for rule in locks]


def test_the_witness_of_an_impossible_lock_fails_as_claimed() -> None:
    found = program("lock acme.* for attention when sm < 90 and dtype == fp32 as wrong")
    (finding,) = analyse(found, TODAY)
    assert finding.code == "LZ403" and finding.witness is not None
    scope, values = read_context(found, finding.witness)
    proof = decide(found, Environment(assume_packages=True, today=TODAY), scope, values)
    assert proof.error is not None and proof.error.code == "lock_failed"
    assert "`acme.decode` requires `sm >= 90`" in finding.label
    assert "`acme.prefill` requires `dtype in {fp16, bf16}`" in finding.label


def test_a_feature_that_terms_bar_is_named() -> None:
    (finding,) = analyse(program("lock torch.sdpa for attention when heads < kv_heads and heads > 150"), TODAY)
    assert finding.code == "LZ403"
    assert finding.label == "`torch.sdpa` does not support `gqa` there"


def test_seeded_conflicts_are_found_and_nothing_else() -> None:
    """Locks on disjoint bands of `batch`, and into some bands a second lock for another kernel."""
    random = Random(7)
    for _ in range(20):
        lines, planted = [], set()
        for band in range(12):
            low = band * 100 + 1
            lines.append(f"lock acme.decode for attention when batch in {low}..{low + 99} else choose as a{band}")
            if random.random() < 0.4:
                at = low + random.randrange(80)
                lines.append(
                    f"lock torch.sdpa for attention when batch in {at}..{at + 19} and heads > 3 else choose as b{band}"
                )
                planted.add(f"b{band}")
            elif random.random() < 0.5:
                lines.append(f"lock acme.* for attention when batch == {low} else choose as c{band}")
        random.shuffle(lines)
        found = analyse(program("\n".join(lines)), TODAY)
        assert {finding.code for finding in found} <= {"LZ401"}
        named = [name for finding in found for name in planted if f"`{name}`" in finding.message]
        assert sorted(named) == sorted(planted)
        assert len(found) == len(planted)


def test_a_question_that_is_too_large_is_a_doubt() -> None:
    text = """
    field a: int
    field b: int
    lock acme.decode for attention when a * a * a + b * b * b == 87654321 and a % 9 == 4 else choose
    lock torch.sdpa for attention when b * b - a * a == 1234567 else choose
    """
    result = study(program(text), TODAY)
    assert not any(finding.code < "LZ510" for finding in result.findings)
    assert len([doubt for doubt in result.doubts if doubt.check == "conflicting_locks"]) <= 1


def test_a_thousand_locks_are_compared() -> None:
    kernels = ("acme.decode", "acme.prefill", "torch.sdpa")
    lines = [
        f"lock {kernels[i % 3]} for attention when batch == {i + 1} and heads > {i % 50} else choose"
        for i in range(1000)
    ]
    found = program("\n".join(lines))
    assert list(conflicting_locks.check(Ground(found, TODAY))) == []


def test_rules_are_named_in_the_order_of_the_text() -> None:
    found = analyse(program("lock acme.decode for attention as one\nlock torch.sdpa for attention as two"), TODAY)
    assert found[0].message == "`two` and `one` lock the same calls to different kernels"
    assert [label.text for label in found[0].labels] == ["to `acme.decode`, with the same rank"]


def test_an_arm_without_buckets_claims_nothing() -> None:
    text = """
    lock torch.sdpa for attention priority 3
    experiment trial on tenant {
      arm control 100%
      arm none 0% { lock acme.decode for attention else choose  lock torch.sdpa for attention else choose }
    }
    """
    assert codes(text) == []


def test_an_expired_rule_has_one_finding_only() -> None:
    assert codes("quarantine acme.decode for attention when sm == 120 until 2020-01-01") == ["LZ502"]

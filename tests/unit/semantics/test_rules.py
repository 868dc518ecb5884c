"""Stages 3 to 8 of section 4: lock, allow, deny, score, order, fallback."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import date

import pytest

from layerzero.check.program import Layer
from layerzero.semantics.context import read_context
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof
from tests.unit.semantics.build import OFFLINE, decided, program

HEAD = """
field n: int
field flag: bool
attribute fast: bool = false
attribute size: int
operation o { optional n, flag view low when n < 10 fallback ref.o, ref.slow }
operation other { optional n }
kernel k.a for o { priority 60 }
kernel k.b for o { priority 50 set fast = true, size = 4 }
kernel j.c for o { priority 40 set fast = true, size = 8 }
kernel k.never for o { priority 999 require n > 1000 set fast = true }
kernel ref.o for o { priority 1 }
kernel ref.slow for o { priority 0 }
kernel x.other for other { }
"""


def proof_of(text: str, **context: object) -> Proof:
    return decided(HEAD + text, context)


def kernel_of(text: str, **context: object) -> str | None:
    return proof_of(text, **context).kernel


def rejected(proof: Proof, kind: str) -> set[str]:
    return {name for name, reasons in proof.rejected.items() if any(found.kind == kind for found in reasons)}


def notes(proof: Proof) -> dict[str, tuple[bool, str | None]]:
    return {one.rule.name: (one.applied, one.note) for one in proof.rules}


def test_without_rules_the_highest_priority_of_the_feasible_wins() -> None:
    proof = proof_of("")
    assert (proof.kernel, proof.score, proof.degraded, proof.error) == ("k.a", 60.0, False, None)
    assert proof.outranked == {"k.b": 50.0, "j.c": 40.0, "ref.o": 1.0, "ref.slow": 0.0}
    assert set(proof.rejected) == {"k.never"}


def test_only_kernels_declared_for_the_operation_are_candidates() -> None:
    assert "x.other" not in proof_of("").verdicts
    assert set(decided(HEAD, {"operation": "other"}).verdicts) == {"x.other"}


# ---------------------------------------------------------------- lock


def test_a_lock_leaves_only_its_targets() -> None:
    proof = proof_of("lock j.c for o as l")
    assert (proof.kernel, proof.locked_by) == ("j.c", ("l",))
    assert rejected(proof, "not_locked") == {"k.a", "k.b", "ref.o", "ref.slow"}
    found = proof.rejected["k.a"][0]
    assert (found.text, found.rule, found.got) == ("lock j.c for o as l", "l", {})


def test_the_reason_of_a_lock_is_its_condition() -> None:
    proof = proof_of("lock j.c for o when n > 3 and flag as l", n=4, flag=True)
    found = proof.rejected["k.a"][0]
    assert (found.kind, found.text, found.got) == ("not_locked", "n > 3 and flag", {"n": 4, "flag": True})


def test_among_the_targets_of_a_lock_the_score_decides() -> None:
    assert kernel_of("lock {j.c, k.b} for o") == "k.b"
    assert kernel_of("lock k for o") == "k.a"
    assert kernel_of("lock *.* for o") == "k.a"
    assert kernel_of("lock {j.c, k.b} for o boost j.c by 2") == "j.c"


def test_allow_and_deny_are_not_asked_where_a_lock_decides() -> None:
    proof = proof_of("lock j.c for o deny j.c for o as d allow k.a for o as a")
    assert proof.kernel == "j.c"
    assert notes(proof)["d"] == (False, "not asked: a lock decides")
    assert notes(proof)["a"] == (False, "not asked: a lock decides")


def test_a_lock_whose_condition_is_false_or_unknown_does_not_apply() -> None:
    assert kernel_of("lock j.c for o when n > 3", n=1) == "k.a"
    proof = proof_of("lock j.c for o when n > 3 as l")
    assert proof.kernel == "k.a"
    assert [(one.rule.name, one.applied, one.missing) for one in proof.rules] == [("l", False, ("n",))]
    assert kernel_of("lock j.c for o.low", n=30) == "k.a"
    assert kernel_of("lock j.c for o.low") == "k.a"
    assert kernel_of("lock j.c for o.low", n=3) == "j.c"


def test_several_locks_of_equal_rank_are_intersected() -> None:
    proof = proof_of("lock {k.a, k.b} for o as one lock {k.b, j.c} for o as two")
    assert (proof.kernel, proof.locked_by) == ("k.b", ("one", "two"))
    assert [found.rule for found in proof.rejected["k.a"]] == ["two"]
    assert [found.rule for found in proof.rejected["ref.o"]] == ["one", "two"]


def test_only_the_locks_of_the_highest_priority_count() -> None:
    proof = proof_of("lock k.b for o as low lock j.c for o priority 3 as high lock k.a for o priority -1 as lowest")
    assert (proof.kernel, proof.locked_by) == ("j.c", ("high",))
    assert notes(proof)["low"] == (False, "not asked: a lock of higher rank applies")


def test_a_lock_that_does_not_apply_outranks_nothing() -> None:
    assert kernel_of("lock k.b for o lock j.c for o priority 3 when n > 3", n=1) == "k.b"


def with_layers(text: str, *layers: Layer, strict: bool = False) -> Proof:
    """The rules of a text, moved to layers of their own."""
    made = program(HEAD + text)
    rules = tuple(replace(rule, layer=layer) for rule, layer in zip(made.rules, layers, strict=True))
    scope, values = read_context(made, {"operation": "o"})
    return decide(replace(made, rules=rules, strict=strict), OFFLINE, scope, values)


def test_the_layer_counts_before_the_priority() -> None:
    text = "lock k.b for o priority 9 as policy lock j.c for o as call"
    assert with_layers(text, Layer.POLICY, Layer.RUNTIME).locked_by == ("call",)
    assert with_layers(text, Layer.POLICY, Layer.ARM).locked_by == ("call",)
    assert with_layers(text, Layer.PRELUDE, Layer.POLICY).locked_by == ("call",)
    assert with_layers(text, Layer.ARM, Layer.POLICY).locked_by == ("policy",)


def test_a_lock_that_finds_nothing_fails() -> None:
    for text in ("lock k.never for o as l", "lock k.never for o as l else fail"):
        proof = proof_of(text)
        assert (proof.kernel, proof.score, proof.degraded, proof.locked_by) == (None, None, False, ())
        assert proof.error is not None
        assert proof.error.code == "lock_failed"
        assert "`l`" in proof.error.message
        assert rejected(proof, "not_locked") == {"k.a", "k.b", "j.c", "ref.o", "ref.slow"}
        assert rejected(proof, "requirement") == {"k.never"}


def test_else_choose_goes_on_with_allow_and_does_not_ask_lower_locks() -> None:
    proof = proof_of("lock k.never for o priority 1 as l else choose lock j.c for o as low allow {k.b, j.c} for o")
    assert (proof.kernel, proof.locked_by) == ("k.b", ())
    assert notes(proof)["l"] == (True, "missed: no feasible target")
    assert notes(proof)["low"] == (False, "not asked: a lock of higher rank applies")
    assert any("`l` missed" in note for note in proof.notes)
    assert rejected(proof, "not_locked") == set()


def test_else_fallback_goes_to_the_fallback_at_once() -> None:
    proof = proof_of("lock k.never for o as l else fallback")
    assert (proof.kernel, proof.score, proof.degraded) == ("ref.o", 1.0, True)
    assert "ref.o" not in proof.rejected
    assert rejected(proof, "not_locked") == {"k.a", "k.b", "j.c", "ref.slow"}


def test_after_a_lock_else_fallback_denies_still_hold_and_allows_are_not_asked() -> None:
    proof = proof_of("lock k.never for o else fallback deny ref.o for o allow k.a for o as a")
    assert (proof.kernel, proof.degraded) == ("ref.slow", True)
    assert notes(proof)["a"][0] is False


def test_fail_beats_fallback_beats_choose() -> None:
    def locks(*others: str) -> Proof:
        return proof_of(" ".join(f"lock {{k.never, k.a}} for o else {other}" for other in others) + " quarantine k.a")

    for others in itertools.permutations(("fail", "fallback", "choose")):
        error = locks(*others).error
        assert error is not None
        assert error.code == "lock_failed"
    for others in itertools.permutations(("fallback", "choose")):
        assert locks(*others).degraded
    assert locks("choose", "choose").kernel == "k.b"


def test_locks_with_nothing_in_common_find_nothing() -> None:
    made = "lock k.a for o when n > 3 else choose lock k.b for o when n < 8 else choose"
    assert kernel_of(made.replace("else choose", ""), n=9) == "k.a"
    proof = proof_of(made, n=5)
    assert (proof.kernel, proof.locked_by) == ("k.a", ())


def test_a_lock_that_matches_no_kernel_of_its_operation_finds_nothing() -> None:
    proof = proof_of("lock x.other for o")
    assert proof.error is not None
    assert proof.error.code == "lock_failed"


def test_without_for_a_lock_allow_or_order_counts_only_where_it_matches() -> None:
    for rule in ("lock x.other", "allow x.other", "order x.other > x.other"):
        assert kernel_of(rule) == "k.a"
    assert kernel_of("lock {x.other, j.c}") == "j.c"


def test_kernel_attributes_narrow_the_targets_of_a_lock() -> None:
    assert kernel_of("lock * for o when kernel.fast") == "k.b"
    assert kernel_of("lock * for o when kernel.size >= 8") == "j.c"
    assert kernel_of("lock k.a for o when kernel.fast") == "k.a"  # narrowed to nothing: does not apply
    proof = proof_of("lock {k.b, j.c} for o when kernel.size > n as l", n=5)
    assert proof.kernel == "j.c"
    assert proof.rejected["k.b"][0].got == {"kernel.size": 4, "n": 5}


# ---------------------------------------------------------------- allow and deny


def test_what_no_applying_allow_matches_goes() -> None:
    proof = proof_of("allow j.c for o when n > 3 as one allow {k.b} for o when n > 3 as two", n=4)
    assert proof.kernel == "k.b"
    assert rejected(proof, "not_allowed") == {"k.a", "ref.o", "ref.slow"}
    assert [(found.rule, found.text) for found in proof.rejected["k.a"]] == [("one", "n > 3"), ("two", "n > 3")]


def test_without_an_applying_allow_everything_stays() -> None:
    assert kernel_of("allow j.c for o when n > 3", n=1) == "k.a"
    assert kernel_of("allow j.c for o when n > 3") == "k.a"


def test_an_allow_that_matches_no_kernel_of_its_operation_leaves_nothing() -> None:
    proof = proof_of("allow x.other for o")
    assert (proof.kernel, proof.degraded) == ("ref.o", True)


def test_kernel_attributes_narrow_an_allow() -> None:
    assert kernel_of("allow * for o when kernel.fast") == "k.b"
    assert kernel_of("allow k.a for o when kernel.fast") == "k.a"


def test_what_an_applying_deny_matches_goes() -> None:
    proof = proof_of('deny k for o when n > 3 as d because "slow"', n=4)
    assert proof.kernel == "j.c"
    assert rejected(proof, "denied") == {"k.a", "k.b"}  # k.never went before
    found = proof.rejected["k.a"][0]
    assert (found.text, found.got, found.rule, found.because) == ("n > 3", {"n": 4}, "d", "slow")
    assert kernel_of("deny k for o when n > 3") == "k.a"


def test_a_deny_beats_an_allow() -> None:
    assert kernel_of("allow {k.a, k.b} for o deny k.a for o") == "k.b"


def test_only_the_first_stage_that_removed_a_kernel_gives_its_reasons() -> None:
    proof = proof_of("allow k.a for o as a deny * for o as d", n=1)
    assert {found.kind for found in proof.rejected["k.b"]} == {"not_allowed"}
    assert {found.kind for found in proof.rejected["k.a"]} == {"denied"}
    assert {found.kind for found in proof.rejected["k.never"]} == {"requirement"}


def test_all_denies_that_match_are_given() -> None:
    proof = proof_of("deny k for o as one deny * for o when kernel.fast as two")
    assert [found.rule for found in proof.rejected["k.b"]] == ["one", "two"]
    assert [found.rule for found in proof.rejected["k.a"]] == ["one"]


def test_a_deny_is_decided_per_kernel() -> None:
    assert kernel_of("deny * for o when not kernel.fast") == "k.b"
    assert kernel_of("deny * for o when kernel.size > 100") == "k.a"  # unknown for k.a: does not apply


def test_a_deny_for_a_view() -> None:
    assert kernel_of("deny k for o.low", n=3) == "j.c"
    assert kernel_of("deny k for o.low", n=30) == "k.a"
    assert kernel_of("deny k for o.low") == "k.a"


# ---------------------------------------------------------------- score


def test_boosts_multiply_the_priority() -> None:
    proof = proof_of("boost j.c by 1.5 boost j by 2 for o as double")
    assert (proof.kernel, proof.score) == ("j.c", 120.0)
    assert [boost.factor for boost in proof.verdicts["j.c"].boosts] == [1.5, 2.0]


def test_factors_are_multiplied_in_ascending_order_whatever_the_text() -> None:
    factors = ("0.1", "3", "0.7", "1e3")
    wanted = 40.0 * 0.1 * 0.7 * 3.0 * 1000.0
    for order in itertools.permutations(factors):
        proof = proof_of(" ".join(f"boost j.c by {factor}" for factor in order))
        assert proof.score == wanted


def test_a_boost_below_one_lowers_and_by_zero_never_removes() -> None:
    assert kernel_of("boost k.a by 0.5") == "k.b"
    proof = proof_of("boost * by 0 for o")
    assert (proof.kernel, proof.score) == ("k.a", 0.0)
    assert set(proof.rejected) == {"k.never"}


def test_a_boost_that_is_unknown_or_decided_per_kernel() -> None:
    assert kernel_of("boost j.c by 10 when n > 3") == "k.a"
    proof = proof_of("boost * by 10 for o when kernel.fast")
    assert (proof.kernel, proof.score) == ("k.b", 500.0)


def test_equal_scores_go_to_the_higher_priority_then_the_smaller_id() -> None:
    assert kernel_of("boost j.c by 1.5") == "k.a"  # 60 and 60
    assert kernel_of("boost * by 0 for o") == "k.a"
    text = "operation o { } kernel b.Z for o { } kernel a.y for o { } kernel a.x for o { }".replace("b.Z", "b.z")
    assert decided(text, {}).kernel == "a.x"


# ---------------------------------------------------------------- order


def test_an_order_compares_before_the_score() -> None:
    proof = proof_of("order j.c > k.b for o as r")
    assert (proof.kernel, proof.ordered_by) == ("j.c", ("r",))
    assert proof.verdicts["j.c"].position == 0
    assert proof.verdicts["k.a"].position == 2


def test_unmatched_kernels_come_last_and_a_star_takes_the_rest() -> None:
    assert kernel_of("order j > ref for o deny j for o") == "ref.o"
    assert kernel_of("order * > k.a for o") == "k.a"  # `*` matches k.a first
    assert kernel_of("order k.never > * for o") == "k.a"


def test_within_a_place_the_score_decides() -> None:
    assert kernel_of("order {j.c, k.b} > * for o") == "k.b"
    assert kernel_of("order {j.c, k.b} > * for o boost j.c by 2") == "j.c"


def test_an_order_that_is_false_or_unknown_does_not_apply() -> None:
    assert kernel_of("order j.c > * for o when n > 3", n=1) == "k.a"
    assert kernel_of("order j.c > * for o when n > 3") == "k.a"
    assert kernel_of("order j.c > * for o when n > 3", n=4) == "j.c"


def test_only_orders_of_the_highest_rank_count() -> None:
    proof = proof_of("order k.b > * for o as low order j.c > * for o priority 1 as high")
    assert (proof.kernel, proof.ordered_by) == ("j.c", ("high",))
    assert notes(proof)["low"][0] is False
    text = "order k.b > * for o priority 5 as policy order j.c > * for o as call"
    assert with_layers(text, Layer.POLICY, Layer.RUNTIME).ordered_by == ("call",)


def test_orders_that_agree_are_asked_one_after_the_other() -> None:
    for text in (
        "order {k.b, j.c} > * for o as one order j.c > k.b for o as two",
        "order j.c > k.b for o as two order {k.b, j.c} > * for o as one",
    ):
        proof = proof_of(text)
        assert (proof.kernel, proof.ordered_by) == ("j.c", ("one", "two"))


def test_where_two_orders_disagree_no_order_applies() -> None:
    text = "order j.c > k.b for o when n > 3 as one order k.b > j.c for o when n < 8 as two"
    proof = with_values(text, n=5)
    assert (proof.kernel, proof.ordered_by) == ("k.a", ())
    assert any("disagree" in note for note in proof.notes)
    assert with_values(text, n=9).kernel == "j.c"


def test_orders_that_disagree_only_on_kernels_that_are_gone_apply() -> None:
    text = "order j.c > k.b > k.a for o when n > 3 as one order k.b > j.c > k.a for o when n < 8 as two deny j.c for o"
    assert with_values(text, n=5).kernel == "k.b"
    assert with_values(text, n=5).ordered_by == ("one", "two")


def with_values(text: str, **context: object) -> Proof:
    return decided(HEAD + text, context)


def test_kernel_attributes_narrow_an_order() -> None:
    assert kernel_of("order * > k.a for o when kernel.fast") == "k.b"
    assert proof_of("order k.a > * for o when kernel.size > 4").kernel == "j.c"
    assert proof_of("order k.a > ref for o when kernel.fast").ordered_by == ()


# ---------------------------------------------------------------- fallback


def test_with_nothing_left_the_first_fallback_serves_degraded() -> None:
    proof = proof_of("allow k.a for o deny k.a for o boost ref.o by 7 order ref.slow > ref.o for o")
    assert (proof.kernel, proof.degraded, proof.score) == ("ref.o", True, 7.0)
    assert proof.error is None
    assert "ref.o" not in proof.rejected
    assert "ref.o" not in proof.outranked
    assert rejected(proof, "not_allowed") == {"k.b", "j.c", "ref.slow"}


def test_a_fallback_that_wins_by_its_score_is_not_degraded() -> None:
    assert proof_of("boost ref.o by 100").degraded is False


def test_a_fallback_that_is_denied_or_infeasible_is_passed_over() -> None:
    assert kernel_of("deny {k, j, ref.o} for o") == "ref.slow"
    assert proof_of("deny {k, j, ref.o} for o").degraded is False  # ref.slow was still a candidate
    proof = proof_of("allow k.never for o deny ref.o for o")
    assert (proof.kernel, proof.degraded) == ("ref.slow", True)
    proof = proof_of("allow k.never for o quarantine ref.o for o")
    assert (proof.kernel, proof.degraded) == ("ref.slow", True)


def test_denying_everything_is_an_error_with_the_whole_trace() -> None:
    proof = proof_of("deny * for o")
    assert (proof.kernel, proof.degraded, proof.score) == (None, False, None)
    assert proof.error is not None
    assert proof.error.code == "no_kernel"
    assert set(proof.rejected) == set(proof.verdicts)


def test_a_strict_policy_never_falls_back() -> None:
    proof = decided('policy "p" strict' + HEAD + "allow k.never for o", {})
    assert proof.kernel is None
    assert proof.error is not None
    assert "strict" in proof.error.message
    proof = decided('policy "p" strict' + HEAD + "lock k.never for o else fallback", {})
    assert proof.error is not None
    assert decided('policy "p" strict' + HEAD, {}).kernel == "k.a"


def test_an_operation_without_kernels_has_none() -> None:
    proof = decided("operation o { }", {})
    assert proof.error is not None
    assert "none is declared" in proof.error.message


# ---------------------------------------------------------------- arms, dates, independence of order


ARMS = """
experiment e on n { arm control 50% { } arm acme 50% { lock j.c for o as pinned boost k.b by 9 when flag } }
"""


def test_rules_of_an_arm_apply_only_in_it() -> None:
    assert decided(HEAD + ARMS, {}).kernel == "k.a"
    assert decided(HEAD + ARMS, {}, e="control").kernel == "k.a"
    proof = decided(HEAD + ARMS, {}, e="acme")
    assert (proof.kernel, proof.locked_by, proof.arms) == ("j.c", ("pinned",), {"e": "acme"})
    assert proof.rejected["k.a"][0].text == "lock j.c for o as pinned"


def test_an_arm_stands_above_the_policy() -> None:
    assert decided(HEAD + ARMS + "lock k.b for o priority 100", {}, e="acme").kernel == "j.c"


@pytest.mark.parametrize(
    "rule", ["lock j.c for o", "deny k for o", "allow j.c for o", "boost j.c by 9", "order j > * for o"]
)
def test_until_ends_every_kind_of_rule(rule: str) -> None:
    text = HEAD + rule + " until 2027-03-01"
    assert decided(text, {}, replace(OFFLINE, today=date(2027, 2, 28))).kernel == "j.c"
    assert decided(text, {}, replace(OFFLINE, today=date(2027, 3, 1))).kernel == "k.a"
    assert decided(text, {}, replace(OFFLINE, today=date(2030, 1, 1))).kernel == "k.a"


def test_the_order_of_statements_does_not_matter() -> None:
    lock = "lock {k, j} for o when n > 3 else choose"
    statements = [lock, "deny k.a for o", "boost j.c by 1.25", "order * > ref for o"]
    outcomes = {
        (proof.kernel, proof.score, proof.ordered_by != ())
        for order in itertools.permutations(statements)
        for proof in [proof_of(" ".join(order), n=2)]
    }
    assert outcomes == {("k.b", 50.0, True)}


def test_nothing_in_a_program_has_an_order_that_matters() -> None:
    text = (
        HEAD
        + ARMS
        + """
    lock {k.a, k.b} for o when n > 3 as one else choose lock {k.b, j} for o when n > 5 as two else choose
    allow {k, j} for o when n < 9 as three allow ref for o as four
    deny * for o when kernel.fast and n == 4 as five deny j for o.low as six
    boost k.b by 0.3 as seven boost k.b by 7 as eight boost k.b by 1.1 as nine
    order {k.b, j.c} > * for o when n > 1 as ten order j.c > k.b for o when n > 7 as eleven
    quarantine k.a for o when flag as twelve quarantine ref.o as thirteen
    """
    )
    made, shuffle = program(text), random.Random(7).shuffle
    contexts = [{"operation": "o", "n": n, "flag": flag} for n in (*range(11), None) for flag in (True, False, None)]
    for _ in range(5):
        rules, kernels = list(made.rules), list(made.kernels.items())
        shuffle(rules)
        shuffle(kernels)
        other = replace(made, rules=tuple(rules), kernels=dict(kernels))
        for context in contexts:
            scope, values = read_context(made, context)
            for arms in ({}, {"e": "acme"}):
                assert decide(made, OFFLINE, scope, values, arms) == decide(other, OFFLINE, scope, values, arms)


def test_the_reason_of_a_rule_in_an_arm_is_what_stands_after_when() -> None:
    arm = "experiment e on n { arm control 50% { } arm odd 50% { deny k.a for o when n > 3 as d } }"
    found = decided(HEAD + arm, {"n": 4}, e="odd").rejected["k.a"][0]
    assert (found.text, found.got, found.rule) == ("n > 3", {"n": 4}, "d")

"""The comparison with other engines is fair only if the rules are the same for all: no peer is needed to test that."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks.peers import engines, install, measure, peers, report, rules
from benchmarks.peers.rules import Between, OneOf, Rule, RuleSet

PUBLISHED_FIRST_RULE = Rule(
    (
        OneOf("dtype", ("bf16", "fp8")),
        OneOf("head_dim", (64, 96, 128)),
        Between("kv_len", 16384, 1048576),
        Between("batch", 64, 4096),
        Between("window", 1, 1048576),
    ),
    "torch.sdpa_cudnn",
)
PUBLISHED_FIRST_CONTEXT = {
    "dtype": "fp32",
    "phase": "prefill",
    "sm": 121,
    "head_dim": 112,
    "batch": 1,
    "q_len": 5321,
    "kv_len": 109,
    "q_heads": 8,
    "window": 4096,
}
SETS = (rules.realistic(10), rules.realistic(40), rules.adversarial(40))


@pytest.mark.parametrize("make", (rules.realistic, rules.adversarial))
def test_a_seed_gives_the_same_rules_and_contexts_again(make) -> None:
    first, second, other = make(50), make(50), make(50, seed=7)
    assert first == second
    assert rules.contexts(first, 100) == rules.contexts(second, 100)
    assert first.rules != other.rules
    assert len(first.rules) == 50


def test_the_published_rules_are_those_of_the_published_figures() -> None:
    # A change here changes what docs/benchmarks.md reports: measure again.
    assert rules.realistic(10).rules[0] == PUBLISHED_FIRST_RULE
    assert rules.contexts(rules.realistic(10), 1)[0] == PUBLISHED_FIRST_CONTEXT


@pytest.mark.parametrize("made", SETS, ids=lambda made: made.name)
def test_contexts_are_distinct_complete_and_within_the_ranges(made: RuleSet) -> None:
    asked = rules.contexts(made, 500)
    assert len({tuple(context.items()) for context in asked}) == 500
    for context in asked:
        assert list(context) == list(rules.FIELDS)
        assert all(context[field] in members for field, members in rules.ENUMS.items())
        assert all(low <= context[field] <= high for field, (low, high) in rules.RANGES.items())


@pytest.mark.parametrize("made", SETS, ids=lambda made: made.name)
def test_contexts_reach_rules_early_and_late(made: RuleSet) -> None:
    matches = {made.first_match(context) for context in rules.contexts(made, 500)}
    assert None in matches, "no context falls through"
    assert len(matches) > len(made.rules) // 3


@pytest.mark.parametrize("engine", (*engines.BASELINES[1:], *engines.OWN), ids=lambda engine: engine.name)
@pytest.mark.parametrize("made", SETS, ids=lambda made: made.name)
def test_baselines_and_layerzero_give_the_meaning_of_the_list(engine: engines.Engine, made: RuleSet) -> None:
    asked = rules.contexts(made, 500)
    built = engine.build(made, asked)
    assert [built.decide(built.prepare(context)) for context in asked] == [made.answer(context) for context in asked]


def test_the_first_match_wins() -> None:
    early, late = Rule((OneOf("dtype", ("bf16",)),), "torch.sdpa_math"), Rule((Between("sm", 90, 90),), "flash_attn.v3")
    context = rules.contexts(rules.realistic(10), 1)[0] | {"dtype": "bf16", "sm": 90}
    for listed in ((early, late), (late, early)):
        made = RuleSet("realistic", 0, listed)
        assert made.answer(context) == listed[0].kernel
        built = engines.LayerZero().build(made, [context])
        assert built.decide(built.prepare(context)) == listed[0].kernel


def test_every_peer_is_installed_by_the_command() -> None:
    assert {engine.package for engine in peers.PEERS} == set(install.PEERS)


def test_each_input_is_timed_in_turn_over_the_rounds() -> None:
    seen: list[int] = []
    timings = measure.measure({"one": measure.Case(seen.append, range(5), a_round=2)}, rounds=3)
    assert seen == [0, 1, 2, 3, 4, 0]
    assert timings["one"].calls == 6
    assert timings["one"].p99 is None, "six calls tell no p99"


def test_a_section_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n", encoding="utf-8")
    report.replace_section(page, "x", "new")
    assert page.read_text(encoding="utf-8") == "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb\n"
    with pytest.raises(ValueError, match="no section `y`"):
        report.replace_section(page, "y", "new")


def test_a_plot_has_a_bar_for_each_row_and_is_xml() -> None:
    plot = report.bars("t & t", "unit", {"panel": [("a < b", "own", 1.0), ("c", "peer", 1000.0)]})
    bars = [one for one in ElementTree.fromstring(plot).iter() if one.get("fill") in report.COLOURS.values()]
    assert [float(bar.get("width")) for bar in bars] == [1.0, report.WIDTH]


@pytest.mark.parametrize(
    ("value", "shown"), ((None, "-"), (1.04, "1.0"), (42.4, "42"), (123.0, "120"), (98_765.0, "99,000"))
)
def test_figures_have_two_digits(value: float | None, shown: str) -> None:
    assert report.figure(value) == shown

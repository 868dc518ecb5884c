"""Joint decisions: what is shared, what a layer gives up for the others, and what is said where nothing serves all."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from layerzero.errors import ArgumentError, ContextError, MissingDependencyError, NoKernelError, UnknownNameError
from layerzero.planning import JointPlan, plan_layers
from layerzero.planning.problem import MOST_TRIED
from layerzero.runtime.policy import Policy

WORDS = """
policy "serve" standalone
attribute graph_safe: bool = false
field page_size: int in 1..1Ki
field graph_capture: bool = false
field phase: enum(prefill, decode) = decode
field layer: int in 0..1000
field bits: int in 1..64 = 16
field head_dim: int in 1..1024
field sinks: bool = false
operation attention {
  needs head_dim, page_size  optional phase, graph_capture, sinks, bits, layer
  view decode when phase == decode
  feature sinks when sinks
  fallback plain.all
}
kernel fast.big for attention { priority 80  require page_size % 64 == 0  set graph_safe = true }
kernel fast.small for attention { priority 77  require page_size <= 16  supports sinks }
kernel steady.any for attention { priority 70  require head_dim <= 128 and bits == 8  set graph_safe = true }
kernel plain.all for attention { priority 5  supports sinks  require page_size <= 256  set graph_safe = true }
quarantine * when graph_capture and not kernel.graph_safe
"""
PAGES = {"page_size": [64, 16]}


def layer(number: Any, **fields: Any) -> dict[str, Any]:
    return {"operation": "attention", "layer": number, "head_dim": 128, **fields}


def plan(layers: list[dict[str, Any]], choose: dict[str, Any], rules: str = "", **options: Any) -> JointPlan:
    return plan_layers(Policy.from_text(WORDS + rules, name="serve.lzp").snapshot, layers, choose, **options)


def test_layers_share_the_value_that_is_best_in_total() -> None:
    made = plan([layer(range(3)), layer(3, sinks=True)], PAGES)
    assert made.value("page_size") == 16  # 4 * 77, not 3 * 80 + 5
    assert {one.kernel for one in made.layers} == {"fast.small"}
    assert made.score == 308
    assert plan([layer(range(30)), layer(30, sinks=True)], PAGES).value("page_size") == 64


def test_each_compromise_says_what_it_costs_and_which_fact_wants_it() -> None:
    made = plan([layer([0, 1, 3]), layer(2, sinks=True)], PAGES)
    assert [one.layer for one in made.compromises] == [0, 1, 3]
    assert [one.cost for one in made.compromises] == [3, 3, 3]
    assert made.explain().splitlines()[1:] == [
        "  page_size = 16 for layers 0-3",
        "  layers 0-1, 3 attention decode: fast.small 77",
        "    not fast.big: page_size is 16, not 64, for layers 0-3; costs 3 points",
        "    `page_size % 64 == 0`, got page_size = 16, at serve.lzp:17:54",
        "  layer 2 attention decode: fast.small 77",
    ]
    assert "costs" not in str(made)


def test_no_call_is_degraded_where_another_choice_serves_it() -> None:
    made = plan([layer(0, sinks=True, page_size=17), layer(range(1, 50))], PAGES)
    assert made.value("page_size") == 64  # layer 0 says a page size of its own, and has no part in the choice
    assert made.kernel(0) == "plain.all"
    assert plan([layer(0, sinks=True), layer(range(1, 50))], PAGES, "deny plain.all for attention").score == 50 * 77


def test_those_that_agree_in_another_field_share_a_value() -> None:
    layers = [layer(range(2), phase=phase) for phase in ("prefill", "decode")]
    choose = {"page_size": [16], "graph_capture": [True, False]}
    rules = "boost * by 20 when graph_capture and phase == decode"
    made = plan(layers, choose, rules, per={"graph_capture": "phase"})
    assert made.value("graph_capture", "decode") is True  # 20 * 5 for plain.all, the only one that can be recorded
    assert made.value("graph_capture", "prefill") is False
    assert (made.kernel(1, "decode"), made.kernel(1, "prefill")) == ("plain.all", "fast.small")
    with pytest.raises(ArgumentError, match="layer 1 has several kernels"):
        made.kernel(1)
    with pytest.raises(UnknownNameError, match="no layer 9 for decode"):
        made.kernel(9, "decode")
    with pytest.raises(UnknownNameError, match=r"graph_capture \(of phase decode\)"):
        made.value("graph_capture")


def test_the_same_question_gives_the_same_plan() -> None:
    layers = [layer(range(4)), layer(4, sinks=True)]
    assert plan(layers, PAGES).to_json() == plan(layers, PAGES).to_json()
    turned = plan(layers[::-1], PAGES)
    assert {one.layer: one.kernel for one in turned.layers} == dict.fromkeys(range(5), "fast.small")


def test_of_equal_plans_the_values_that_stand_first_are_taken() -> None:
    layers = [layer(0, page_size=16)]
    assert plan(layers, {"bits": [16, 4, 8]}).value("bits") == 16
    assert plan(layers, {"bits": [4, 16, 8]}).value("bits") == 4


def test_rules_of_a_plan_make_the_policy_decide_as_planned() -> None:
    layers = [layer(range(3)), layer(3, sinks=True), layer(range(3), phase="prefill")]
    made = plan(layers, PAGES)
    ruled = Policy.from_text(WORDS + "boost fast.big by 9\n" + made.rules(), name="ruled.lzp")
    for one in made.layers:
        values = {**one.decision.values, "operation": "attention", "page_size": 16}
        assert ruled.decide(values).kernel == one.kernel
    assert ruled.decide(layer(2, page_size=64)).error == "lock_failed"  # not what was planned: an error, never another
    with pytest.raises(ArgumentError, match="want a `layer`"):
        plan([{"operation": "attention", "head_dim": 8}], PAGES).rules()


def test_where_nothing_serves_a_layer_it_is_named_with_the_reason() -> None:
    with pytest.raises(NoKernelError, match=r"layer 1 \(attention\) has no kernel with page_size in \{512, 1024\}: .*"):
        plan([layer(0), layer(1, sinks=True)], {"page_size": [512, 1024]})


def test_where_no_choice_serves_all_it_is_told_what_each_wants() -> None:
    rules = "quarantine plain.all"
    with pytest.raises(NoKernelError) as caught:
        plan(
            [layer(0), layer(1, sinks=True), layer(2)],
            {"page_size": [64, 16]},
            rules + "\nquarantine fast.small when not sinks",
        )
    assert str(caught.value).splitlines() == [
        "no choice serves every layer:",
        "  layer 0 (attention), 2 (attention) wants page_size in {64}",
        "  layer 1 (attention) wants page_size in {16}",
    ]


def test_a_value_of_each_layers_own_is_found_by_a_solver() -> None:
    pytest.importorskip("ortools")
    layers = [layer(number, head_dim=64 + 64 * (number % 4), sinks=number == 5) for number in range(16)]
    choose = {"page_size": [512, 64, 16], "bits": [16, 8]}
    assert 3 * 2 ** len(layers) > MOST_TRIED
    made = plan(layers, choose, "boost * by 1.01 when bits == 8 and layer % 2 == 1", per={"bits": "layer"})
    assert made.value("page_size") == 16
    assert [made.value("bits", number) for number in range(4)] == [16, 8, 16, 8]
    assert {one.kernel for one in made.layers} == {"fast.small"}


def test_without_a_solver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    with pytest.raises(MissingDependencyError, match=r"layerzero\[planning\]"):
        plan([layer(range(16))], {"page_size": [64, 16], "bits": [16, 8]}, per={"bits": "layer"})


@pytest.mark.parametrize(
    ("layers", "choose", "per", "said"),
    [
        ([], PAGES, {}, "wanted at least one"),
        ([layer(0)], {"pagesize": [1]}, {}, "unknown field `pagesize`; did you mean `page_size`"),
        ([layer(0)], {"page_size": []}, {}, "no values for `page_size`"),
        ([layer(0)], {"page_size": [0]}, {}, "`page_size` is an int in 1..1024, got 0"),
        ([layer(0)], PAGES, {"page_size": "phse"}, "unknown field `phse`"),
        ([layer(0)], PAGES, {"bits": "phase"}, "`bits` is not chosen"),
        ([{"operation": "attention", "head_dim": 8}], PAGES, {"page_size": "layer"}, "has no value of `layer`"),
        ([layer("zero")], PAGES, {}, "`layer` is an int"),
        ([layer(0, head_dim=None)], PAGES, {}, "needs `head_dim`"),
        ([7], PAGES, {}, "a layer is a mapping"),
        ([layer(0)], {"page_size": range(1, 1000), "bits": range(1, 20)}, {}, "more than 4096 choices"),
    ],
)
def test_a_wrong_question_says_what_is_wrong(layers: Any, choose: Any, per: Any, said: str) -> None:
    with pytest.raises((ArgumentError, ContextError)) as caught:
        plan(layers, choose, per=per)
    assert said in str(caught.value)

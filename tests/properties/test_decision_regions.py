"""A region holds one decision: over random policies and contexts, what lies in the region of one has its outcome."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from layerzero.compiler.cell import cell_of
from layerzero.compiler.codegen import INVALID
from layerzero.compiler.compile import compile_program
from layerzero.compiler.matcher import build
from layerzero.errors import PolicyError
from layerzero.runtime.policy import Policy

POLICIES, CONTEXTS = 24, 60
SMALL_TREES = (600, 40_000)


def _generators() -> ModuleType:
    """The module beside this file; the test folders are no packages."""
    if "generators" not in sys.modules:
        spec = importlib.util.spec_from_file_location("generators", Path(__file__).with_name("generators.py"))
        assert spec is not None and spec.loader is not None
        sys.modules["generators"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["generators"])
    return sys.modules["generators"]


def cases() -> list[Any]:
    found, seed = [], 1000
    while len(found) < POLICIES:
        seed += 1
        try:
            found.append(_generators().make_case(seed, CONTEXTS))
        except PolicyError:
            continue
    return found


def test_every_point_of_a_region_has_its_outcome() -> None:
    inside = 0
    for case in cases():
        for limits in (SMALL_TREES, (0, 0)):
            form = compile_program(case.program, case.environment, {}, limits)
            matcher = build(form)
            decided = [(one, matcher.decide(*one)) for one in case.contexts]
            for (operation, values, arms), outcome in decided:
                if outcome == INVALID:
                    continue
                cell = cell_of(form.operations[operation], values, arms)
                assert cell.contains(values, arms)
                for (other, others_values, others_arms), others_outcome in decided:
                    if other == operation and cell.contains(others_values, others_arms):
                        inside += 1
                        assert others_outcome == outcome, (case.seed, str(cell), values, others_values)
    # Each context lies in its own region; the law says something only where others do too.
    assert inside > 2 * 2 * POLICIES * CONTEXTS


def test_a_call_without_a_needed_field_has_no_region() -> None:
    case = cases()[0]
    form = compile_program(case.program, case.environment).operations["one"]
    with pytest.raises(ValueError, match="lacks a field that it needs"):
        cell_of(form, {}, {})


DECODE = {
    "operation": "attention.decode",
    "dtype": "bf16",
    "batch": 8,
    "q_len": 1,
    "kv_len": 4096,
    "q_heads": 32,
    "kv_heads": 8,
    "head_dim": 128,
    "device": "cuda",
    "sm": 90,
}
# Where no measurement of the shipped policy has a say.
UNTUNED = {**DECODE, "head_dim": 64}
CHOICES: Mapping[str, tuple[Any, ...]] = {
    "dtype": ("bf16", "fp16", "fp32"),
    "batch": (1, 8, 9, 64),
    "kv_len": (1, 2, 999, 1000, 1999, 2000, 4096, 65_536),
    "q_heads": (8, 32, 33),
    "head_dim": (64, 128, 192, 256),
    "window": (None, 128),
    "requires_grad": (False, True),
    "tenant": (None, "bank", "shop"),
}
TEXT = """policy "regions"
field tenant: string
lock torch.sdpa_math for attention when kv_len in 1000..1999 else choose
deny torch.sdpa_flash for attention when tenant == "bank" and kv_len % 16 == 0
experiment trial on tenant share 60% { arm control 50% arm other 50% { boost torch.sdpa_math by 30 for attention } }
"""


def test_the_region_of_a_decision_keeps_everything_that_it_says() -> None:
    policy, rng = Policy.from_text(TEXT), random.Random(4)
    decision = policy.decide(DECODE)
    regions = {decision.region}
    inside = 0
    for _ in range(400):
        context = {**DECODE, **{name: rng.choice(CHOICES[name]) for name in rng.sample(sorted(CHOICES), 3)}}
        other = policy.decide(context)
        assert other.region.contains(other.values, other.arms) and other.region.contains(other.values)
        if decision.region.contains(other.values):
            inside += 1
            assert (other.outcome, other.arm) == (decision.outcome, decision.arm)
            assert other.region == decision.region
        regions.add(other.region)
        decision = rng.choice((decision, other))
    assert inside > 20
    assert len(regions) > 20


def test_a_region_tells_what_it_is() -> None:
    region = Policy.from_text(TEXT).decide({**UNTUNED, "kv_len": 1500}).region
    assert region.fields["kv_len"] == "1000..1999"
    assert "device: cuda" in str(region)
    assert Policy.from_text(TEXT).decide(UNTUNED).region.fields["kv_len"] == "..0, 2..999, 2000.."


def test_a_region_ends_where_arm_device_or_view_do() -> None:
    policy = Policy.from_text(TEXT)
    decision = policy.decide({**DECODE, "tenant": "bank"})
    region, values = decision.region, dict(decision.values)
    assert region.contains(values, decision.arms)
    assert not region.contains(values, {"trial": "nobody"})
    assert not region.contains({**values, "sm": 80}, decision.arms)
    assert not region.contains({**values, "phase": "prefill"}, decision.arms)


def test_a_growing_decode_meets_a_region_for_each_border() -> None:
    policy = Policy.from_text('policy "p"\nlock torch.sdpa_math for attention when kv_len in 1000..1999 else choose')
    lengths = range(2, 8192)
    decisions = [policy.decide({**UNTUNED, "kv_len": length}) for length in lengths[::7]]
    regions = {decision.region for decision in decisions}
    borders = sum(one.outcome != other.outcome for one, other in pairwise(decisions))
    assert borders == 2
    assert len(regions) <= borders + 1

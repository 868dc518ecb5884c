"""Prepared contexts decide as plain ones do, with the native matcher and without."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from layerzero import native
from layerzero.errors import ArgumentError, ContextError
from layerzero.runtime.policy import Policy, Prepared

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


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.from_text('policy "shipped"')


@pytest.mark.parametrize(
    "changes", [{}, {"kv_len": 7}, {"head_dim": 512}, {"operation": "attention"}, {"dtype": "fp32"}]
)
def test_prepared_and_plain_contexts_decide_alike(policy: Policy, changes: dict[str, object]) -> None:
    context = {**DECODE, **changes}
    prepared = policy.prepare(context)
    decision = policy.decide(prepared)
    assert decision == policy.decide(context)
    assert decision == policy.decide(prepared)
    assert decision.proof.kernel == decision.kernel
    assert (decision.cached, decision.recovered_from, decision.policy) == (False, (), policy.snapshot.identity)


def test_a_prepared_context_is_packed_once(policy: Policy) -> None:
    assert (policy.prepare(DECODE).packed is None) is (native.matcher is None)


def test_errors_of_deciding_come_when_deciding(policy: Policy) -> None:
    missing = policy.prepare({"operation": "attention", "dtype": "bf16", "device": "cpu"})
    contradiction = policy.prepare({**DECODE, "phase": "prefill"})
    with pytest.raises(ContextError, match="needs"):
        policy.decide(missing)
    with pytest.raises(ContextError, match="wants"):
        policy.decide(contradiction)


def test_a_context_that_another_policy_prepared_is_decided_anew(policy: Policy) -> None:
    other = Policy.from_text('policy "other"\nlock torch.sdpa_math for attention else choose')
    prepared = policy.prepare(DECODE)
    assert policy.decide(prepared).kernel != "torch.sdpa_math"
    assert other.decide(prepared).kernel == "torch.sdpa_math"
    assert other.decide(prepared).policy.name == "other"


def test_a_policy_without_the_operation_refuses_a_prepared_context(policy: Policy) -> None:
    other = Policy.from_text('policy "other" standalone')
    with pytest.raises(ContextError, match="attention.decode"):
        other.decide(policy.prepare(DECODE))


@pytest.mark.parametrize("wrong", [None, [DECODE], "attention"])
def test_what_is_no_mapping_is_no_context(policy: Policy, wrong: Any) -> None:
    with pytest.raises(ContextError, match=r"a mapping of fields to values, got (None|list|str)"):
        policy.decide(wrong)


def test_a_policy_is_made_of_text() -> None:
    with pytest.raises(ArgumentError, match="`text`.*bytes"):
        Policy.from_text(b"deny *")  # type: ignore[arg-type]


def test_arms_are_those_of_the_prepared_context(policy: Policy) -> None:
    text = """policy "arms"
experiment trial on request_id {
  arm control 50%
  arm other 50% { lock torch.sdpa_math for attention else choose }
}
"""
    tried = Policy.from_text(text)
    kernels = set()
    for number in range(40):
        context = {**DECODE, "request_id": f"r-{number}"}
        prepared = tried.prepare(context)
        assert tried.decide(prepared) == tried.decide(context)
        kernels.add((prepared.arms["trial"], tried.decide(prepared).kernel == "torch.sdpa_math"))
    assert kernels == {("control", False), ("other", True)}


def test_decide_takes_its_argument_as_the_method_says(policy: Policy) -> None:
    prepared = policy.prepare(DECODE)
    assert policy.decide(context=prepared) == policy.decide(prepared)
    with pytest.raises(TypeError):
        policy.decide()  # type: ignore[call-arg]


def test_a_decision_is_small_and_frozen(policy: Policy) -> None:
    decision = policy.decide(policy.prepare(DECODE))
    assert not hasattr(decision, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        decision.cached = True  # type: ignore[misc]
    assert dataclasses.replace(decision, cached=True).cached
    assert isinstance(policy.prepare(DECODE), Prepared)

"""`lz.bind`: the kernel's own function where nothing open can change the decision, else a check of what is open."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from layerzero.backends import torch as kernels
from layerzero.dispatch.bind import Bound, bind
from layerzero.errors import ArgumentError, NoKernelError
from layerzero.operations import attention
from layerzero.runtime import ambient

LOCKED = 'policy "p" lock torch.sdpa_math for attention else choose'


def tensors(q_len: int = 7, kv_len: int = 7, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(q_len * 1000 + kv_len)
    shapes = ((1, q_len, 4, 64), (1, kv_len, 4, 64), (1, kv_len, 4, 64))
    return tuple(torch.randn(shape, generator=generator).to(dtype) for shape in shapes)


def test_a_fixed_context_gives_the_function_of_the_catalog_itself(ahead: Any) -> None:
    q, k, v = tensors()
    bound = bind(ahead.dispatcher, "attention", (q, k, v), {"is_causal": True}, varies=())
    decision = ahead.dispatcher.decide(_scope(), attention.read(q, k, v, is_causal=True).context)
    assert decision.kernel == "torch.sdpa_flash_cpu"
    assert bound is ahead.dispatcher.function(ahead.engine.current(), decision.kernel)
    assert bound is kernels.sdpa_flash_cpu


def test_an_operation_whose_kernel_no_size_changes_gives_the_function_itself(ahead: Any) -> None:
    x = torch.randn(3, 8)
    assert bind(ahead.dispatcher, "silu", (x,), {}) is kernels.silu


def test_open_sizes_that_can_change_the_kernel_are_checked_on_every_call(ahead: Any) -> None:
    bound = bind(ahead.dispatcher, "attention", tensors(), {"is_causal": True})
    assert isinstance(bound, Bound)
    assert {"q_len", "kv_len"} <= set(bound.reads)
    for q_len, kv_len in ((7, 7), (7, 9), (1, 9), (0, 9), (9, 9)):
        q, k, v = tensors(q_len, kv_len)
        expected = ahead.dispatcher.call(attention.read(q, k, v, is_causal=True))
        assert torch.equal(bound(q, k, v, is_causal=True), expected), (q_len, kv_len)


def test_only_what_varies_is_looked_at(ahead: Any) -> None:
    bound = bind(ahead.dispatcher, "attention", tensors(1, 7), {"is_causal": True}, varies=("kv_len",))
    assert isinstance(bound, Bound)
    assert bound.reads == ("kv_len",)


def test_a_call_that_breaks_the_promise_of_its_options_is_decided_in_full(ahead: Any) -> None:
    bound = bind(ahead.dispatcher, "attention", tensors(), {"is_causal": True})
    q, k, v = tensors(5, 9)
    assert torch.equal(bound(q, k, v), ahead.dispatcher.call(attention.read(q, k, v)))
    assert torch.equal(bound(q, v=v, k=k, is_causal=True), bound(q, k, v, is_causal=True))


def test_a_view_says_what_the_call_says(ahead: Any) -> None:
    bound = bind(ahead.dispatcher, "attention.causal", tensors(), {})
    q, k, v = tensors(6, 6)
    assert torch.equal(bound(q, k, v), ahead.dispatcher.call(attention.read(q, k, v, is_causal=True)))


def test_a_field_of_lz_context_that_a_rule_reads_is_looked_at(ahead: Any) -> None:
    ahead.policy('policy "p" field tenant: string deny torch.silu when has(tenant) and tenant == "bank"')
    x = torch.randn(3, 8)
    bound = bind(ahead.dispatcher, "silu", (x,), {})
    assert isinstance(bound, Bound)
    assert bound.reads == ("tenant",)
    with ambient.context({"tenant": "bank"}):
        assert torch.allclose(bound(x), torch.nn.functional.silu(x), atol=1e-6)
    assert bind(ahead.dispatcher, "silu", (x,), {}, varies=()) is kernels.silu


def test_the_policy_of_the_binding_stays_and_counts_as_a_pin(ahead: Any) -> None:
    ahead.policy(LOCKED)
    q, k, v = tensors()
    bound = bind(ahead.dispatcher, "attention", (q, k, v), {})
    before = ahead.engine.current().epoch
    ahead.policy('policy "q" quarantine torch.* for attention')
    assert ahead.engine.status().pinned_epochs == {before: 1}
    assert torch.equal(bound(q, k, v), kernels.sdpa_math(q, k, v))
    del bound
    assert ahead.engine.status().pinned_epochs == {}


def test_a_policy_with_experiments_is_asked_for_the_arm(ahead: Any) -> None:
    ahead.policy(
        'policy "p" experiment e on request_id { arm control 0% arm other 100% { lock reference.silu for silu } }'
    )
    x = torch.randn(3, 8)
    bound = bind(ahead.dispatcher, "silu", (x,), {})
    assert isinstance(bound, Bound)
    with ambient.context({"request_id": "r-1"}):
        assert torch.allclose(bound(x), torch.nn.functional.silu(x))


@pytest.mark.parametrize(
    ("kwargs", "message"), [({"varies": ("kv_length",)}, "did you mean `kv_len`"), ({"varies": ("q",)}, "unknown")]
)
def test_an_unknown_field_is_an_error(ahead: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        bind(ahead.dispatcher, "attention", tensors(), {}, **kwargs)


def test_arguments_that_do_not_fit_are_an_error(ahead: Any) -> None:
    q, k, v = tensors()
    with pytest.raises(ArgumentError, match="is_casual"):
        bind(ahead.dispatcher, "attention", (q, k, v), {"is_casual": True})


def test_an_example_that_no_kernel_serves_is_an_error(ahead: Any) -> None:
    ahead.policy('policy "p" quarantine * for silu')
    with pytest.raises(NoKernelError):
        bind(ahead.dispatcher, "silu", (torch.randn(3, 8),), {})


def _scope() -> Any:
    from layerzero.check.program import Scope

    return Scope("attention")

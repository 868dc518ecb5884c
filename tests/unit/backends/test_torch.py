"""torch's kernels are pinned by operator: no switch of the process is touched, so threads do not disturb each other."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from layerzero.backends import null, reference, torch as kernels
from layerzero.operations import attention


def test_kernels_in_two_threads_stay_what_they_are() -> None:
    q = torch.randn(1, 9, 2, 8)
    dropped = attention.read(q, q, q, dropout_p=0.5)

    def flash(_: int) -> torch.Tensor:
        out = kernels.sdpa_flash_cpu(q, q, q, is_causal=True)
        assert isinstance(out, torch.Tensor)
        return out

    def math(_: int) -> torch.Tensor:
        # Only the math kernel can drop; under switches of the process a flash call beside it would refuse.
        return kernels.sdpa_math(*dropped.args, **dropped.kwargs)

    before = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
    wanted = flash(0)
    with ThreadPoolExecutor(4) as pool:
        results = [(pool.submit(flash, i), pool.submit(math, i)) for i in range(50)]
        assert all(torch.equal(one.result(), wanted) and other.result().isfinite().all() for one, other in results)
    assert before == (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled())


@pytest.mark.parametrize("name", ["sdpa_flash", "sdpa_cudnn", "sdpa_efficient", "sdpa_flash_cpu", "sdpa_math", "flex"])
def test_adapters_take_a_part_of_the_public_parameters_with_the_same_defaults(name: str) -> None:
    public = inspect.signature(attention.read).parameters
    taken = inspect.signature(getattr(kernels, name)).parameters
    assert list(taken) == [p for p in public if p in taken]
    assert all(taken[p].default == public[p].default for p in taken)


def test_an_argument_that_a_kernel_does_not_honour_is_an_error() -> None:
    q = torch.ones(1, 2, 1, 4)
    with pytest.raises(TypeError, match="softcap"):
        kernels.sdpa_math(q, q, q, softcap=1.0)  # type: ignore[call-arg]


def test_null_answers_with_the_right_shape() -> None:
    q, v = torch.ones(2, 3, 4, 8), torch.ones(2, 5, 2, 6)
    assert null.attention(q, v, v).shape == (2, 3, 4, 6)
    assert null.same(q) is q


def test_eight_bit_inputs_are_answered_in_bf16() -> None:
    q = torch.randn(1, 4, 2, 8)
    eight = q.to(torch.float8_e4m3fn)
    call = attention.read(q.bfloat16(), eight, eight)
    assert (call.context["dtype"], call.context["kv_dtype"]) == ("bf16", "fp8_e4m3")
    got = reference.attention(eight, eight, eight)
    assert isinstance(got, torch.Tensor)
    assert got.dtype == torch.bfloat16
    wanted = reference.attention(eight.double(), eight.double(), eight.double())
    assert isinstance(wanted, torch.Tensor)
    assert (got - wanted).abs().max() < 2e-2

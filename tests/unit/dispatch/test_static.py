"""Static dispatch: what it returns is the catalog's function itself; what it runs stays within what the kernel can."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import layerzero as lz
from layerzero.backends import torch as torch_kernels
from layerzero.dispatch import KernelRegistry, StaticDispatcher, StaticDispatcherBuilder

torch.set_num_threads(1)
Q, K, V = torch.randn(2, 3, 4, 16), torch.randn(2, 5, 4, 16), torch.randn(2, 5, 4, 16)
FLASH, MATH = "torch.sdpa_flash_cpu", "torch.sdpa_math"


@pytest.fixture(scope="module")
def dispatcher() -> Any:
    builder = (
        StaticDispatcherBuilder()
        .with_kernel(MATH, operation="attention.causal")
        .with_kernel(FLASH, operation="attention.causal", default=True)
        .with_kernel(MATH, operation="attention.prefill")
        .with_kernel("torch.rms_norm", operation="norm.rms")
    )
    with builder.build() as made:
        yield made


def kernel(dispatcher: StaticDispatcher, operation: str, inputs: Any) -> str | None:
    with lz.trace() as records:
        dispatcher.dispatch(operation, inputs)
    return records[-1].kernel


def test_it_returns_the_catalogs_function_itself(dispatcher: StaticDispatcher) -> None:
    assert dispatcher.kernel_for("attention.causal") is torch_kernels.sdpa_flash_cpu
    assert dispatcher.kernel_for("attention.causal", MATH) is torch_kernels.sdpa_math
    assert dispatcher.kernel_for("attention.prefill") is torch_kernels.sdpa_math
    assert dispatcher.kernel_for("rms_norm") is torch_kernels.rms_norm
    assert dispatcher.bindings == {
        "attention.causal": (FLASH, MATH),
        "attention.prefill": (MATH,),
        "rms_norm": ("torch.rms_norm",),
    }


def test_it_runs_the_default(dispatcher: StaticDispatcher) -> None:
    ctx = lz.Context(dtype="fp32", layer=3)
    result = dispatcher.dispatch("attention.causal", (Q, K, V), context=ctx)
    assert torch.equal(result, torch_kernels.sdpa_flash_cpu(Q, K, V, is_causal=True))
    assert kernel(dispatcher, "attention.causal", (Q, K, V)) == FLASH
    assert kernel(dispatcher, "attention.prefill", (Q, K, V)) == MATH  # although it could be a causal call too
    assert kernel(dispatcher, "norm.rms", (Q,)) == "torch.rms_norm"
    assert dispatcher.explain("attention.prefill", (Q, K, V, None, True)).selected_kernel == MATH


def test_where_the_default_cannot_serve_the_next_one_does_and_no_other(dispatcher: StaticDispatcher) -> None:
    assert kernel(dispatcher, "attention.causal", {"q": Q, "k": K, "v": V, "scale": -1.0}) == MATH
    with pytest.raises(lz.NoKernelError, match="static_binding"):
        dispatcher.dispatch("attention.prefill", {"q": Q, "k": K, "v": V, "softcap": 2.0})


def test_a_binding_of_the_operation_serves_its_views() -> None:
    with StaticDispatcherBuilder().with_kernel(MATH, operation="attention").build() as whole:
        assert kernel(whole, "attention.causal", (Q, K, V)) == MATH
        assert whole.kernel_for("attention.causal") is torch_kernels.sdpa_math


def test_what_is_not_bound_is_an_error(dispatcher: StaticDispatcher) -> None:
    with pytest.raises(lz.UnknownNameError, match="no kernel is bound to `attention.decode`"):
        dispatcher.dispatch("attention.decode", (Q[:, :1], K, V))
    with pytest.raises(lz.UnknownNameError, match="is not bound to `rms_norm`; bound are torch.rms_norm"):
        dispatcher.kernel_for("rms_norm", "reference.rms_norm")
    with pytest.raises(lz.ContextError, match="did you mean `attention.causal`"):
        dispatcher.kernel_for("attention.causl")


def bound(*kernels: tuple[Any, str, bool]) -> StaticDispatcherBuilder:
    builder = StaticDispatcherBuilder()
    for spec, operation, default in kernels:
        builder = builder.with_kernel(spec, operation=operation, default=default)
    return builder


@pytest.mark.parametrize(
    ("builder", "error", "message"),
    [
        (bound(), lz.ArgumentError, "nothing is bound"),
        (bound(("torch.sdpa_mat", "attention", True)), lz.UnknownNameError, "did you mean `torch.sdpa_math`"),
        (
            bound(("torch.rms_norm", "attention", True)),
            lz.UnknownNameError,
            "serves rms_norm, not `attention`; kernels",
        ),
        (bound((MATH, "attention.causl", True)), lz.ContextError, "did you mean `attention.causal`"),
        (bound((MATH, "attention", False), (FLASH, "attention", False)), lz.ArgumentError, "has no default among"),
        (bound((MATH, "attention", True), (FLASH, "attention", True)), lz.ArgumentError, "2 defaults"),
        (bound((MATH, "attention", True), (MATH, "attention", False)), lz.ArgumentError, "twice"),
        (
            bound(("flashinfer.decode", "attention.decode", True)),
            lz.KernelCallError,
            "cannot run here: .*of `attention",
        ),
    ],
)
def test_what_cannot_be_built(builder: StaticDispatcherBuilder, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        builder.build()


def test_a_kernel_may_be_given_as_what_was_selected_or_listed() -> None:
    context = {"device": "cpu", "dtype": "fp32", "batch": 1, "q_len": 4, "kv_len": 4, "q_heads": 2, "kv_heads": 2}
    chosen = lz.select("attention.causal", context={**context, "head_dim": 16})
    listed = next(one for one in lz.list_kernels("rms_norm") if one.id == "torch.rms_norm")
    with bound((chosen, "attention.causal", False), (listed, "rms_norm", False)).build() as made:
        assert made.kernel_for("attention.causal") is chosen.function
        assert made.kernel_for("rms_norm") is torch_kernels.rms_norm
    with pytest.raises(lz.ArgumentError, match="`spec`"):
        StaticDispatcherBuilder().with_kernel(3, operation="attention")  # type: ignore[arg-type]


def test_a_function_of_the_programs_own() -> None:
    def mine(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    registry = KernelRegistry()
    registry.register(mine, 'kernel mine.silu for silu { "doubles" supports strided }')
    builder = StaticDispatcherBuilder(kernel_registry=registry).with_kernel("mine.silu", operation="silu")
    with builder.build() as made:
        assert made.kernel_for("silu") is mine
        assert torch.equal(made.dispatch("silu", Q), Q * 2)

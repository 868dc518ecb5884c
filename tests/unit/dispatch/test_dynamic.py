"""A dispatcher with a policy and registry of its own; real torch kernels on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import layerzero as lz
from layerzero.dispatch import BackendRegistry, DynamicDispatcher, KernelRegistry, create_dynamic_dispatcher

torch.set_num_threads(1)
Q, K, V = torch.randn(2, 3, 4, 16), torch.randn(2, 5, 4, 16), torch.randn(2, 5, 4, 16)
CATALOG = """
kernel mine.silu for silu {
  "a test's own"
  priority 90
  supports strided, inner_strided, misaligned, deterministic, empty
}
"""


def my_silu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


@pytest.fixture(scope="module")
def dispatcher() -> Any:
    with create_dynamic_dispatcher() as made:
        yield made


def kernels_of(dispatcher: Any, *call: Any, **more: Any) -> list[str | None]:
    with lz.trace() as records:
        dispatcher.dispatch(*call, **more)
    return [record.kernel for record in records]


def test_a_view_says_what_the_call_is(dispatcher: DynamicDispatcher) -> None:
    causal = lz.attention(Q, K, V, is_causal=True)
    torch.testing.assert_close(dispatcher.dispatch("attention.causal", (Q, K, V)), causal)
    torch.testing.assert_close(dispatcher.dispatch("attention.causal", {"q": Q, "k": K, "v": V}), causal)
    torch.testing.assert_close(dispatcher.dispatch("attention", (Q, K, V, None, True)), causal)
    torch.testing.assert_close(dispatcher.dispatch("attention", (Q, K, V)), lz.attention(Q, K, V))


def test_other_operations_and_their_older_names(dispatcher: DynamicDispatcher) -> None:
    x = torch.randn(4, 32)
    torch.testing.assert_close(dispatcher.dispatch("silu", x), lz.silu(x))
    torch.testing.assert_close(dispatcher.dispatch("norm.rms", {"x": x, "eps": 1e-3}), lz.rms_norm(x, eps=1e-3))
    assert torch.equal(dispatcher.dispatch("sample.greedy", (x,)), lz.sample_greedy(x))


@pytest.mark.parametrize(
    ("operation", "inputs", "context", "message"),
    [
        ("attention.causl", (Q, K, V), None, "did you mean `attention.causal`"),
        ("attention.causal", (Q, K), None, "do not fit a call of `attention.causal`.*missing.*'v'"),
        ("attention.causal", {"q": Q, "k": K, "v": V, "is_causal": False}, None, "causal"),
        ("attention.decode", (Q, K, V), None, "phase"),
        ("attention.sliding_window", (Q, K, V), None, "window"),
        ("attention", (Q, K, V), {"dtype": "bf16"}, "the context says `dtype` = bf16, the inputs fp32"),
        ("attention", (Q, K, V), {"batch_size": 3}, "the context says `batch_size` = 3, the inputs 2"),
        ("attention", (Q, K, V), {"window": 4}, "the context says `window` = 4, the inputs 0"),
        ("attention", (Q, K, V), {"laier": 4}, "unknown field `laier`.*did you mean `layer`"),
        ("attention", (Q, K, V), {"layer": -4}, "`layer` is an int"),
        ("attention", (Q, K, V), {"operation": "rope"}, "the context is of `rope`"),
    ],
)
def test_what_does_not_fit_is_an_error(
    dispatcher: DynamicDispatcher, operation: str, inputs: Any, context: Any, message: str
) -> None:
    with pytest.raises(lz.ArgumentError, match=message):
        dispatcher.dispatch(operation, inputs, context=context)


def test_its_policy_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        'denies:\n  - operation: "attention.*"\n    backend: "torch.sdpa_flash_cpu"\n    condition: "layer == 3"\n',
        encoding="utf-8",
    )
    with create_dynamic_dispatcher(policy=path) as own:
        ctx = lz.Context(layer=3, dtype="fp32")
        assert kernels_of(own, "attention.causal", (Q, K, V), context=ctx) == ["torch.sdpa_math"]
        assert kernels_of(own, "attention.causal", (Q, K, V), context=lz.Context(layer=2)) == ["torch.sdpa_flash_cpu"]
        assert own.explain("attention.causal", (Q, K, V), ctx).selected_kernel == "torch.sdpa_math"
        with lz.context(layer=3):
            assert kernels_of(own, "attention", (Q, K, V)) == ["torch.sdpa_math"]
        with lz.pin():  # of the process's engine, not of this one
            assert own.status().files[0] == str(path)
            assert kernels_of(own, "attention.causal", (Q, K, V), context=ctx) == ["torch.sdpa_math"]
        assert lz.which("attention.causal", Q, K, V) == "torch.sdpa_flash_cpu"


def test_a_registry_is_all_that_may_be_used() -> None:
    registry = KernelRegistry("torch.sdpa_math")
    assert registry.register(my_silu, CATALOG) == "mine.silu"
    x = torch.randn(4, 8)
    with create_dynamic_dispatcher(kernel_registry=registry) as own:
        assert kernels_of(own, "attention", (Q, K, V)) == ["torch.sdpa_math"]
        assert kernels_of(own, "silu", (x,)) == ["mine.silu"]
        torch.testing.assert_close(own.dispatch("silu", (x,)), lz.silu(x))
        with pytest.raises(lz.NoKernelError, match="not in this dispatcher's registry"):
            own.dispatch("rms_norm", (x,))


def test_a_backend_registry_is_all_that_may_be_asked() -> None:
    with create_dynamic_dispatcher(backend_registry=BackendRegistry("reference")) as own:
        assert kernels_of(own, "attention", (Q, K, V)) == ["reference.attention"]


@pytest.mark.parametrize(
    ("kernels", "backends", "message"),
    [
        (KernelRegistry("torch.sdpa_mat"), None, "did you mean `torch.sdpa_math`"),
        (None, BackendRegistry("torhc"), "did you mean `torch`"),
    ],
)
def test_unknown_names_in_a_registry(kernels: Any, backends: Any, message: str) -> None:
    with pytest.raises(lz.UnknownNameError, match=message):
        create_dynamic_dispatcher(kernels, backends)


def test_a_registered_kernel_is_declared_by_one_good_text() -> None:
    registry = KernelRegistry()
    with pytest.raises(lz.PolicyError, match="declares 0"):
        registry.register(my_silu, "deny torch.*")
    registry.register(my_silu, CATALOG)
    with pytest.raises(lz.PolicyError, match="registered already"):
        registry.register(my_silu, CATALOG)


def test_only_a_function_becomes_a_kernel() -> None:
    with pytest.raises(lz.ArgumentError, match="`function`: wanted a function, given 5"):
        lz.register_kernel(5, catalog=CATALOG)  # type: ignore[arg-type]


def test_a_broken_policy_is_refused_and_leaves_the_one_before(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        create_dynamic_dispatcher(policy=tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text('denies:\n  - operation: "attention.*"\n    bakend: "torch.*"\n', encoding="utf-8")
    with create_dynamic_dispatcher() as own:
        before = own.status().digest
        with pytest.raises(lz.PolicyError, match="did you mean `backend`"):
            own.configure(bad)
        assert own.status().digest == before and own.status().last_failure is not None

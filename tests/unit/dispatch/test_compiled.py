"""`torch.compile(fullgraph=True)` over the calls: no break, and a policy that changes costs what it must."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

import layerzero as lz
from layerzero.dispatch import traced
from layerzero.dispatch.traced import CALLS
from layerzero.errors import ArgumentError

SHIPPED = "torch.silu"


@pytest.fixture(autouse=True)
def as_new() -> Iterator[None]:
    """Each test begins with graphs and decisions of its own."""
    torch.compiler.reset()
    CALLS._changes = 0
    CALLS._settle()
    lz.configure(None)
    CALLS._changes = 0
    yield
    lz.configure(None)
    torch.compiler.reset()


class Compiled:
    """A function under torch.compile, and how often a graph of it was made."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self.graphs: list[torch.fx.GraphModule] = []
        self._call = torch.compile(function, fullgraph=True, backend=self._keep, **options)

    def _keep(self, graph: torch.fx.GraphModule, example: Any) -> Any:
        self.graphs.append(graph)
        return graph.forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    @property
    def opaque(self) -> bool:
        """Whether the last graph decides when it runs."""
        return any("layerzero.call" in str(node.target) for node in self.graphs[-1].graph.nodes)


def prefer(kernel: str) -> lz.Policy:
    return lz.Policy.from_text(f"lock {kernel} for silu")


X = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(1))
Q, K, V = torch.randn(3, 2, 7, 4, 16, generator=torch.Generator().manual_seed(2)).unbind()

CERTAIN = torch.full((1, 3, 4), -torch.inf).index_fill(2, torch.tensor(3), 0.0)

CALLS_OF_ALL: dict[str, Callable[[], Any]] = {
    "attention": lambda: lz.attention(Q, K, V, is_causal=True),
    "lse": lambda: lz.attention(Q, K, V, return_lse=True),
    "mask": lambda: lz.attention(Q, K, V, attn_mask=torch.ones(7, 7).bool().tril()),
    "rms_norm": lambda: lz.rms_norm(X, torch.ones(64)),
    "residual": lambda: lz.rms_norm(X, torch.ones(64), residual=X),
    "layer_norm": lambda: lz.layer_norm(X, torch.ones(64), torch.ones(64)),
    "group_norm": lambda: lz.group_norm(X, 5, torch.ones(5)),
    "rope": lambda: lz.rope(Q, torch.ones(7, 8), torch.zeros(7, 8)),
    "alibi": lambda: lz.alibi(4, 3, 5),
    "swiglu": lambda: lz.swiglu(X, X),
    "gelu": lambda: lz.gelu(X, "tanh"),
    "silu": lambda: lz.silu(X),
    "linear": lambda: lz.linear(X, torch.ones(3, 64), torch.ones(3)),
    "greedy": lambda: lz.sample_greedy(X[0]),
    "chain": lambda: lz.sample_speculative(torch.tensor([[3, 1]]), CERTAIN),
    "tree": lambda: lz.sample_speculative(torch.tensor([[0, 3]]), CERTAIN, parents=(-1, -1)),
}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other)


@pytest.mark.parametrize("name", CALLS_OF_ALL)
def test_a_graph_answers_as_the_call_does(name: str) -> None:
    compiled = Compiled(CALLS_OF_ALL[name])
    assert equal(compiled(), CALLS_OF_ALL[name]())
    assert len(compiled.graphs) == 1
    assert not compiled.opaque


@pytest.mark.parametrize("name", ["lse", "residual", "alibi", "greedy", "chain", "tree"])
def test_a_call_that_is_decided_when_it_runs_answers_as_well(name: str) -> None:
    compiled = Compiled(CALLS_OF_ALL[name])
    with lz.context(layer=1):
        assert equal(compiled(), CALLS_OF_ALL[name]())
    assert compiled.opaque


def test_a_swap_that_changes_no_decision_compiles_nothing() -> None:
    compiled = Compiled(lambda x: lz.silu(x) + 1)
    for boost in range(1, 6):
        lz.configure(lz.Policy.from_text(f"boost torch.* by {boost} for silu"))
        assert torch.equal(compiled(X), lz.silu(X) + 1)
    assert len(compiled.graphs) == 1


def test_a_swap_that_changes_a_decision_is_followed_and_swapping_back_is_free() -> None:
    compiled = Compiled(lz.silu)
    with lz.trace() as calls:
        lz.silu(X)
    assert calls[0].decision.kernel == SHIPPED
    compiled(X)
    lz.configure(prefer("reference.silu"))
    assert torch.equal(compiled(X), lz.silu(X))
    assert len(compiled.graphs) == 2
    lz.configure(None)
    compiled(X)
    assert len(compiled.graphs) == 2


def test_fifty_swaps_end_in_no_error() -> None:
    compiled = Compiled(lambda x, y: lz.swiglu(lz.silu(x), lz.gelu(y)))
    for number in range(50):
        kernel = ("torch", "reference")[number % 2]
        lz.configure(lz.Policy.from_text(f"lock {kernel}.* for silu, gelu, swiglu"))
        assert torch.equal(compiled(X, X), lz.swiglu(lz.silu(X), lz.gelu(X)))
    assert compiled.opaque
    assert len(compiled.graphs) <= traced.MOST_CHANGES + 1


def test_sizes_that_vary_are_decided_when_the_graph_runs() -> None:
    compiled = Compiled(lz.silu)
    for rows in (2, 3, 4, 5, 6, 7):
        x = torch.randn(rows, 64)
        assert torch.equal(compiled(x), lz.silu(x))
    assert compiled.opaque
    assert len(compiled.graphs) == 2


def test_numbers_are_constants_of_a_graph_whose_sizes_vary() -> None:
    compiled = Compiled(lambda x, eps, groups: lz.group_norm(x, groups, eps=eps), dynamic=True)
    for eps, groups in ((1e-5, 5), (0.5, 5), (0.5, 1)):
        assert torch.equal(compiled(X, eps, groups), lz.group_norm(X, groups, eps=eps))


def test_fields_of_the_caller_count() -> None:
    lz.configure(lz.Policy.from_text("lock reference.silu for silu when layer == 1 else choose"))
    compiled = Compiled(lz.silu)
    compiled(X)
    with lz.context(layer=1), lz.trace() as calls:
        compiled(X)
    assert [call.decision.kernel for call in calls] == ["reference.silu"]
    compiled(X)
    assert len(compiled.graphs) == 2


def test_a_kernel_that_cannot_be_traced_is_called_when_the_graph_runs() -> None:
    def silu(x: Tensor) -> Tensor:
        return torch.from_numpy(torch.nn.functional.silu(x).numpy())

    lz.register_kernel(silu, catalog="kernel untraceable.silu for silu { priority 900 supports empty, strided }")
    compiled = Compiled(lz.silu)
    with lz.trace() as calls:
        assert torch.equal(compiled(X), torch.nn.functional.silu(X))
    assert [call.decision.kernel for call in calls] == ["untraceable.silu"]
    assert compiled.opaque


@pytest.mark.parametrize("inside", [False, True], ids=["traced", "opaque"])
def test_gradients_pass(inside: bool) -> None:
    x = X.clone().requires_grad_()
    w = torch.ones(64, requires_grad=True)
    compiled = torch.compile(lambda x, w: lz.rms_norm(lz.silu(x), w).sum(), fullgraph=True, backend="aot_eager")
    assert compiled(x, w).requires_grad
    with lz.context(layer=1) if inside else nullcontext():
        found = torch.autograd.grad(compiled(x, w), (x, w))
    wanted = torch.autograd.grad(lz.rms_norm(lz.silu(x), w).sum(), (x, w))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, wanted, strict=True))


def test_a_wrong_argument_is_an_error_of_the_call() -> None:
    with pytest.raises(Exception, match="argument `up`: wanted"):
        Compiled(lz.swiglu)(X, X[:1])
    with pytest.raises(ArgumentError, match="argument `up`: wanted"):
        torch.compile(lz.swiglu, backend="eager")(X, X[:1])


@pytest.mark.slow
def test_inductor_compiles_both_kinds() -> None:
    function = lambda q, k, v: lz.rms_norm(lz.attention(q, k, v, is_causal=True))  # noqa: E731
    compiled = torch.compile(function, fullgraph=True)
    assert torch.allclose(compiled(Q, K, V), function(Q, K, V), atol=1e-5)
    with lz.context(layer=1):
        assert torch.allclose(compiled(Q, K, V), function(Q, K, V), atol=1e-5)

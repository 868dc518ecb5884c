"""Models that know nothing of LayerZero go through it, with the results that torch gives."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from torch.nn import functional

import layerzero as lz
from layerzero.integrations.intercept import Intercept


@pytest.fixture(autouse=True)
def graphs_as_new() -> None:
    """What tests before it had compiled would count towards torch's limits, and decide what is traced here."""
    torch._dynamo.reset()


CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def agree(call: Callable[[], Tensor]) -> Intercept:
    """Both ways of running a call give the same; returns what was seen."""
    wanted = call()
    with lz.intercept() as seen:
        got = call()
    torch.testing.assert_close(got, wanted, **CLOSE)
    return seen


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_models_of_transformers(kind: str) -> None:
    pytest.importorskip("transformers")
    from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

    torch.manual_seed(0)
    small = {"vocab_size": 64}
    model: nn.Module
    if kind == "llama":
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
        model = LlamaModel(LlamaConfig(num_hidden_layers=2, **sizes, **small))
    elif kind == "gpt2":
        model = GPT2Model(GPT2Config(n_layer=2, n_embd=32, n_head=4, n_positions=32, **small))
    else:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
        model = BertModel(BertConfig(num_hidden_layers=2, **sizes, **small))
    model.eval()
    ids = torch.randint(0, 64, (2, 9))
    with torch.no_grad():
        seen = agree(lambda: model(input_ids=ids).last_hidden_state)
    assert seen.served["attention"] == 2
    assert not seen.left


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": torch.tensor([True, False, True, True, False, True, True]).expand(5, 7)},
        {"attn_mask": torch.linspace(-1, 1, 35).view(5, 7)},
    ],
    ids=["plain", "causal, aligned to the top left", "scale", "boolean mask", "additive mask"],
)
def test_attention_means_what_torch_means(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 5, 16), torch.randn(2, 4, 7, 16), torch.randn(2, 4, 7, 16)
    seen = agree(lambda: functional.scaled_dot_product_attention(q, k, v, **options))  # type: ignore[arg-type]
    assert seen.served == {"attention": 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_rms_norm_without_eps_uses_that_of_the_type_torch_computes_in(dtype: torch.dtype) -> None:
    x = torch.linspace(-1e-3, 1e-3, 64).view(2, 32).to(dtype)
    seen = agree(lambda: functional.rms_norm(x, (32,)))
    assert seen.served == {"rms_norm": 1}


def test_modules_of_torch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.LayerNorm(16), nn.RMSNorm(16), nn.GELU("tanh"))
    x = torch.randn(3, 8)
    seen = agree(lambda: model(x))
    assert seen.served == {"silu": 1, "layer_norm": 1, "rms_norm": 1, "gelu": 1}


def test_gradients_flow() -> None:
    x = torch.randn(3, 8, requires_grad=True)
    (wanted,) = torch.autograd.grad(functional.gelu(functional.layer_norm(x, (8,))).sum(), x)
    with lz.intercept():
        (got,) = torch.autograd.grad(functional.gelu(functional.layer_norm(x, (8,))).sum(), x)
    torch.testing.assert_close(got, wanted, **CLOSE)


@pytest.mark.parametrize(
    ("call", "name", "reason"),
    [
        (lambda x: functional.silu(x.clone(), inplace=True), "silu", "it writes to its input"),
        (lambda x: functional.layer_norm(x, (5, 16)), "layer_norm", "it norms more than the last dimension"),
        (
            lambda x: functional.scaled_dot_product_attention(x, x[:, :1], x[:, :1]),
            "scaled_dot_product_attention",
            "its heads broadcast without `enable_gqa`",
        ),
        (
            lambda x: functional.scaled_dot_product_attention(x[0], x[0], x[0]),
            "scaled_dot_product_attention",
            "it is not [batch, heads, seq, head_dim]",
        ),
    ],
    ids=["in place", "two dimensions", "broadcast heads", "no batch"],
)
def test_what_it_does_not_say_stays_with_torch_and_is_told_once(
    call: Callable[[Tensor], Tensor], name: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    x = torch.randn(2, 4, 5, 16)
    with caplog.at_level(logging.WARNING, "layerzero"), lz.intercept() as seen:
        first, second = call(x), call(x)
    torch.testing.assert_close(first, call(x))
    torch.testing.assert_close(second, first)
    assert seen.left == {(name, reason): 2}
    assert not seen.served
    assert [record.getMessage() for record in caplog.records] == [f"`{name}` is left to torch: {reason}"]


def test_multi_head_attention_is_said_to_stay_with_torch() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        seen = agree(lambda: layer(x))
    assert seen.served == {"layer_norm": 2}
    assert seen.left[("multi_head_attention_forward", "torch runs its parts where no mode sees them")] == 1


def test_the_policy_in_force_decides() -> None:
    x = torch.randn(2, 8)
    policy = lz.Policy.from_text("lock reference.silu for silu", prelude=True)
    with lz.using(policy), lz.trace() as calls, lz.intercept():
        functional.silu(x)
    assert [record.decision.kernel for record in calls] == ["reference.silu"]


class Graphs:
    """A function under torch.compile without a break, and the graphs that were made of it."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        torch.compiler.reset()
        self.made: list[torch.fx.GraphModule] = []
        self.call = torch.compile(function, fullgraph=True, backend=self._keep)

    def _keep(self, graph: torch.fx.GraphModule, example: object) -> Callable[..., object]:
        self.made.append(graph)
        return graph.forward

    def targets(self) -> str:
        return " ".join(str(node.target) for graph in self.made for node in graph.graph.nodes)


def test_a_compiled_model_goes_through_layerzero_in_one_graph_however_often_it_runs() -> None:
    pytest.importorskip("transformers")
    from transformers import LlamaConfig, LlamaModel

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    model = LlamaModel(LlamaConfig(num_hidden_layers=2, vocab_size=64, attn_implementation="sdpa", **sizes)).eval()
    x = torch.randn(2, 9, 32)

    def run(embedded: Tensor) -> Tensor:
        return model(inputs_embeds=embedded, use_cache=False).last_hidden_state  # type: ignore[no-any-return]

    graphs = Graphs(run)
    with torch.no_grad():
        wanted = run(x)
        with lz.intercept() as first:
            for _ in range(3):
                torch.testing.assert_close(graphs.call(x), wanted, **CLOSE)
        for _ in range(10):  # more than the variants of a function that torch keeps
            with lz.intercept() as later:
                graphs.call(x)
    assert len(graphs.made) == 1
    assert "scaled_dot_product" not in graphs.targets()
    # What is in a graph is counted when it is traced.
    assert first.served == {"attention": 2, "silu": 2}
    assert not first.left
    assert not later.served


def test_a_compiled_call_that_stays_with_torch_breaks_no_graph(caplog: pytest.LogCaptureFixture) -> None:
    def run(x: Tensor) -> Tensor:
        both = functional.silu(x.to(torch.complex64)).real + functional.silu(x.clone(), inplace=True)
        return functional.layer_norm(functional.rms_norm(both, (16,)), (5, 16))

    x = torch.randn(2, 5, 16)
    graphs = Graphs(run)
    with caplog.at_level(logging.WARNING, "layerzero"), lz.intercept() as seen:
        torch.testing.assert_close(graphs.call(x), run(x), **CLOSE)
    assert len(graphs.made) == 1
    reasons = sorted(reason for _, reason in seen.left)
    assert reasons == [
        "argument `x`: wanted dtype fp64 or fp32 or fp16 or bf16, given torch.complex64",
        "it norms more than the last dimension",
        "it writes to its input",
    ]
    assert len(caplog.records) == 3


def test_a_compiled_graph_follows_the_policy() -> None:
    x = torch.randn(2, 8)
    graphs = Graphs(functional.silu)
    try:
        with lz.intercept():
            graphs.call(x)
            lz.configure(lz.Policy.from_text("lock reference.silu for silu"))
            torch.testing.assert_close(graphs.call(x), functional.silu(x), **CLOSE)
            graphs.call(x)
    finally:
        lz.configure(None)
    assert len(graphs.made) == 2


def test_gradients_flow_through_compiled_graphs_of_sizes_that_vary() -> None:
    def run(x: Tensor) -> Tensor:
        return functional.gelu(functional.layer_norm(x, (8,))).sum()

    torch.compiler.reset()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager", dynamic=True)
    for rows in (3, 4, 5):
        x = torch.randn(rows, 8, requires_grad=True)
        (wanted,) = torch.autograd.grad(run(x), x)
        with lz.intercept():
            (got,) = torch.autograd.grad(compiled(x), x)
        torch.testing.assert_close(got, wanted, **CLOSE)


def test_a_block_inside_of_a_graph_holds_for_the_block() -> None:
    def run(x: Tensor) -> Tensor:
        with lz.intercept():
            y = functional.silu(x)
        return functional.silu(y)

    x = torch.randn(2, 8)
    graphs = Graphs(run)
    torch.testing.assert_close(graphs.call(x), functional.silu(functional.silu(x)), **CLOSE)
    # How the call inside is decided, while tracing or when the graph runs, hangs on what the process traced before.
    assert graphs.targets().count("function silu") == 1


def test_what_a_call_of_layerzero_decided_is_not_decided_again_in_its_kernel() -> None:
    x = torch.randn(2, 8)
    with lz.intercept() as seen, lz.trace() as calls:
        lz.silu(x)
        lz.rms_norm(x)
        lz.layer_norm(x)
    assert [call.operation for call in calls] == ["silu", "rms_norm", "layer_norm"]
    assert not seen.served


def test_outside_of_the_block_nothing_is_taken_over() -> None:
    with lz.intercept() as seen:
        pass
    functional.silu(torch.randn(3))
    assert not seen.served

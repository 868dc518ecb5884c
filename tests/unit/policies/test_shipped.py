"""The shipped words and facts hold together: fallbacks, the closed world, adapters, views, devices."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from layerzero.check import load_text
from layerzero.check.program import Program, Scope
from layerzero.errors import ContextError
from layerzero.operations import (
    attention,
    gelu,
    group_norm,
    layer_norm,
    linear,
    paged_attention,
    rms_norm,
    rope,
    sample_speculative,
    silu,
    swiglu,
)
from layerzero.semantics.context import read_context
from layerzero.semantics.environment import Environment
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof

# The parameter of an adapter without which it cannot honour a feature. The others (gqa, strided, backward, ...) say
# something about the tensors that no parameter carries.
PARAMETER = {
    "attention": {
        "causal": "is_causal",
        "window": "window",
        "softcap": "softcap",
        "scale": "scale",
        "mask_bool": "attn_mask",
        "mask_additive": "attn_mask",
        "mask_grad": "attn_mask",
        "alibi": "alibi_slopes",
        "sinks": "sinks",
        "dropout": "dropout_p",
        "lse": "return_lse",
        "bhsd": "layout",
        "paged": "page_table",
        "varlen": "cu_seqlens_q",
    },
    "rms_norm": {"weight": "weight", "residual": "residual"},
    "layer_norm": {"weight": "weight", "bias": "bias"},
    "group_norm": {"weight": "weight", "bias": "bias"},
    "rope": {"interleaved": "interleaved"},
    "gelu": {"tanh": "approximate"},
    "linear": {"bias": "bias"},
    "tokenize": {"special": "special"},
    "sample": {"topk": "k", "topp": "p", "temperature": "temperature", "generator": "generator"},
    "sample_speculative": {
        "draft_logits": "draft_logits",
        "tree": "parents",
        "temperature": "temperature",
        "generator": "generator",
    },
}

LLAMA: dict[str, object] = {"dtype": "bf16", "q_heads": 32, "kv_heads": 8, "head_dim": 128, "batch": 1}
MINIMAL: dict[str, dict[str, object]] = {
    "attention": {**LLAMA, "q_len": 4, "kv_len": 4},
    "attention.cross": {**LLAMA, "q_len": 4, "kv_len": 9},
    "attention.decode": {**LLAMA, "q_len": 1, "kv_len": 1024},
    "attention.sliding_window": {**LLAMA, "q_len": 4, "kv_len": 4, "window": 2},
    "rms_norm": {"dtype": "bf16", "hidden_size": 4096},
    "layer_norm": {"dtype": "bf16", "hidden_size": 4096},
    "group_norm": {"dtype": "bf16", "channels": 32, "num_groups": 4},
    "rope": {"dtype": "bf16", "head_dim": 128},
    "alibi": {"q_heads": 8, "q_len": 4, "kv_len": 4},
    "swiglu": {"dtype": "bf16"},
    "gelu": {"dtype": "bf16"},
    "silu": {"dtype": "bf16"},
    "sample": {"dtype": "fp32", "method": "greedy"},
    "sample_speculative": {"dtype": "fp32", "draft_tokens": 4},
    "linear": {"dtype": "bf16", "in_features": 64, "out_features": 64},
    "tokenize": {"tokenizer_id": "gpt2"},
    "detokenize": {"tokenizer_id": "gpt2"},
}


@pytest.fixture(scope="module")
def program() -> Program:
    checked = load_text('policy "empty"')
    assert [str(finding) for finding in checked.diagnostics] == []
    assert checked.program is not None
    return checked.program


def ask(program: Program, context: Mapping[str, object]) -> Proof:
    scope, values = read_context(program, context)
    return decide(program, Environment(assume_packages=True, today=date(2026, 11, 23)), scope, values)


def test_every_operation_falls_back_to_the_reference(program: Program) -> None:
    for operation in program.operations.values():
        assert operation.fallback[-1] == f"reference.{operation.name}"


def test_the_reference_supports_every_feature_everywhere(program: Program) -> None:
    for operation in program.operations.values():
        reference = program.kernels[f"reference.{operation.name}"]
        assert {s.feature for s in reference.supports if s.when is None} == set(operation.features), reference.id
        unconditional = [r for r in reference.requirements if r.when is None]
        assert unconditional == [], reference.id


def test_facts_name_their_source(program: Program) -> None:
    assert [kernel.id for kernel in program.kernels.values() if not kernel.sources] == []
    assert [kernel.id for kernel in program.kernels.values() if not kernel.doc] == []
    assert [kernel.id for kernel in program.kernels.values() if not kernel.packages and kernel.backend != "torch"] == []


def adapters(program: Program) -> list[tuple[str, str, str]]:
    found = []
    for kernel in program.kernels.values():
        if kernel.adapter is not None:
            found += [(kernel.id, scope.operation, kernel.adapter) for scope in kernel.scopes]
    return found


def parameters_of(path: str) -> dict[str, object]:
    """Name -> default (or inspect's mark for none), read from the source: the kernel's package may not be here."""
    module, _, name = path.partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, path
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if name not in functions:  # made some other way; such a module imports everywhere
        found = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        return {one.name: one.default for one in found.values()}
    arguments = functions[name].args
    spare = len(arguments.args) - len(arguments.defaults)
    defaults = [inspect.Parameter.empty] * spare + [ast.literal_eval(one) for one in arguments.defaults]
    found = dict(zip([one.arg for one in arguments.args], defaults, strict=True))
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found[one.arg] = inspect.Parameter.empty if default is None else ast.literal_eval(default)
    return found


READERS = {
    "attention": attention.read,
    "rms_norm": rms_norm.read,
    "layer_norm": layer_norm.read,
    "group_norm": group_norm.read,
    "rope": rope.read,
    "swiglu": swiglu.read,
    "gelu": gelu.read,
    "silu": silu.read,
    "linear": linear.read,
    "sample_speculative": sample_speculative.read,
}


def test_an_adapter_has_the_order_and_defaults_of_its_public_operation(program: Program) -> None:
    for kernel_id, operation, path in adapters(program):
        if operation not in READERS or kernel_id == "reference.attention":  # which serves dense and paged calls at once
            continue
        taken = parameters_of(path)
        read = paged_attention.read if "page_table" in taken else READERS[operation]
        public = inspect.signature(read).parameters
        assert not set(taken) - set(public), f"{kernel_id}: {set(taken) - set(public)} are no parameters of {operation}"
        assert list(taken) == sorted(taken, key=list(public).index) or "page_table" in taken, kernel_id
        for name in taken:
            # A paged adapter shares its parameters with the dense one, where a call is not causal unless it says so.
            wanted = False if name == "is_causal" else public[name].default
            assert taken[name] in (wanted, inspect.Parameter.empty), f"{kernel_id}: `{name}` defaults to {taken[name]}"


def test_an_adapter_takes_exactly_what_its_kernel_supports(program: Program) -> None:
    pytest.importorskip("torch")
    assert len(adapters(program)) >= 20
    for kernel_id, operation, path in adapters(program):
        parameters = parameters_of(path)
        supported = {support.feature for support in program.kernels[kernel_id].supports}
        for feature, parameter in PARAMETER.get(operation, {}).items():
            if feature in supported:
                assert parameter in parameters, f"{kernel_id} supports {feature}, but {path} takes no `{parameter}`"
        for parameter in set(PARAMETER.get(operation, {}).values()) & set(parameters):
            features = {feature for feature, name in PARAMETER[operation].items() if name == parameter}
            assert supported & features, f"{path} takes `{parameter}`, but {kernel_id} supports none of {features}"


@pytest.mark.parametrize("device", ["h100", "t4", "mi300x", "cpu"])
def test_a_minimal_context_is_served(program: Program, device: str) -> None:
    for operation, context in MINIMAL.items():
        values = {**program.devices[device].values, **context}
        proof = ask(program, {"operation": operation, **values})
        assert proof.error is None, (operation, proof.error)
        assert proof.kernel is not None


def test_every_operation_and_view_is_tried(program: Program) -> None:
    assert {name.partition(".")[0] for name in MINIMAL} == set(program.operations)


def test_every_view_can_be_asserted(program: Program) -> None:
    for operation in program.operations.values():
        for view in operation.views:
            scope = f"{operation.name}.{view}"
            context = dict(MINIMAL.get(scope, MINIMAL[operation.name]))
            if operation.name == "sample":
                del context["method"]  # the view fills it in
            proof = ask(program, {"operation": scope, **context})
            assert proof.error is None, (scope, proof.error)
            assert view in proof.views


@pytest.mark.parametrize(
    ("scope", "context"),
    [
        ("attention.sliding_window", {"q_len": 4, "kv_len": 4}),
        ("attention.causal", {"q_len": 4, "kv_len": 4, "causal": False}),
        ("attention.decode", {"q_len": 4, "kv_len": 4, "phase": "prefill"}),
        ("attention.full", {"q_len": 4, "kv_len": 4, "window": 2}),
    ],
)
def test_a_view_that_does_not_hold_is_an_error(program: Program, scope: str, context: dict[str, object]) -> None:
    try:
        proof = ask(program, {"operation": scope, **LLAMA, **context})
    except ContextError as error:
        message = str(error)
    else:
        assert proof.error is not None
        message = proof.error.message
    assert scope.rpartition(".")[2] in message


def test_decode_means_one_query_against_a_longer_cache(program: Program) -> None:
    def views(q_len: int, kv_len: int) -> tuple[str, ...]:
        return ask(program, {"operation": "attention", **LLAMA, "q_len": q_len, "kv_len": kv_len}).views

    assert "decode" in views(1, 2)
    assert "prefill" in views(1, 1)
    assert "prefill" in views(2, 9)


def test_older_names_and_spellings(program: Program) -> None:
    scope, values = read_context(
        program, {"operation": "norm.rms", "dtype": "bfloat16", "hidden_size": 64, "device": "cpu"}
    )
    assert (scope, values["dtype"]) == (Scope("rms_norm"), "bf16")
    _, values = read_context(program, {"operation": "attention", **LLAMA, "batch_size": 1, "q_len": 1, "seq_len": 8})
    assert (values["batch"], values["kv_len"]) == (1, 8)
    assert program.aliases.kernels["torch_sdpa"] == "torch.sdpa_*"


def test_a_new_feature_takes_every_kernel_out() -> None:
    """The closed world: what a kernel does not declare, it is not asked for."""
    checked = load_text(
        'policy "closed" field tree: bool = false  extend attention { optional tree  feature tree when tree }'
    )
    assert checked.program is not None
    context = {"operation": "attention", **LLAMA, "q_len": 4, "kv_len": 4}
    assert ask(checked.program, context).error is None
    proof = ask(checked.program, {**context, "tree": True})
    assert proof.error is not None
    assert set(proof.rejected) == {kernel.id for kernel in checked.program.kernels_for("attention")}
    assert all(any(reason.feature == "tree" for reason in reasons) for reasons in proof.rejected.values())


def test_devices(program: Program) -> None:
    assert {"t4", "a100", "h100", "h200", "b200", "mi300x", "cpu"} <= set(program.devices)
    for name, device in program.devices.items():
        assert ("sm" in device.values) == (device.values["device"] == "cuda"), name


def test_no_gpu_kernel_serves_a_cpu(program: Program) -> None:
    proof = ask(program, {"operation": "attention", **LLAMA, "q_len": 4, "kv_len": 4, "device": "cpu"})
    feasible = {name for name, verdict in proof.verdicts.items() if verdict.stage != "infeasible"}
    assert feasible == {"reference.attention", "torch.sdpa_flash_cpu", "torch.sdpa_math", "zendnn.attention"}

"""The public face: exactly these names, callable exactly as documented. A change here is a change for every user."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import layerzero as lz

NAMES = {
    "calls": "attention paged_attention rms_norm layer_norm group_norm rope alibi swiglu gelu silu linear "
    "sample_topk sample_topp sample_greedy sample_speculative tokenize detokenize register_tokenizer",
    "selection": "select explain which list_kernels validate dry_run trace",
    "policy": "configure context pin using lock unlock prefer disabled enable register_kernel configure_breakers "
    "status doctor log_decisions join_ranks",
    "ahead": "bind compile plan warmup readiness_check",
    "experiments": "request outcome experiment_status share_experiments resume_arm",
    "types": "Context Decision KernelInfo Plan Policy SelectedKernel",
    "weights": "Int8Weight Fp8Weight GPTQWeight AWQWeight",
    "errors": "LayerZeroError ArgumentError ContextError UnknownNameError PolicyError NoKernelError KernelCallError "
    "MissingDependencyError RanksError",
    "other": "__version__ intercept",
}
ERRORS = NAMES["errors"].split()
FUNCTIONS = ("calls", "selection", "policy", "ahead", "experiments")


class Call:
    """Records how a documented example calls a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        return self.name, args, kwargs


class Names:
    def __getattr__(self, name: str) -> Call:
        return Call(name)


# The calls of the documentation, word for word; only their binding is tested here.
DOCUMENTED = """
lz.attention(q, k, v, is_causal=True, dropout_p=0.0)
lz.attention(q, k, v, attn_mask=q, scale=1.0, window=4, softcap=5.0, alibi_slopes=q, sinks=q, enable_gqa=True, \
layout="bhsd", phase="decode", return_lse=True)
lz.paged_attention(q, k_cache, v_cache, page_table)
lz.paged_attention(q, k_cache, v_cache, page_table, seq_lens=q, is_causal=True, cu_seqlens_q=q, scale=1.0, window=4, \
softcap=5.0, sinks=q)
lz.rms_norm(x, weight, eps=1e-6)
lz.rms_norm(x, weight, eps=1e-6, residual=x)
lz.layer_norm(x, weight, bias, eps=1e-5)
lz.group_norm(x, num_groups, weight, bias, eps=1e-5)
lz.rope(x, cos, sin, interleaved=False)
lz.alibi(num_heads, q_len, kv_len)
lz.swiglu(gate, up)
lz.gelu(x, approximate="none")
lz.silu(x)
lz.linear(x, weight, bias=None)
lz.sample_topk(logits, k=50, temperature=1.0)
lz.sample_topk(logits, k=50, temperature=1.0, generator=g)
lz.sample_topp(logits, p=0.9, temperature=1.0)
lz.sample_greedy(logits)
lz.sample_speculative(ids, logits, draft_logits=q, parents=(-1, 0, 0), temperature=1.0, generator=g)
lz.tokenize(text, tokenizer_id="gpt2")
lz.detokenize(ids, tokenizer_id="gpt2")
lz.register_tokenizer(id, path)
lz.select(operation="attention.causal", context=ctx)
lz.explain(q, k, v, operation="attention.causal")
lz.which("attention.causal", q, k, v)
lz.list_kernels(operation="attention.*")
lz.validate("flash_attn.v3", context=ctx)
lz.dry_run(operation="attention.causal", context=ctx)
lz.bind("attention", q, k, v, is_causal=True)
lz.compile(operation="attention.causal", shapes=[(1, 512, 32, 128)])
lz.plan([ctx], choose={"page_size": [16, 64]}, per={"page_size": "layer"})
lz.warmup(operation="attention.causal", shapes=[(1, 512, 32, 128), (8, 2048, 32, 128)])
lz.readiness_check()
lz.configure("policy.lzp")
lz.context(request_id="r-1", layer=3)
lz.lock("attention.causal", "flashinfer.decode")
lz.unlock("attention.causal")
lz.prefer("flashinfer", priority=100)
lz.disabled("torch_sdpa")
lz.enable("torch_sdpa")
lz.using(q)
lz.pin()
lz.register_kernel(function, catalog=text)
lz.request(request_id="r-1")
lz.outcome(request_id="r-1", latency_ms=12.5, error=False)
lz.configure_breakers(failures=3, cool_down=30.0, nan_rate=0.001)
lz.doctor()
lz.join_ranks(tp=4, timeout=10.0)
lz.log_decisions("decisions.jsonl", mode="distinct")
lz.status()
""".replace("\\\n", "")


def test_the_names_are_exactly_these() -> None:
    wanted = {name for names in NAMES.values() for name in names.split()}
    assert sorted(lz.__all__) == sorted(wanted)
    assert [name for name in lz.__all__ if not hasattr(lz, name)] == []


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="attenshun"):
        _ = lz.attenshun  # type: ignore[attr-defined]


@pytest.mark.parametrize("example", DOCUMENTED.strip().splitlines())
def test_documented_calls_bind(example: str) -> None:
    words = (
        "q k v k_cache v_cache page_table x weight bias num_groups cos sin num_heads q_len kv_len gate up logits g ctx"
    )
    scope: dict[str, Any] = {word: word for word in [*words.split(), "function", "text", "ids", "path"]}
    name, args, kwargs = eval(example, {"lz": Names(), **scope})
    inspect.signature(getattr(lz, name)).bind(*args, **kwargs)


@pytest.mark.parametrize("name", " ".join(NAMES[group] for group in FUNCTIONS).split())
def test_every_function_is_typed_and_says_what_it_does(name: str) -> None:
    function = getattr(lz, name)
    assert function.__doc__
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    assert [p.name for p in signature.parameters.values() if p.annotation is inspect.Parameter.empty] == []


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_of_the_packages_own_tree(name: str) -> None:
    assert issubclass(getattr(lz, name), lz.LayerZeroError)


def test_importing_the_package_loads_nothing_heavy(root: Path) -> None:
    script = (
        "import sys, layerzero; print([m for m in ('torch', 'numpy', 'lark', 'layerzero.api') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Adapters of packages that need a GPU, over stand-ins that compute on the CPU; conformance runs the real ones."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gpu_stand_ins as stand_ins
import pytest
import torch
from torch import Tensor

from layerzero.backends import reference
from layerzero.backends.weights import AWQWeight, GPTQWeight
from layerzero.operations import attention, layer_norm, linear, paged_attention, rms_norm, rope, sample, swiglu


@pytest.fixture(scope="module", autouse=True)
def packages() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        before = dict(sys.modules)
        stand_ins.install(patch)
        operators = SimpleNamespace(
            rmsnorm=SimpleNamespace(default=stand_ins.sgl_rmsnorm),
            rotary_embedding=SimpleNamespace(default=stand_ins.sgl_rope),
        )
        patch.setattr(importlib.import_module("layerzero.backends.sgl_kernel"), "operators", operators)
        importlib.import_module("torch.nn.attention.varlen")
        patch.setattr(torch.ops.torch_attn, "_varlen_attn", stand_ins.torch_varlen)  # below torch's own function
        yield
    for name in set(sys.modules) - set(before):
        if name.startswith("layerzero.backends."):
            del sys.modules[name]  # bound to the stand-ins


def adapter(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"layerzero.backends.{module}"), name)
    return found


def agree(got: Any, wanted: Any, what: str, tolerance: float = 1e-5) -> None:
    pairs = zip(got, wanted, strict=True) if isinstance(wanted, tuple) else [(got, wanted)]
    for one, other in pairs:
        assert one.shape == other.shape, what
        assert one.dtype == other.dtype, what
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance, msg=lambda text: f"{what}: {text}")


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


DENSE = {
    "flash_attn.v2:attention": {"causal", "window", "softcap", "scale", "alibi", "bhsd", "lse"},
    "flash_attn.v3:attention": {"causal", "window", "softcap", "scale", "bhsd", "lse"},
    "flash_attn.v4:attention": {"causal", "window", "softcap", "scale", "sinks", "bhsd", "lse"},
    "sgl_kernel:attention": {"causal", "window", "softcap", "scale", "sinks", "bhsd", "lse"},
    "flashinfer.attention:prefill": {"causal", "window", "softcap", "scale", "lse"},
    "flashinfer.attention:single_prefill": {"causal", "window", "softcap", "scale", "bhsd", "lse", "one"},
    "flashinfer.attention:decode": {"causal", "window", "softcap", "scale", "lse", "decode"},
    "flashinfer.attention:single_decode": {"causal", "window", "softcap", "scale", "bhsd", "lse", "one", "decode"},
    "xformers:attention": {"causal", "scale", "mask", "bhsd", "mha"},
}
CALLS: list[dict[str, Any]] = [
    {},
    {"is_causal": True},
    {"window": 3},
    {"window": 2, "is_causal": True},
    {"softcap": 4.0, "is_causal": True},
    {"scale": 0.3},
    {"alibi_slopes": draw(4, seed=4).abs()},
    {"sinks": draw(4, seed=5, dtype=torch.bfloat16)},
    {"return_lse": True, "is_causal": True},
    {"return_lse": True, "window": 3, "layout": "bhsd"},
    {"layout": "bhsd", "is_causal": True},
    {"attn_mask": draw(5, 8, seed=6)},
]
FEATURES = {
    "is_causal": "causal",
    "alibi_slopes": "alibi",
    "return_lse": "lse",
    "attn_mask": "mask",
    "layout": "bhsd",
}


@pytest.mark.parametrize("path", DENSE)
@pytest.mark.parametrize("options", CALLS, ids=lambda options: "-".join(options) or "plain")
def test_dense_attention(path: str, options: dict[str, Any]) -> None:
    can = DENSE[path]
    if not {FEATURES.get(name, name) for name in options} <= can:
        pytest.skip("not claimed")
    batch, q_len = 1 if "one" in can else 2, 1 if "decode" in can else 5
    for kv_len in (8, 48):
        if "attn_mask" in options and kv_len != 8:
            continue
        shapes = [(batch, q_len, 4, 16), *[(batch, kv_len, 4 if "mha" in can else 2, 16)] * 2]
        if options.get("layout") == "bhsd":
            shapes = [(b, h, s, d) for b, s, h, d in shapes]
        q, k, v = (draw(*shape, seed=i) for i, shape in enumerate(shapes))
        call = attention.read(q, k, v, **options)
        before = [t.clone() for t in call.args]
        agree(adapter(path)(*call.args, **call.kwargs), reference.attention(*call.args, **call.kwargs), path, 2e-3)
        assert all(map(torch.equal, call.args, before)), "an argument was written to"


PAGED = {
    "flash_attn.v2:paged": ("window", "softcap", "scale"),
    "flash_attn.v2:paged_varlen": ("window", "softcap", "scale"),
    "flash_attn.v3:paged": ("window", "softcap", "scale", "cu_seqlens_q"),
    "torch_varlen:paged": ("window", "scale", "cu_seqlens_q"),
    "flash_attn.v4:paged": ("window", "softcap", "scale", "sinks", "cu_seqlens_q"),
    "sgl_kernel:paged": ("window", "softcap", "scale", "sinks", "cu_seqlens_q"),
    "flashinfer.attention:paged": ("window", "softcap", "scale", "cu_seqlens_q"),
}


def paged_call(path: str, given: bool, packed: bool, seed: int = 0, **options: Any) -> Any:
    """Three sequences whose pages lie in a shuffled order; stale entries behind them."""
    page_size = 256 if ".v2" in path or "torch" in path else 4
    lengths = [page_size + 3, 1, 2 * page_size]
    k, v = draw(9, page_size, 2, 16, seed=1), draw(9, page_size, 2, 16, seed=2)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    table = order[:6].reshape(3, 2).to(torch.int32).contiguous()
    if given:
        table[1, 1] = 10**6
        options["seq_lens"] = torch.tensor(lengths, dtype=torch.int32)
    if packed:
        options["cu_seqlens_q"] = torch.tensor([0, 2, 3, 7], dtype=torch.int32)
    q = draw(7, 4, 16, seed=3) if packed else draw(3, 1, 4, 16, seed=3)
    return paged_attention.read(q, k, v, table, **options)


@pytest.mark.parametrize("path", PAGED)
@pytest.mark.parametrize("given", [True, False], ids=["lengths", "full"])
def test_paged_attention(path: str, given: bool) -> None:
    ways = [True] if "varlen" in path else [False, True] if "cu_seqlens_q" in PAGED[path] else [False]
    more = [{}, {"is_causal": False}, *({n: x} for n, x in (("window", 3), ("softcap", 4.0)) if n in PAGED[path])]
    if "sinks" in PAGED[path]:
        more.append({"sinks": draw(4, seed=5, dtype=torch.bfloat16)})
    for packed in ways:
        for options in more:
            call = paged_call(path, given, packed, **options)
            wanted = reference.attention(*call.args, **call.kwargs)
            agree(adapter(path)(*call.args, **call.kwargs), wanted, f"{path} {options}", 2e-3)


def test_flashinfer_plans_once_for_the_layers_of_a_model() -> None:
    run, before = adapter("flashinfer.attention:paged"), stand_ins.Paged.plans
    for seed in range(3):  # the same lengths, other pages: no new plan, and still the right keys
        call = paged_call("flashinfer", given=True, packed=False, seed=seed)
        agree(run(*call.args, **call.kwargs), reference.attention(*call.args, **call.kwargs), f"seed {seed}", 2e-3)
    assert stand_ins.Paged.plans - before <= 1
    longer = paged_call("flashinfer", given=False, packed=False)
    agree(run(*longer.args, **longer.kwargs), reference.attention(*longer.args, **longer.kwargs), "longer", 2e-3)
    assert stand_ins.Paged.plans - before <= 2


def test_rms_norms() -> None:
    x, weight, residual = draw(2, 3, 32, seed=1), draw(32, seed=2), draw(2, 3, 32, seed=3)
    for backend in ("sgl_kernel", "flashinfer.rows", "quack", "xformers", "liger"):
        for call in (rms_norm.read(x, weight, 1e-5), rms_norm.read(x, weight, 1e-3, residual)):
            before = [t.clone() for t in (x, residual)]
            got = adapter(f"{backend}:rms_norm")(*call.args, **call.kwargs)
            agree(got, reference.rms_norm(*call.args, **call.kwargs), backend)
            assert torch.equal(x, before[0]) and torch.equal(residual, before[1]), f"{backend} writes to its arguments"


def test_rms_norms_without_a_residual() -> None:
    call = rms_norm.read(draw(2, 3, 32, seed=1), draw(32, seed=2), 1e-5)
    for backend in ("apex", "ipex"):
        agree(
            adapter(f"{backend}:rms_norm")(*call.args, **call.kwargs),
            reference.rms_norm(*call.args, **call.kwargs),
            backend,
        )


def test_layer_norms() -> None:
    weight, bias = draw(32, seed=2), draw(32, seed=3)
    for backend, dtype in (
        ("flashinfer.rows", torch.bfloat16),
        ("quack", torch.float16),
        ("liger", torch.float32),
        ("apex", torch.float32),
    ):
        call = layer_norm.read(draw(2, 3, 32, seed=1, dtype=dtype), weight, bias, 1e-3)
        got = adapter(f"{backend}:layer_norm")(*call.args, **call.kwargs)
        agree(got, reference.layer_norm(*call.args, **call.kwargs), backend, 2e-2)


def test_swiglu_of_the_halves_of_one_tensor() -> None:
    for shape in ((2, 3, 64), (1, 64), (1, 1, 64), (64,)):
        gate, up = draw(*shape, seed=1).chunk(2, -1)
        call = swiglu.read(gate, up)
        assert call.context["packed"] is True, shape
        for path in ("sgl_kernel:swiglu", "flashinfer.rows:swiglu", "liger:packed_swiglu"):
            agree(adapter(path)(*call.args), reference.swiglu(gate, up), path)


def test_swiglu_of_two_tensors() -> None:
    gate, up = draw(2, 3, 32, seed=1), draw(2, 3, 32, seed=2)
    for path in ("liger:swiglu", "ipex:swiglu"):
        agree(adapter(path)(gate, up), reference.swiglu(gate, up), path)


def test_tensors_that_are_no_halves_of_one_are_not_packed() -> None:
    whole = draw(4, 64, seed=1)
    gate, up = whole.chunk(2, -1)
    third = draw(4, 96, seed=2)[:, :64].chunk(2, -1)
    pairs = [
        (up, gate),
        (gate, gate),
        (gate.clone(), up.clone()),
        (gate, up.clone()),
        third,
        (whole[:, ::2], whole[:, 1::2]),
        (whole[:0, :32], whole[:0, 32:]),
        (draw(32, 64, seed=3).T[:, :16], draw(32, 64, seed=3).T[:, 16:]),
    ]
    assert [swiglu.read(*pair).context["packed"] for pair in pairs] == [False] * len(pairs)


ROPES = {
    "sgl_kernel:rope": {"interleaved", "per_sequence"},
    "flashinfer.rows:rope": {"interleaved", "per_sequence", "fp32"},
    "liger:rope": {"per_sequence"},
    "quack:rope": {"interleaved"},
}


@pytest.mark.parametrize("path", ROPES)
def test_rope(path: str) -> None:
    for shape, width, interleaved, per in (
        ((2, 5, 3, 16), 8, False, None),
        ((2, 5, 3, 16), 4, False, None),
        ((5, 3, 16), 8, False, None),
        ((2, 5, 3, 16), 8, True, None),
        ((2, 5, 3, 16), 8, False, 2),
        ((2, 5, 3, 16), 8, False, 1),
    ):
        if (interleaved and "interleaved" not in ROPES[path]) or (per and "per_sequence" not in ROPES[path]):
            continue
        angle = draw(*((per, 5, width) if per else (5, width)), seed=2)
        x = draw(*shape, seed=1)
        call = rope.read(x, angle.cos(), angle.sin(), interleaved)
        before = x.clone()
        agree(adapter(path)(*call.args, **call.kwargs), reference.rope(*call.args, **call.kwargs), f"{path} {shape}")
        assert torch.equal(x, before)


def test_samplers_draw_what_may_be_drawn() -> None:
    logits = draw(6, 40, seed=1) * 3
    ranked = logits.softmax(-1).sort(descending=True)
    rank = ranked.indices.argsort(-1)
    for call, path, kept in (
        (sample.read_topk(logits, k=3, temperature=2.0), "sample_topk", torch.full((6,), 3)),
        (sample.read_topp(logits, p=0.6), "sample_topp", (ranked.values.cumsum(-1) < 0.6).sum(-1) + 1),
    ):
        tokens = adapter(f"flashinfer.sampling:{path}")(*call.args, **call.kwargs)
        assert tokens.dtype == torch.int64 and tokens.shape == (6,)
        assert (rank.gather(1, tokens[:, None])[:, 0] < kept).all()
    one = sample.read_topk(logits[0], k=1)
    assert adapter("flashinfer.sampling:sample_topk")(*one.args, **one.kwargs) == logits[0].argmax()


def test_linear_layers_of_four_bits() -> None:
    words = [torch.randint(-(2**31), 2**31, s, dtype=torch.int64).to(torch.int32) for s in ((8, 16), (2, 2), (64, 2))]
    scales, bias = draw(2, 16, seed=1).abs() * 0.01, draw(16, seed=2)
    gptq, awq = GPTQWeight(words[0], words[1], scales), AWQWeight(words[2], words[1], scales)
    for weight, path in ((gptq, "sgl_kernel:gptq_linear"), (awq, "sgl_kernel:awq_linear")):
        for options in ({}, {"bias": bias}):
            call = linear.read(draw(2, 3, 64, seed=3), weight, **options)
            agree(adapter(path)(*call.args, **call.kwargs), reference.linear(*call.args, **call.kwargs), path, 1e-4)


def test_the_log_sum_exp_is_natural() -> None:
    q = k = torch.zeros(1, 4, 2, 16)
    _, lse = adapter("flashinfer.attention:single_prefill")(q, k, k, return_lse=True)
    assert torch.allclose(lse, torch.full((1, 2, 4), math.log(4)))


@pytest.mark.parametrize("package", stand_ins.SIGNATURES)
def test_recorded_signatures_are_those_of_the_installed_package(package: str) -> None:
    name, _, version = package.partition(" ")
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed; read from the source of {version}")
    for function, recorded in stand_ins.SIGNATURES[package].items():
        wanted = list(stand_ins.signature(function).parameters)
        found: Any = importlib.import_module(function.split(".")[0])
        for part in function.split(".")[1:]:
            found = (
                getattr(found, part) if hasattr(found, part) else importlib.import_module(f"{found.__name__}.{part}")
            )
        names = [one for one in inspect.signature(found).parameters if one not in ("self", "ctx")]
        assert names == wanted, f"{function} of {installed} is not {recorded}"

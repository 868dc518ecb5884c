"""Packages of GPU kernels that cannot be installed here, as modules that compute the same on the CPU, in fp64.

Each function has the parameters that `signatures.json` records, which were read from the source of the real wheels; a
call with others is a TypeError, as it would be there. What they compute is written from the libraries' own
documentation, not from the adapters.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from pytest import MonkeyPatch
from torch import Tensor

SIGNATURES: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("signatures.json").read_text())
BY_NAME = {name: text for functions in SIGNATURES.values() for name, text in functions.items()}


def signature(name: str) -> inspect.Signature:
    """`signature("flashinfer.rmsnorm")`, as the wheel has it."""
    return inspect.signature(eval(f"lambda {BY_NAME[name][1:-1]}: None"))


def recorded(name: str, compute: Callable[..., Any]) -> Callable[..., Any]:
    """`compute`, called with the arguments by the names of the recorded signature, defaults filled in."""
    expected = signature(name)

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        bound = expected.bind(*args, **kwargs)
        bound.apply_defaults()
        return compute(SimpleNamespace(**bound.arguments))

    return stand_in


# --- what they compute


def attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None, causal: bool, left: int, right: int, cap: float, **more: Any
) -> tuple[Tensor, Tensor]:
    """One sequence: q [S,H,D], k [T,Hkv,D], v [T,Hkv,Dv] -> [S,H,Dv], and the natural log-sum-exp [H,S]."""
    group = q.shape[1] // k.shape[1]
    wide = [t.double().transpose(0, 1) for t in (q, k, v)]
    keys, values = (t.repeat_interleave(group, 0) for t in wide[1:])
    scores = wide[0] @ keys.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if cap:
        scores = cap * torch.tanh(scores / cap)
    ahead = torch.arange(q.shape[0])[:, None] + k.shape[0] - q.shape[0] - torch.arange(k.shape[0])
    if more.get("slopes") is not None:
        scores = scores - more["slopes"].double()[:, None, None] * ahead.abs()
    hidden = torch.zeros_like(ahead, dtype=torch.bool)
    if causal:
        hidden |= ahead < 0
    if left >= 0:
        hidden |= ahead > left
    if right >= 0:
        hidden |= ahead < -right
    scores = scores.masked_fill(hidden, -math.inf)
    lse = scores.logsumexp(-1)
    if more.get("sinks") is not None:
        lse = torch.logaddexp(lse, more["sinks"].double()[:, None])
    weights = (scores - lse[..., None]).exp().nan_to_num(0.0)
    return (weights @ values).transpose(0, 1).to(q.dtype), lse.float()


def batched(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor | None, *options: Any, **more: Any) -> tuple[Tensor, ...]:
    """Dense [B,S,H,D]: each sequence by itself, keys past its length left out."""
    outs, lses = [], []
    for b in range(q.shape[0]):
        n = k.shape[1] if lengths is None else int(lengths[b])
        slopes = more.get("slopes")
        mine = more | {"slopes": slopes if slopes is None or slopes.ndim == 1 else slopes[b]}
        out, lse = attend(q[b], k[b, :n], v[b, :n], *options, **mine)
        outs.append(out)
        lses.append(lse)
    return torch.stack(outs), torch.stack(lses)


def over_pages(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: Tensor,
    lengths: Tensor | None,
    starts: Tensor | None,
    *options: Any,
    **more: Any,
) -> Tensor:
    """The keys of each sequence picked page by page; q packed where `starts` is given."""
    outs = []
    for b in range(table.shape[0]):
        n = table.shape[1] * k.shape[1] if lengths is None else int(lengths[b])
        used = table[b, : -(-n // k.shape[1])].long()
        mine = q[b] if starts is None else q[int(starts[b]) : int(starts[b + 1])]
        outs.append(attend(mine, k[used].flatten(0, 1)[:n], v[used].flatten(0, 1)[:n], *options, **more)[0])
    return torch.stack(outs) if starts is None else torch.cat(outs)


def norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    wide = x.double()
    out = wide / (wide.square().mean(-1, keepdim=True) + eps).sqrt()
    return (out if weight is None else out * weight.double()).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, neighbours: bool) -> Tensor:
    """x [.., D], cos and sin [.., R/2]: the first R columns."""
    half = cos.shape[-1]
    out = x.double().clone()
    a, b = (
        (out[..., 0 : 2 * half : 2], out[..., 1 : 2 * half : 2]) if neighbours else (out[..., :half], out[..., half:])
    )
    b = b[..., :half]
    a_new, b_new = a * cos.double() - b * sin.double(), b * cos.double() + a * sin.double()
    a.copy_(a_new)
    b.copy_(b_new)
    return out.to(x.dtype)


def silu_halves(x: Tensor) -> Tensor:
    gate, up = x.double().chunk(2, -1)
    return (gate * gate.sigmoid() * up).to(x.dtype)


# --- FlashAttention


def _windows(c: Any) -> tuple[Any, ...]:
    left, right = (-1 if side is None else side for side in c.window_size)
    return c.softmax_scale, c.causal, left, right, c.softcap


def fa2_dense(c: Any) -> Any:
    out, lse = batched(c.q, c.k, c.v, None, *_windows(c), slopes=c.alibi_slopes)
    return (out, lse, torch.empty(0)) if c.return_attn_probs else out


def fa2_cache(c: Any) -> Tensor:
    assert c.k_cache.shape[1] % 256 == 0, "Paged KV cache block size must be divisible by 256"
    return over_pages(c.q, c.k_cache, c.v_cache, c.block_table, c.cache_seqlens, None, *_windows(c))


def fa2_varlen(c: Any) -> Tensor:
    assert c.k.shape[1] % 256 == 0 and c.cu_seqlens_k.dtype == torch.int32
    assert int(c.cu_seqlens_q.diff().max()) <= c.max_seqlen_q and int(c.cu_seqlens_k.diff().max()) <= c.max_seqlen_k
    return over_pages(c.q, c.k, c.v, c.block_table, c.cu_seqlens_k.diff(), c.cu_seqlens_q, *_windows(c))


def torch_varlen(*args: Any) -> tuple[Tensor, None, None]:
    """The operator under `torch.nn.attention.varlen.varlen_attn`, with what mha_varlen_fwd checks of pages."""
    names = "q k v starts_q starts_k longest_q longest_k causal scale window gqa lengths table splits".split()
    c = SimpleNamespace(**dict(zip(names, args, strict=True)))
    assert c.k.shape[1] % 256 == 0 and c.starts_q.dtype == c.starts_k.dtype == c.lengths.dtype == torch.int32
    assert int(c.starts_q.diff().max()) <= c.longest_q and torch.equal(c.starts_k.diff(), c.lengths)
    pages = c.k, c.v, c.table, c.lengths, c.starts_q
    return over_pages(c.q, *pages, c.scale, c.causal, *c.window, 0.0), None, None


def fa3_dense(c: Any) -> Any:
    out, lse = batched(c.q, c.k, c.v, None, *_windows(c))
    return (out, lse) if c.return_attn_probs else out


def fa3_cache(c: Any) -> Any:
    sinks = getattr(c, "sinks", None)
    assert sinks is None or (sinks.dtype == torch.bfloat16 and sinks.is_contiguous()), "sinks must have dtype bfloat16"
    if c.page_table is None:
        out, lse = batched(c.q, c.k_cache, c.v_cache, c.cache_seqlens, *_windows(c), sinks=sinks)
        return (out, lse, None, None) if c.return_softmax_lse else out
    assert c.cu_seqlens_q is None or c.max_seqlen_q is not None, "max_seqlen_q must be provided"
    pages = c.k_cache, c.v_cache, c.page_table, c.cache_seqlens, c.cu_seqlens_q
    return over_pages(c.q, *pages, *_windows(c), sinks=sinks)


def fa4_dense(c: Any) -> Any:
    out, lse = batched(c.q, c.k, c.v, None, *_windows(c), sinks=c.learnable_sink)
    return out, lse if c.return_lse else None


def fa4_varlen(c: Any) -> Any:
    assert c.seqused_k is not None and c.seqused_k.dtype == torch.int32
    pages = c.k, c.v, c.page_table, c.seqused_k, c.cu_seqlens_q
    return over_pages(c.q, *pages, *_windows(c), sinks=c.learnable_sink), None


# --- FlashInfer


def _flashinfer(c: Any) -> tuple[Any, ...]:
    return c.sm_scale, c.causal, c.window_left, -1, c.logits_soft_cap or 0.0


def fi_single_prefill(c: Any) -> Any:
    out, lse = attend(c.q, c.k, c.v, *_flashinfer(c))
    return (out, lse.T / math.log(2)) if c.return_lse else out


def fi_single_decode(c: Any) -> Any:
    c.causal = False
    out, lse = attend(c.q[None], c.k, c.v, *_flashinfer(c))
    return (out[0], lse[:, 0] / math.log(2)) if c.return_lse else out[0]


class Wrapper:
    """plan(...) reads lengths on the host, run(...) the tensors; the indices are those of the tensor that was given."""

    name = ""
    plans = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        bound = signature(f"flashinfer.{self.name}.__init__").bind(*args, **kwargs)
        assert bound.arguments["float_workspace_buffer"].dtype == torch.uint8

    def plan(self, *args: Any, **kwargs: Any) -> None:
        type(self).plans += 1
        self.p = recorded(f"flashinfer.{self.name}.plan", lambda c: c)(*args, **kwargs)
        assert self.p.qo_indptr.dtype == torch.int32 and self.p.qo_indptr.device.type == "cpu"

    def run(self, *args: Any, **kwargs: Any) -> Any:
        c = recorded(f"flashinfer.{self.name}.run", lambda c: c)(*args, **kwargs)
        assert c.q.shape[0] == self.p.qo_indptr[-1] and c.q.shape[1] == self.p.num_qo_heads
        assert c.q.dtype == self.p.q_data_type
        outs, lses = [], []
        for b in range(len(self.p.qo_indptr) - 1):
            start, end = self.p.qo_indptr[b : b + 2].tolist()
            out, lse = attend(c.q[start:end], *self.keys(c, b), *_flashinfer(self.p))
            outs.append(out)
            lses.append(lse.T / math.log(2))
        return (torch.cat(outs), torch.cat(lses)) if c.return_lse else torch.cat(outs)

    def keys(self, c: Any, b: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class Ragged(Wrapper):
    name = "BatchPrefillWithRaggedKVCacheWrapper"

    def keys(self, c: Any, b: int) -> tuple[Tensor, Tensor]:
        assert c.k.shape[0] == self.p.kv_indptr[-1]
        start, end = self.p.kv_indptr[b : b + 2].tolist()
        return c.k[start:end], c.v[start:end]


class Paged(Wrapper):
    name = "BatchPrefillWithPagedKVCacheWrapper"

    def keys(self, c: Any, b: int) -> tuple[Tensor, Tensor]:
        k_cache, v_cache = c.paged_kv_cache
        assert k_cache.shape[1] == self.p.page_size and k_cache.is_contiguous()
        start, end = self.p.paged_kv_indptr[b : b + 2].tolist()
        pages = self.p.paged_kv_indices[start:end].long()
        n = max(0, (end - start - 1) * self.p.page_size) + int(self.p.paged_kv_last_page_len[b])
        assert start == end or 1 <= self.p.paged_kv_last_page_len[b] <= self.p.page_size
        return k_cache[pages].flatten(0, 1)[:n], v_cache[pages].flatten(0, 1)[:n]


def fi_rope(c: Any) -> tuple[Tensor, Tensor]:
    assert c.cos_sin_cache.dtype == torch.float32, "cos_sin_cache should be float32"
    cos, sin = c.cos_sin_cache[c.positions][:, None].chunk(2, -1)
    heads = (t.view(t.shape[0], -1, c.head_size) for t in (c.query, c.key))
    q, k = (rotate(t, cos, sin, not c.is_neox).flatten(1) for t in heads)
    return q, k


def fi_layer_norm(c: Any) -> Tensor:
    assert c.input.dtype == torch.bfloat16 and c.gemma.dtype == c.beta.dtype == torch.float32
    wide = torch.nn.functional.layer_norm(c.input.double(), c.gemma.shape, c.gemma.double(), c.beta.double(), c.eps)
    return wide.to(c.input.dtype)


def fi_draw(kept: Callable[[Tensor, Any], Tensor]) -> Callable[[Any], Tensor]:
    def draw(c: Any) -> Tensor:
        assert c.probs.ndim == 2 and torch.allclose(c.probs.sum(-1), torch.ones(len(c.probs)))
        return torch.multinomial(kept(c.probs, c), 1, generator=c.generator)[:, 0].int()

    return draw


def likeliest(probs: Tensor, c: Any) -> Tensor:
    floor = probs.sort(descending=True).values[:, min(c.top_k, probs.shape[1]) - 1]
    return probs * (probs >= floor[:, None])


def nucleus(probs: Tensor, c: Any) -> Tensor:
    ranked = probs.sort(descending=True)
    before = ranked.values.cumsum(-1) - ranked.values
    return torch.zeros_like(probs).scatter(1, ranked.indices, ranked.values * (before < c.top_p))


# --- SGLang, quack, xFormers


def sgl_rmsnorm(out: Tensor, x: Tensor, weight: Tensor, eps: float, enable_pdl: bool) -> None:
    assert out.ndim == x.ndim == 2
    out.copy_(norm(x, weight, eps))


def sgl_rope(positions: Tensor, query: Tensor, key: Any, head_size: int, cache: Tensor, is_neox: bool) -> None:
    assert cache.dtype == query.dtype and key is None and positions.dtype == torch.int64
    cos, sin = cache[positions][:, None].chunk(2, -1)
    heads = query.view(query.shape[0], -1, head_size)
    heads.copy_(rotate(heads, cos, sin, not is_neox))


def _spread(words: Tensor, places: list[int]) -> Tensor:
    """Eight numbers of four bits in a word; the one at bits 4 i is element `places[i]`."""
    out = torch.zeros(*words.shape[:-1], words.shape[-1] * 8, dtype=torch.int64)
    for i, place in enumerate(places):
        out[..., place::8] = (words.to(torch.int64) >> (4 * i)) & 15
    return out


def sgl_gptq(c: Any) -> Tensor:
    assert c.bit == 4 and not c.use_shuffle
    q = _spread(c.b_q_weight.T, list(range(8))).T  # [in, out]
    size = q.shape[0] // c.b_gptq_scales.shape[0]
    assert c.b_g_idx.tolist() == [column // size for column in range(q.shape[0])], "read for every input feature"
    zeros, scales = (
        t.repeat_interleave(size, 0) for t in (_spread(c.b_gptq_qzeros, list(range(8))) + 1, c.b_gptq_scales)
    )
    return (c.a.double() @ ((q - zeros) * scales.double())).to(c.a.dtype)


def sgl_awq(c: Any) -> Tensor:
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    q = _spread(c.qweight, order)
    size = q.shape[0] // c.scales.shape[0]
    zeros, scales = (t.repeat_interleave(size, 0) for t in (_spread(c.qzeros, order), c.scales))
    return ((q - zeros) * scales.double()).to(c.scales.dtype)


def quack_norm(c: Any) -> Any:
    added = c.x if c.residual is None else c.x + c.residual
    out = norm(added, c.weight, c.eps)
    return (out, added) if c.prenorm else out


def quack_layer_norm(c: Any) -> Tensor:
    assert c.x.ndim == 2 and c.weight.dtype == torch.float32
    bias = None if c.bias is None else c.bias.double()
    return torch.nn.functional.layer_norm(c.x.double(), c.weight.shape, c.weight.double(), bias, c.eps).to(c.x.dtype)


def quack_rope(c: Any) -> Tensor:
    assert c.x.ndim == 4 and c.cos.shape[0] >= c.x.shape[1]
    return rotate(c.x, c.cos[:, None], c.sin[:, None], c.interleaved)


class BottomRight:
    """xformers.ops.fmha.attn_bias.LowerTriangularFromBottomRightMask"""


def xformers_attention(c: Any) -> Tensor:
    assert c.op == "cutlass"
    if isinstance(c.attn_bias, Tensor):
        q, k, v = (t.double().transpose(1, 2) for t in (c.query, c.key, c.value))
        assert c.attn_bias.shape == (*q.shape[:3], k.shape[2])
        scores = q @ k.mT * (c.scale or q.shape[-1] ** -0.5) + c.attn_bias.double()
        return (scores.softmax(-1) @ v).transpose(1, 2).to(c.query.dtype)
    causal = isinstance(c.attn_bias, BottomRight)
    return batched(c.query, c.key, c.value, None, c.scale, causal, -1, -1, 0.0)[0]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "flash_attn.flash_attn_func": fa2_dense,
    "flash_attn.flash_attn_varlen_func": fa2_varlen,
    "flash_attn.flash_attn_with_kvcache": fa2_cache,
    "flash_attn_interface.flash_attn_func": fa3_dense,
    "flash_attn_interface.flash_attn_with_kvcache": fa3_cache,
    "flash_attn.cute.flash_attn_func": fa4_dense,
    "flash_attn.cute.flash_attn_varlen_func": fa4_varlen,
    "sgl_kernel.silu_and_mul": lambda c: silu_halves(c.input),
    "sgl_kernel.awq_dequantize": sgl_awq,
    "sgl_kernel.gptq_gemm": sgl_gptq,
    "sgl_kernel.flash_attn.flash_attn_with_kvcache": fa3_cache,
    "sgl_kernel.utils.is_arch_support_pdl": lambda c: False,
    "flashinfer.single_prefill_with_kv_cache": fi_single_prefill,
    "flashinfer.single_decode_with_kv_cache": fi_single_decode,
    "flashinfer.rmsnorm": lambda c: norm(c.input, c.weight, c.eps),
    "flashinfer.layernorm": fi_layer_norm,
    "flashinfer.silu_and_mul": lambda c: silu_halves(c.input),
    "flashinfer.apply_rope_with_cos_sin_cache": fi_rope,
    "flashinfer.sampling.top_k_sampling_from_probs": fi_draw(likeliest),
    "flashinfer.sampling.top_p_sampling_from_probs": fi_draw(nucleus),
    "quack.rmsnorm.rmsnorm": quack_norm,
    "quack.rmsnorm.layernorm_fwd": quack_layer_norm,
    "quack.rotary.apply_rotary_emb": quack_rope,
    "xformers.ops.memory_efficient_attention": xformers_attention,
    "xformers.ops.rmsnorm.rms_norm": lambda c: norm(c.x, c.weight, c.eps),
    "apex.normalization.fused_layer_norm.FusedLayerNormAffineFunction.forward": lambda c: (
        torch.nn.functional.layer_norm(c.input, c.normalized_shape, c.weight, c.bias, c.eps)
    ),
    "apex.normalization.fused_layer_norm.FusedRMSNormAffineFunction.forward": lambda c: norm(c.input, c.weight, c.eps),
    "intel_extension_for_pytorch.llm.functional.rms_norm": lambda c: norm(c.hidden_states, c.weight, c.eps),
    "intel_extension_for_pytorch.llm.functional.silu_mul": lambda c: silu_halves(torch.cat([c.x, c.y], -1)),
    "liger_kernel.ops.LigerRMSNormFunction.forward": lambda c: norm(c.X, c.W, c.eps),
    "liger_kernel.ops.LigerFusedAddRMSNormFunction.forward": lambda c: (norm(c.X + c.R, c.W, c.eps), c.X + c.R),
    "liger_kernel.ops.LigerLayerNormFunction.forward": lambda c: torch.nn.functional.layer_norm(
        c.X, c.W.shape, c.W, c.B, c.eps
    ),
    "liger_kernel.ops.LigerGroupNormFunction.forward": lambda c: torch.nn.functional.group_norm(
        c.X, c.num_groups, c.affine_scaling_weight, c.affine_shifting_bias, c.eps
    ),
    "liger_kernel.ops.LigerSiLUMulFunction.forward": lambda c: silu_halves(torch.cat([c.a, c.b], -1)),
    "liger_kernel.ops.LigerFusedGateUpSiLUMulFunction.forward": lambda c: silu_halves(c.y),
}


def liger_rope(c: Any) -> tuple[Tensor, Tensor]:
    """In place, on [B,H,S,D] that is [B,S,H,D] in memory; of the tables the first rotary_dim / 2 columns."""
    for t in (c.q, c.k):
        assert t.transpose(1, 2).is_contiguous()
        cos, sin = (u[..., : c.rotary_dim // 2].unsqueeze(-3) for u in (c.cos, c.sin))
        t.copy_(rotate(t, cos, sin, neighbours=False))
    return c.q, c.k


FUNCTIONS["liger_kernel.ops.LigerRopeFunction.forward"] = liger_rope


def install(patch: MonkeyPatch) -> None:
    """Make all of them importable, and a stream where there is no CUDA."""
    modules: dict[str, ModuleType] = {}

    def module(name: str) -> ModuleType:
        if name not in modules:
            modules[name] = ModuleType(name)
            modules[name].__path__ = []  # type: ignore[attr-defined]
            patch.setitem(sys.modules, name, modules[name])
            if "." in name:
                parent, _, last = name.rpartition(".")
                setattr(module(parent), last, modules[name])
        return modules[name]

    for name, compute in FUNCTIONS.items():
        if name.endswith(".forward"):  # an autograd function: its `apply` takes what `forward` does
            owner, _, last = name.removesuffix(".forward").rpartition(".")
            setattr(module(owner), last, SimpleNamespace(apply=recorded(name, compute)))
        else:
            owner, _, last = name.rpartition(".")
            module(owner)
    for name, compute in FUNCTIONS.items():
        if not name.endswith(".forward"):
            owner, _, last = name.rpartition(".")
            setattr(module(owner), last, recorded(name, compute))
    module("flashinfer").BatchPrefillWithRaggedKVCacheWrapper = Ragged  # type: ignore[attr-defined]
    module("flashinfer").BatchPrefillWithPagedKVCacheWrapper = Paged  # type: ignore[attr-defined]
    module("xformers.ops.fmha").MemoryEfficientAttentionCutlassOp = "cutlass"  # type: ignore[attr-defined]
    module("xformers.ops.fmha.attn_bias").LowerTriangularFromBottomRightMask = BottomRight  # type: ignore[attr-defined]
    module("fused_layer_norm_cuda")
    stream = SimpleNamespace(cuda_stream=0, synchronize=lambda: None)
    patch.setattr(torch.cuda, "current_stream", lambda device=None: stream)
    for kept in [name for name in sys.modules if name.startswith("layerzero.backends.")]:
        if kept.split(".")[2] in {one.split(".")[0] for one in modules} | {"liger", "flash_attn", "ipex"}:
            patch.delitem(sys.modules, kept)

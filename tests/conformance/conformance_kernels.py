"""Which kernels there are, and what each serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from layerzero.backends.probe import load_adapter
from layerzero.operations.call import Call

Facts = Callable[[dict[str, Any]], bool]


def _attention_features(c: dict[str, Any]) -> set[str]:
    demanded = {
        "causal": c["causal"],
        "window": c.get("window", 0) > 0,
        "softcap": c.get("softcap", 0.0) > 0,
        "mask_bool": c.get("mask_kind") == "bool",
        "mask_additive": c.get("mask_kind") == "additive",
        "mixed_mask": c.get("mask_dtype", c["dtype"]) != c["dtype"],
        "alibi": c.get("has_alibi", False),
        "sinks": c.get("has_sinks", False),
        "dropout": c.get("dropout", 0.0) > 0,
        "gqa": c["q_heads"] != c["kv_heads"],
        "uneven_v": c["v_head_dim"] != c["head_dim"],
        "mixed_kv": c["kv_dtype"] != c["dtype"],
        "paged": c["paged"],
        "varlen": c.get("varlen", False),
        "lse": c.get("return_lse", False),
        "inner_strided": not c["inner_contiguous"],
        "empty": 0 in (c["batch"], c["q_len"], c["kv_len"]),
    }
    return {name for name, wanted in demanded.items() if wanted}


def _supports(c: dict[str, Any], *features: str) -> bool:
    return _attention_features(c) <= set(features)


def _floats(c: dict[str, Any]) -> bool:
    return c["dtype"] in {"fp64", "fp32", "fp16", "bf16"}


def _square(c: dict[str, Any]) -> bool:
    return not c["causal"] or c["q_len"] == c["kv_len"] or c["q_len"] == 1


def _live(c: dict[str, Any]) -> bool:
    return c.get("mask_kind", "none") == "none" and (
        c["q_len"] <= c["kv_len"] or not (c["causal"] or c.get("window", 0) > 0)
    )


def _flash_cpu(c: dict[str, Any]) -> bool:
    return (
        c["device"] == "cpu"
        and c.get("scale", 1.0) > 0
        and _floats(c)
        and _supports(c, "causal", "window", "mask_bool", "mask_additive", "mixed_mask", "gqa", "lse")
        and ("lse" not in _attention_features(c) or _live(c))
    )


def _math(c: dict[str, Any]) -> bool:
    return _floats(c) and _supports(
        c, "causal", "window", "mask_bool", "mask_additive", "mixed_mask", "gqa", "uneven_v", "inner_strided", "empty"
    )


def _flex(c: dict[str, Any]) -> bool:
    narrow = min(c["head_dim"], c["v_head_dim"]) >= 16 and max(c["head_dim"], c["v_head_dim"]) <= 128
    return (
        narrow
        and c["dtype"] in {"fp32", "fp16", "bf16"}
        and _supports(c, "causal", "window", "softcap", "alibi", "gqa", "uneven_v", "lse", "inner_strided")
    )


def _fused(c: dict[str, Any]) -> bool:
    return c["device"] == "cuda" and c.get("scale", 1.0) > 0 and c["head_dim"] % 8 == 0 and c["v_head_dim"] % 8 == 0


def _always(c: dict[str, Any]) -> bool:
    return True


def _same_weight(c: dict[str, Any]) -> bool:
    return not (c["has_weight"] or c.get("has_bias")) or c["weight_dtype"] == c["dtype"]


TABLE: dict[str, tuple[str, str, Facts]] = {
    "reference.attention": ("attention", "layerzero.backends.reference:attention", _always),
    "torch.sdpa_flash_cpu": ("attention", "layerzero.backends.torch:sdpa_flash_cpu", _flash_cpu),
    "torch.sdpa_math_cpu": (
        "attention",
        "layerzero.backends.torch:sdpa_math_cpu",
        lambda c: c["device"] == "cpu" and _math(c),
    ),
    "torch.sdpa_math": (
        "attention",
        "layerzero.backends.torch:sdpa_math",
        lambda c: c["device"] == "cuda" and _math(c),
    ),
    "torch.sdpa_flash": (
        "attention",
        "layerzero.backends.torch:sdpa_flash",
        lambda c: (
            _fused(c)
            and c["dtype"] in {"fp16", "bf16"}
            and c["head_dim"] <= 256
            and _supports(c, "causal", "gqa", "dropout", "lse")
            and ("lse" not in _attention_features(c) or _live(c))
        ),
    ),
    "torch.sdpa_cudnn": (
        "attention",
        "layerzero.backends.torch:sdpa_cudnn",
        lambda c: (
            _fused(c)
            and c["dtype"] in {"fp16", "bf16"}
            and max(c["head_dim"], c["v_head_dim"]) <= 128
            and _square(c)
            and _supports(c, "causal", "gqa", "uneven_v")
        ),
    ),
    "torch.sdpa_efficient": (
        "attention",
        "layerzero.backends.torch:sdpa_efficient",
        lambda c: (
            _fused(c)
            and c["dtype"] in {"fp32", "fp16", "bf16"}
            and _supports(c, "causal", "window", "mask_bool", "mask_additive", "uneven_v", "dropout", "empty")
        ),
    ),
    "torch.paged_gather": (
        "attention",
        "layerzero.backends.torch:paged_gather",
        lambda c: c["paged"] and _floats(c) and _supports(c, "paged", "causal", "window", "gqa", "uneven_v", "empty"),
    ),
    "torch.flex": ("attention", "layerzero.backends.torch:flex", lambda c: c["device"] == "cuda" and _flex(c)),
    "reference.rms_norm": ("rms_norm", "layerzero.backends.reference:rms_norm", _always),
    "reference.layer_norm": ("layer_norm", "layerzero.backends.reference:layer_norm", _always),
    "reference.group_norm": ("group_norm", "layerzero.backends.reference:group_norm", _always),
    "torch.rms_norm": ("rms_norm", "layerzero.backends.torch:rms_norm", _same_weight),
    "torch.layer_norm": ("layer_norm", "layerzero.backends.torch:layer_norm", _same_weight),
    "torch.group_norm": ("group_norm", "layerzero.backends.torch:group_norm", _same_weight),
    "reference.rope": ("rope", "layerzero.backends.reference:rope", _always),
    "reference.alibi": ("alibi", "layerzero.backends.reference:alibi", _always),
    "reference.swiglu": ("swiglu", "layerzero.backends.reference:swiglu", _always),
    "reference.gelu": ("gelu", "layerzero.backends.reference:gelu", _always),
    "reference.silu": ("silu", "layerzero.backends.reference:silu", _always),
    "torch.swiglu": ("swiglu", "layerzero.backends.torch:swiglu", _always),
    "torch.gelu": ("gelu", "layerzero.backends.torch:gelu", _always),
    "torch.silu": ("silu", "layerzero.backends.torch:silu", _always),
    "reference.sample": ("sample", "layerzero.backends.reference:sample", _always),
}


def kernels(operation: str) -> list[str]:
    """The ids of the operation's kernels."""
    return [kernel for kernel, (of, _, _) in TABLE.items() if of == operation]


def serves(kernel: str, call: Call) -> bool:
    """Whether the kernel's facts accept the call on this machine."""
    return TABLE[kernel][2](call.context)


def serves_on(kernel: str, call: Call, device: str) -> bool:
    """Whether the facts accept the call, read from tensors on the CPU, on a device that need not be here."""
    elsewhere = {"device": "cuda", "device_name": "NVIDIA H200", "sm": 90} if device == "cuda" else {}
    return serves(kernel, replace(call, context=call.context | elsewhere))


def run(kernel: str, call: Call) -> Any:
    """What the kernel's adapter answers."""
    adapter = load_adapter(TABLE[kernel][1])
    assert not isinstance(adapter, str), adapter
    return adapter(*call.args, **call.kwargs)

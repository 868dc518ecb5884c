"""Does policies/examples/vllm.lzp choose as vLLM does? `python benchmarks/selectors/run.py vllm`

Runs the selection of the released wheel, `CudaPlatformBase.get_valid_backends` and the classes of the backends, with
only the device stood in for: its compute capability is that of the row. FlashAttention, FlashMLA and FlashInfer count
as installed, there is no model configuration, and what is not in the selector's fields is at its default.
"""

from __future__ import annotations

import logging
import random
import sys
import types
from collections.abc import Callable

from benchmarks.selectors.compare import Context
from benchmarks.selectors.wheels import StandIns, install, namespace, unpack

VERSION = "0.33.0"
_USED = ("msgspec", "cachetools", "cloudpickle", "psutil", "py-cpuinfo", "pyzmq", "xxhash", "cbor2", "openai")
_OF_OPENAI = ("openai-harmony", "fastapi", "starlette", "jiter", "distro", "anyio", "annotated-doc", "sniffio", "httpx")
_OF_HTTPX = ("httpcore", "h11")

SM = (75, 80, 86, 87, 89, 90, 91, 100, 101, 103, 109, 110, 115, 120, 121)
HEAD_SIZES = (8, 16, 24, 32, 40, 64, 72, 80, 96, 100, 112, 120, 128, 136, 160, 192, 200, 224, 248, 256, 257, 264, 288)
LARGE_HEAD_SIZES = (320, 384, 400, 504, 512, 520, 576, 1024)
CACHES = ("auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2")
RARE_CACHES = (
    *("fp8_inc", "fp8_ds_mla", "nvfp4_ds_mla", "turboquant_k8v4", "turboquant_4bit_nc", "turboquant_k3v4_nc"),
    *("turboquant_3bit_nc", "octave_k3v4", "octave_k3v3", "octave_k3v3_compact", "ultraquant_4bit"),
    *("int4_per_token_head", "int8_per_token_head", "fp8_per_token_head", "nvfp4", "nvfp4_4over6"),
)
BLOCKS = (1, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024)
FLAGS = (
    *("has_sink", "use_mm_prefix", "use_per_head_quant_scales", "has_sliding_window", "use_non_causal", "use_rswa"),
    *("use_batch_invariant", "use_kv_connector", "use_pcp", "use_adaptive_verification", "use_dcp"),
)


def draw(rng: random.Random) -> Context:
    """A context near the borders of the facts; most have few wishes, as calls do."""
    context: Context = {"sm": rng.choice(SM), "dtype": rng.choices(("bfloat16", "float16", "float32"), (6, 3, 1))[0]}
    context["head_size"] = rng.choice(HEAD_SIZES if rng.random() < 0.7 else (64, 128, 256, *LARGE_HEAD_SIZES))
    if rng.random() < 0.4:
        context["kv_cache_dtype"] = rng.choice(CACHES if rng.random() < 0.6 else RARE_CACHES)
    if rng.random() < 0.3:
        context["block_size"] = rng.choice(BLOCKS)
    if rng.random() < 0.4:
        context["num_heads"] = rng.choice((1, 8, 15, 16, 17, 32, 128))
    kind = rng.random()
    if kind < 0.4:
        context |= {"use_mla": True, "head_size": rng.choice((576, 576, 512, 512, 320, 192))}
        if kind < 0.25:
            context |= {"use_sparse": True, "sm": rng.choice((90, 100, 103, 120, context["sm"]))}
    elif kind < 0.42:
        context["use_sparse"] = True
    if 0.42 < kind < 0.48:  # an image that is read both ways
        context |= {"use_mm_prefix": True, "head_size": rng.choice((256, 512)), "sm": rng.choice((90, 100))}
    if rng.random() < 0.1:
        context["attn_type"] = rng.choice(("decoder", "encoder", "encoder_only", "encoder_decoder"))
    for flag in rng.sample(FLAGS, rng.choices((0, 1, 2, 3), (10, 7, 3, 1))[0]):
        context[flag] = True
    return context


def ask() -> Callable[[Context], str | None]:
    """The wheel's answer, `vllm.` and the backend's name in lower case; None where no backend is valid."""
    import torch
    import transformers  # noqa: F401 - what is here is imported before the stand-ins

    logging.disable(logging.CRITICAL)
    folder = unpack(f"vllm=={VERSION}", "vllm/")
    install((*_USED, *_OF_OPENAI, *_OF_HTTPX))
    sys.path.insert(0, str(folder))
    namespace("vllm", folder)
    sys.modules["vllm"].__version__ = VERSION
    binaries = ("vllm._C", "vllm._moe", "vllm.vllm_flash_attn._vllm_fa", "vllm.vllm_flash_attn.cute")
    binaries += ("vllm._flashmla", "vllm.third_party.flashmla")
    sys.meta_path.append(StandIns(folder, "vllm", binaries, absent=("triton", "tokenspeed_mla")))

    empty = torch.empty

    def without_device(*args: object, **kwargs: object) -> torch.Tensor:
        if str(kwargs.get("device", "")).startswith("cuda"):
            kwargs["device"] = "meta"
        return empty(*args, **kwargs)  # type: ignore[call-overload, no-any-return]

    torch.empty = without_device  # type: ignore[assignment]

    import vllm.platforms as platforms
    from vllm.platforms.cuda import CudaPlatformBase
    from vllm.platforms.interface import DeviceCapability

    class Device(CudaPlatformBase):  # type: ignore[misc]
        capability = DeviceCapability(9, 0)

        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> DeviceCapability:
            return cls.capability

        @classmethod
        def has_device_capability(cls, capability: int, device_id: int = 0) -> bool:
            return bool(cls.capability.to_int() >= capability)

        @classmethod
        def is_device_capability(cls, capability: int, device_id: int = 0) -> bool:
            return bool(cls.capability.to_int() == capability)

    platforms.current_platform = platforms._current_platform = Device()
    import vllm.config.vllm
    import vllm.utils.flashinfer
    import vllm.utils.platform_utils
    import vllm.v1.attention.backends.mla.flashattn_mla_sparse as fa_sparse
    import vllm.v1.attention.backends.mla.flashinfer_mla_sparse_sm90 as fi_sparse
    from vllm.v1.attention.selector import AttentionSelectorConfig
    from vllm.vllm_flash_attn.flash_attn_interface import is_fa_version_supported

    vllm.utils.platform_utils.num_compute_units = lambda *args: 132
    fa_sparse._fa4_cute_mla_available = lambda: None if is_fa_version_supported(4) else "not for this device"
    fi_sparse.has_flashinfer_sm90_nope_mla = lambda: True
    plain = types.SimpleNamespace
    vllm.config.vllm._current_vllm_config = plain(
        model_config=None,
        cache_config=plain(cache_dtype="auto"),
        parallel_config=plain(decode_context_parallel_size=1, prefill_context_parallel_size=1),
        attention_config=plain(flash_attn_version=None, use_trtllm_attention=None, use_non_causal=False),
    )

    def answer(context: Context) -> str | None:
        fields = {"kv_cache_dtype": None, "block_size": None, **context}
        sm, heads = fields.pop("sm"), fields.pop("num_heads", None)
        Device.capability = DeviceCapability(sm // 10, sm % 10)
        vllm.utils.flashinfer.supports_trtllm_attention.cache_clear()
        config = AttentionSelectorConfig(**{**fields, "dtype": getattr(torch, fields["dtype"])})
        valid, _ = Device.get_valid_backends(Device.capability, config, heads)
        return f"vllm.{min(valid, key=lambda one: one.priority).backend.name.lower()}" if valid else None

    return answer

"""Does policies/examples/sglang.lzp choose as SGLang does? `python benchmarks/selectors/run.py sglang`

Runs `get_default_attn_backend` of the released wheel; the platform's probes answer for the device of the row.
"""

from __future__ import annotations

import logging
import random
import sys
import types
from collections.abc import Callable

from benchmarks.selectors.compare import Context
from benchmarks.selectors.wheels import StandIns, install, namespace, unpack

VERSION = "0.5.23"


def draw(rng: random.Random) -> Context:
    """A context in which each of the function's questions is met often."""
    context: Context = {"sm": rng.choice((75, 80, 86, 89, 90, 100, 103, 110, 120, 121))}
    if rng.random() < 0.4:
        context["cuda"] = rng.choice(("12.1", "12.2", "12.3", "12.6", "12.8", "12.9", "13.0"))
    for name, share in (("use_mla", 0.3), ("has_attention_sinks", 0.3), ("has_asymmetric_kv", 0.3)):
        if rng.random() < share:
            context[name] = True
    if rng.random() < 0.15:
        context["architecture"] = rng.choice(("WhisperForConditionalGeneration", "LlamaForCausalLM"))
    if rng.random() < 0.5:
        context["speculative_algorithm"] = rng.choice(("EAGLE", "EAGLE3", "NGRAM", "DFLASH", "dflash", "STANDALONE"))
    if rng.random() < 0.4:
        context["speculative_eagle_topk"] = rng.choice((1, 1, 2, 4, 8))
    if rng.random() < 0.4:
        context["page_size"] = rng.choice((1, 1, 16, 64))
    return context


def ask() -> Callable[[Context], str | None]:
    """The wheel's answer, `sglang.` and the name of the backend."""
    import torch
    import transformers  # noqa: F401 - what is here is imported before the stand-ins

    logging.disable(logging.CRITICAL)
    folder = unpack(f"sglang=={VERSION}", "sglang/")
    install(("msgspec", "psutil", "pyzmq", "orjson", "pybase64"))
    sys.path.insert(0, str(folder))
    namespace("sglang", folder)
    sys.meta_path.append(StandIns(folder, "sglang"))
    import sglang.srt.arg_groups.model_override_base as base
    import sglang.srt.utils.common as common

    device: Context = {}
    common.is_cuda = lambda: True
    common.get_device_sm = lambda: device["sm"]
    base.current_platform = types.SimpleNamespace(is_out_of_tree=lambda: False)
    base.is_mps = lambda: False
    base.resolving_view = base.resolved_view = lambda arguments: arguments

    def platform() -> types.SimpleNamespace:
        probes = {"is_hopper_with_cuda_12_3": "is_hopper_with_cuda_12_3", "is_sm100": "is_sm100_supported"}
        found = {}
        for name, probe in probes.items():
            getattr(common, probe).cache_clear()
            found[name] = getattr(common, probe)()
        return types.SimpleNamespace(**found, is_hip=False, has_flashinfer=True)

    base.get_platform = platform

    def answer(context: Context) -> str | None:
        device.update(sm=context["sm"])
        torch.version.cuda = context.get("cuda", "13.0")
        names = ("speculative_algorithm", "speculative_eagle_topk", "page_size")
        arguments = types.SimpleNamespace(**{name: context.get(name) for name in names})
        model = types.SimpleNamespace(
            hf_config=types.SimpleNamespace(architectures=[context.get("architecture", "LlamaForCausalLM")]),
            has_attention_sinks=context.get("has_attention_sinks", False),
            has_asymmetric_kv=context.get("has_asymmetric_kv", False),
        )
        return f"sglang.{base.get_default_attn_backend(arguments, context.get('use_mla', False), model)}"

    return answer

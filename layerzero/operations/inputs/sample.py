"""Fields of `sample` -> calls of `lz.sample_topk`, `lz.sample_topp` and `lz.sample_greedy`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from layerzero.check.expressions import Value
from layerzero.operations import sample
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import Drawing, in_memory, torch_device, whole

TYPICAL: Mapping[str, Value] = {"dtype": "fp32", "method": "greedy", "batch": 64, "vocab": 97}
_FLOATS = ("fp64", "fp32", "fp16", "bf16")


def settle(values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
    """See Inputs; an option that is wished for says which method takes it."""
    values = in_memory(values)
    if values["dtype"] not in _FLOATS:
        return None
    for option, method in (("top_k", "topk"), ("top_p", "topp")):
        if option in wished and "method" not in wished:
            values["method"] = method
        if values["method"] != method:
            values.pop(option, None)
    if values["method"] == "greedy" and (values.get("temperature", 1.0) != 1.0 or values.get("has_generator")):
        if "method" in wished:
            return None
        values["method"] = "topk"
    if values["method"] == "topk":
        values.setdefault("top_k", 5)
    if values["method"] == "topp":
        values.setdefault("top_p", 0.5)
    return values


def cost(values: Mapping[str, Value]) -> int:
    """See Inputs."""
    return whole(values, "batch") * whole(values, "vocab")


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs."""
    import torch

    logits = Drawing(values, seed).operand(whole(values, "batch"), whole(values, "vocab"))
    if values["method"] == "greedy":
        return sample.read_greedy(logits)
    options: dict[str, Any] = {"temperature": values["temperature"]}
    if values["has_generator"]:
        options["generator"] = torch.Generator(torch_device(values)).manual_seed(seed)
    if values["method"] == "topk":
        return sample.read_topk(logits, whole(values, "top_k"), **options)
    return sample.read_topp(logits, values["top_p"], **options)  # type: ignore[arg-type]

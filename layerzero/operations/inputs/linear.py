"""Fields of `linear` -> calls of `lz.linear`, with weights that a checkpoint of each format could hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from layerzero.check.expressions import Value
from layerzero.operations import linear
from layerzero.operations.call import Call
from layerzero.operations.inputs.drawing import Drawing, in_memory, torch_device, torch_dtype, whole

if TYPE_CHECKING:
    from torch import Tensor

    from layerzero.backends.weights import QuantisedWeight

TYPICAL: Mapping[str, Value] = {"dtype": "fp32", "rows": 5, "in_features": 64, "out_features": 32}
_FORMAT_FIELDS = ("weight_dtype", "weight_bits", "scales", "group_size", "has_group_index", "plain_zeros")
_EIGHT_BIT_FLOATS = ("fp8_e4m3", "fp8_e5m2")


def settle(values: dict[str, Value], wished: Collection[str]) -> dict[str, Value] | None:
    """See Inputs; the format of the weight says the most."""
    values = in_memory(values)
    chosen = str(values.setdefault("weight_format", "dense"))
    allowed = _allowed(chosen, values)
    for name in _FORMAT_FIELDS:
        options = allowed.get(name, ())
        if name in values and values[name] not in options:
            if name in wished:
                return None
            del values[name]
        if name not in values and options and options[0] is not None:
            values[name] = options[0]
    return values if chosen not in ("gptq", "awq") or _packs(values) else None


def _allowed(chosen: str, values: Mapping[str, Value]) -> dict[str, tuple[Value | None, ...]]:
    """The values that each field of a format may have, its usual one first; None: it may be left to its default."""
    inputs = whole(values, "in_features")
    groups = tuple(size for size in (32, 64, 128, 256, 16, 8, inputs) if inputs % size == 0)
    match chosen:
        case "dense":
            return {"weight_dtype": (None, "fp64", "fp32", "fp16", "bf16", *_EIGHT_BIT_FLOATS)}
        case "int8":
            return {"weight_dtype": ("int8",), "weight_bits": (8,), "scales": ("channel",)}
        case "fp8":
            return {"weight_dtype": _EIGHT_BIT_FLOATS, "weight_bits": (8,), "scales": ("tensor", "channel")}
        case "gptq":
            more = {"has_group_index": (None, False, True), "plain_zeros": (None, False, True)}
            return {"weight_bits": (4, 2, 8), "scales": ("group",), "group_size": groups, **more}
        case _:
            return {"weight_bits": (4,), "scales": ("group",), "group_size": groups}


def _packs(values: Mapping[str, Value]) -> bool:
    """Whether whole words hold the rows and columns."""
    bits, inputs, outputs = (whole(values, name) for name in ("weight_bits", "in_features", "out_features"))
    return outputs * bits % 32 == 0 and (values["weight_format"] == "awq" or inputs * bits % 32 == 0)


def cost(values: Mapping[str, Value]) -> int:
    """See Inputs."""
    return whole(values, "rows") * whole(values, "in_features") * whole(values, "out_features")


def make(values: Mapping[str, Value], seed: int) -> Call:
    """See Inputs."""
    draw = Drawing(values, seed)
    x = draw.operand(whole(values, "rows"), whole(values, "in_features"))
    weight: Any
    if values["weight_format"] == "dense":
        weight = draw.operand(whole(values, "out_features"), whole(values, "in_features"), dtype=values["weight_dtype"])
    else:
        weight = _quantised(values)
    bias = None
    if values["has_bias"]:
        bias = draw.plain(whole(values, "out_features"), dtype="bf16" if x.itemsize == 1 else None)
    return linear.read(x, weight, bias)


def _quantised(values: Mapping[str, Value]) -> QuantisedWeight:
    """Elements of about 1 / sqrt(inputs); the same for every seed, as kernels keep what they repacked of a weight."""
    import torch

    from layerzero.backends.weights import AWQWeight, Fp8Weight, GPTQWeight, Int8Weight

    inputs, outputs = whole(values, "in_features"), whole(values, "out_features")
    draw, generator = Drawing(values, 0), torch.Generator().manual_seed(0)

    def integers(low: int, high: int, *shape: int, dtype: torch.dtype) -> Tensor:
        drawn = torch.randint(low, high, shape, generator=generator, dtype=torch.int64)
        return drawn.to(dtype).to(torch_device(values))

    def scale(*shape: int) -> Tensor:
        drawn: Tensor = draw.plain(*shape, dtype="fp32").abs() / inputs**0.5
        return drawn

    if values["weight_format"] == "int8":
        values_of = integers(-127, 128, outputs, inputs, dtype=torch.int8)
        return Int8Weight(values_of, scale(outputs) / 127)
    if values["weight_format"] == "fp8":
        small = draw.plain(outputs, inputs, dtype="fp32").clamp(-1, 1).to(torch_dtype(values["weight_dtype"]))
        return Fp8Weight(small, scale(outputs) if values["scales"] == "channel" else scale(1)[0])
    bits, size = whole(values, "weight_bits"), whole(values, "group_size")
    groups, word = inputs // size, 2**31
    scales = scale(groups, outputs) / 2**bits
    zeros = integers(-word, word, groups, outputs * bits // 32, dtype=torch.int32)
    if values["weight_format"] == "awq":
        return AWQWeight(integers(-word, word, inputs, outputs // 8, dtype=torch.int32), zeros, scales)
    index = integers(0, groups, inputs, dtype=torch.int32) if values["has_group_index"] else None
    words = integers(-word, word, inputs * bits // 32, outputs, dtype=torch.int32)
    return GPTQWeight(words, zeros, scales, index, bits, zero_offset=0 if values["plain_zeros"] else 1)

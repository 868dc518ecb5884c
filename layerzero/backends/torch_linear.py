"""torch's linear layers: dense, and the operators that multiply with a quantised weight as it is stored."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional

from layerzero.backends.layouts import rows
from layerzero.backends.weights import AWQWeight, Fp8Weight, GPTQWeight, Int8Weight, QuantisedWeight

aten = torch.ops.aten


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A dense weight."""
    return functional.linear(x, weight, bias)


def dequantised(x: Tensor, weight: QuantisedWeight, bias: Tensor | None = None) -> Tensor:
    """Any quantised weight, made dense in the dtype of x at each call."""
    return functional.linear(x, weight.dense(x.dtype), bias)


def int8(x: Tensor, weight: Int8Weight, bias: Tensor | None = None) -> Tensor:
    """Multiplies with the integers, which are widened on the way."""
    out = torch._weight_int8pack_mm(rows(x), weight.values, weight.scale.to(x.dtype))
    return _answer(x, out, bias)


def fp8(x: Tensor, weight: Fp8Weight, bias: Tensor | None = None) -> Tensor:
    """x in fp8 as well, with a scale of one; the answer and the bias are bf16."""
    tokens, scale = rows(x), weight.scale.float()
    if scale.ndim:  # one per output wants one per row
        ones, scale = torch.ones(tokens.shape[0], 1, device=x.device), scale[None, :]
    else:
        ones = torch.ones((), device=x.device)
    out = torch._scaled_mm(tokens, weight.values.t(), scale_a=ones, scale_b=scale, bias=bias, out_dtype=torch.bfloat16)
    return out.view(*x.shape[:-1], -1)


# Weight -> its four bits in the kernel's order, its scales and what is added, in fp32.
_packed: WeakKeyDictionary[GPTQWeight | AWQWeight, tuple[Tensor, Tensor]] = WeakKeyDictionary()


def int4(x: Tensor, weight: GPTQWeight | AWQWeight, bias: Tensor | None = None) -> Tensor:
    """Four bits, repacked at the first call with a weight into the order that the CPU's kernel reads."""
    if weight not in _packed:
        q, zeros = weight.levels()
        scales = weight.scales.float()
        # The kernel computes (q - 8) * scale + more.
        pairs = torch.stack([scales, (8 - zeros) * scales], dim=-1)
        _packed[weight] = aten._convert_weight_to_int4pack_for_cpu(q.contiguous(), 1), pairs
    packed, pairs = _packed[weight]
    out = aten._weight_int4pack_mm_for_cpu(rows(x), packed, weight.group_size, pairs.to(x.dtype))
    return _answer(x, out, bias)


def _answer(x: Tensor, out: Tensor, bias: Tensor | None) -> Tensor:
    out = out.view(*x.shape[:-1], -1)
    return out if bias is None else out + bias

"""Weights of linear layers as quantised checkpoints store them, and the dense weight that each stands for.

They are values: nothing may be changed in them once a call has used them, since kernels keep what they repack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Int8Weight:
    """weight = values * scale: int8 [out, in], and a scale per output channel [out]."""

    values: Tensor
    scale: Tensor

    format: ClassVar[str] = "int8"
    bits: ClassVar[int] = 8

    @classmethod
    def of(cls, weight: Tensor) -> Int8Weight:
        """A dense [out, in], rounded to 255 steps of each channel's largest element."""
        scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(weight.dtype).tiny) / 127
        return cls((weight / scale[:, None]).round().to(torch.int8), scale)

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)"""
        return self.values.shape[0], self.values.shape[1]

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values, "scale": self.scale}

    def dense(self, dtype: torch.dtype) -> Tensor:
        """[out, in]"""
        return self.values.to(dtype) * self.scale.to(dtype)[:, None]


@dataclass(frozen=True, eq=False)
class Fp8Weight:
    """weight = values * scale: float8 [out, in], and one fp32 scale [] or one per output channel [out]."""

    values: Tensor
    scale: Tensor

    format: ClassVar[str] = "fp8"
    bits: ClassVar[int] = 8

    @classmethod
    def of(cls, weight: Tensor, dtype: torch.dtype = torch.float8_e4m3fn) -> Fp8Weight:
        """A dense [out, in], with one scale for all of it."""
        scale = (weight.abs().amax().float() / torch.finfo(dtype).max).clamp(min=torch.finfo(torch.float32).tiny)
        return cls((weight.float() / scale).to(dtype), scale)

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)"""
        return self.values.shape[0], self.values.shape[1]

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values, "scale": self.scale}

    def dense(self, dtype: torch.dtype) -> Tensor:
        """[out, in]"""
        scale = self.scale.to(dtype)
        return self.values.to(dtype) * (scale[:, None] if scale.ndim else scale)


@dataclass(frozen=True, eq=False)
class GPTQWeight:
    """weight = (q - zero) * scale with a zero and a scale for each group of inputs.

    Attributes:
        qweight: int32 [in * bits / 32, out]; the lowest bits of a word are its first input.
        qzeros: int32 [groups, out * bits / 32], the lowest bits first, each less by `zero_offset`.
        scales: [groups, out].
        group_index: int32 [in], the group of each input; None is groups of neighbours of equal size.
        bits: 2, 4 or 8.
        zero_offset: 1 in the format of AutoGPTQ, 0 in the later "gptq_v2".
    """

    qweight: Tensor
    qzeros: Tensor
    scales: Tensor
    group_index: Tensor | None = None
    bits: int = 4
    zero_offset: int = 1

    format: ClassVar[str] = "gptq"

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)"""
        return self.qweight.shape[1], self.qweight.shape[0] * 32 // self.bits

    @property
    def group_size(self) -> int:
        return self.shape[1] // self.scales.shape[0]

    @property
    def tensors(self) -> dict[str, Tensor]:
        found = {"qweight": self.qweight, "qzeros": self.qzeros, "scales": self.scales}
        return found if self.group_index is None else found | {"group_index": self.group_index}

    def levels(self) -> tuple[Tensor, Tensor]:
        """The integers [out, in] and the zeros [groups, out]."""
        q = unpacked(self.qweight.T, self.bits)
        return q, unpacked(self.qzeros, self.bits) + self.zero_offset

    def dense(self, dtype: torch.dtype) -> Tensor:
        """[out, in]"""
        q, zeros = self.levels()
        groups = _groups(self.shape[1], self.group_size, q.device) if self.group_index is None else self.group_index
        at = groups.long()
        return (q - zeros[at].T).to(dtype) * self.scales.to(dtype)[at].T


@dataclass(frozen=True, eq=False)
class AWQWeight:
    """weight = (q - zero) * scale with a zero and a scale for each group of neighbouring inputs; 4 bits.

    Attributes:
        qweight: int32 [in, out / 8]; the eight outputs of a word stand in the order 0 2 4 6 1 3 5 7, lowest bits first.
        qzeros: int32 [groups, out / 8], in the same order.
        scales: [groups, out].
    """

    qweight: Tensor
    qzeros: Tensor
    scales: Tensor

    format: ClassVar[str] = "awq"
    bits: ClassVar[int] = 4

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)"""
        return self.qweight.shape[1] * 8, self.qweight.shape[0]

    @property
    def group_size(self) -> int:
        return self.shape[1] // self.scales.shape[0]

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {"qweight": self.qweight, "qzeros": self.qzeros, "scales": self.scales}

    def levels(self) -> tuple[Tensor, Tensor]:
        """The integers [out, in] and the zeros [groups, out]."""
        return _reordered(self.qweight).T, _reordered(self.qzeros)

    def dense(self, dtype: torch.dtype) -> Tensor:
        """[out, in]"""
        q, zeros = self.levels()
        at = _groups(self.shape[1], self.group_size, q.device)
        return (q - zeros[at].T).to(dtype) * self.scales.to(dtype)[at].T


QuantisedWeight = Int8Weight | Fp8Weight | GPTQWeight | AWQWeight
QUANTISED = (Int8Weight, Fp8Weight, GPTQWeight, AWQWeight)


def unpacked(words: Tensor, bits: int) -> Tensor:
    """int32 [rows, n] -> int32 [rows, n * 32 / bits], the lowest bits of each word first."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32, device=words.device)
    apart: Tensor = (words[..., None] >> shifts) & (2**bits - 1)
    return apart.flatten(-2)


def _reordered(words: Tensor) -> Tensor:
    """AWQ's words: position i of a word holds output 0 2 4 6 1 3 5 7 [i]."""
    at = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7], device=words.device)  # the position of each output
    apart = unpacked(words, 4)
    return apart.view(*apart.shape[:-1], -1, 8)[..., at].flatten(-2)


def _groups(inputs: int, size: int, device: torch.device) -> Tensor:
    return torch.arange(inputs, device=device) // size

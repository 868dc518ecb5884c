"""Shapes and the fields that say how tensors lie in memory -> tensors drawn from N(0, 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layerzero.check.expressions import Value

if TYPE_CHECKING:
    import torch
    from torch import Tensor


LARGE = 1 << 22  # elements


def torch_dtype(name: Value | None) -> torch.dtype:
    """`bf16` -> torch.bfloat16"""
    import torch

    return {
        "fp64": torch.float64,
        "fp32": torch.float32,
        "fp16": torch.float16,
        "bf16": torch.bfloat16,
        "fp8_e4m3": torch.float8_e4m3fn,
        "fp8_e5m2": torch.float8_e5m2,
        "int8": torch.int8,
    }[str(name)]


def itemsize(name: Value) -> int:
    """Bytes of one element: `bf16` -> 2"""
    return {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2}.get(str(name), 1)


def torch_device(values: Mapping[str, Value]) -> str:
    """The device of a context, as torch calls it: `hip` is torch's `cuda`."""
    return "cuda" if values["device"] == "hip" else str(values["device"])


def in_memory(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values, where a last dimension that is not the fastest means that the tensor is not contiguous."""
    return {**values, "contiguous": False} if values.get("inner_contiguous") is False else dict(values)


def whole(values: Mapping[str, Value], name: str) -> int:
    """The value of an int field."""
    found = values[name]
    assert isinstance(found, int), name
    return found


@dataclass
class Drawing:
    """Draws the tensors of one call, each from a seed of its own."""

    values: Mapping[str, Value]
    seed: int
    _count: int = field(default=0)

    def plain(self, *shape: int, dtype: Value | None = None) -> Tensor:
        """A contiguous tensor, drawn on the CPU: the same numbers on every device. A large one is drawn where it is
        wanted, which takes seconds less; its numbers are those of the device."""
        import torch

        self._count += 1
        wanted = torch_dtype(dtype if dtype is not None else self.values["dtype"])
        drawn = torch.float64 if wanted == torch.float64 else torch.float32
        where, device = "cpu", torch_device(self.values)
        if math.prod(shape) > LARGE and wanted.itemsize > 1:  # no device draws numbers of eight bits
            where, drawn = device, wanted
        generator = torch.Generator(where).manual_seed(1000 * self.seed + self._count)
        return torch.randn(*shape, generator=generator, dtype=drawn, device=where).to(wanted).to(device)

    def operand(self, *shape: int, dtype: Value | None = None) -> Tensor:
        """A tensor that lies in memory as `contiguous`, `inner_contiguous` and `aligned` say, asking for a gradient
        where `requires_grad` does."""
        tensor = self._laid_out(self.plain(*shape, dtype=dtype))
        return tensor.requires_grad_() if self.values.get("requires_grad") is True else tensor

    def _laid_out(self, tensor: Tensor) -> Tensor:
        shape = tuple(tensor.shape)
        if self.values.get("inner_contiguous") is False and tensor.ndim > 1:
            return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)
        aligned = self.values.get("aligned") is not False
        if self.values.get("contiguous") is False:
            # A slice of wider rows, each of whole 16 bytes; or else begun and continued at odd places.
            row = 2 * -(-shape[-1] // 16) * 16 if aligned else 2 * shape[-1] + 1
            return self._view(shape, row, 0 if aligned else 1, tensor.dtype).copy_(tensor)
        if not aligned:
            return self._view(shape, shape[-1], 1, tensor.dtype).copy_(tensor)
        return tensor

    def _view(self, shape: tuple[int, ...], row: int, offset: int, dtype: torch.dtype) -> Tensor:
        """An uninitialised view with rows `row` apart, `offset` elements past the beginning of its memory."""
        import torch

        size = math.prod(shape[:-1]) * row + offset
        memory = torch.zeros(size, device=torch_device(self.values), dtype=dtype)
        return memory[offset:].view(*shape[:-1], row)[..., : shape[-1]]

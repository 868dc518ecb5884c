"""A Llama-shaped model with random weights, whose operations are called through one of several sets of functions.

The matrix products are torch's in every set. What differs is attention, norms, rotary embedding, activation: through
LayerZero, or as the plain torch expressions that people write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

import layerzero as lz


@dataclass(frozen=True, slots=True)
class Shape:
    """Llama 3 8B unless said otherwise: 8.0 billion parameters."""

    layers: int = 32
    hidden: int = 4096
    q_heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    intermediate: int = 14336
    vocab: int = 128256

    @property
    def parameters(self) -> int:
        attention = self.hidden * self.head_dim * (2 * self.q_heads + 2 * self.kv_heads)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + 2 * self.vocab * self.hidden + self.hidden


class Calls(Protocol):
    """What a layer asks for beside matrix products. q, k, v are [B,S,H,D]."""

    def rms_norm(self, x: Tensor, weight: Tensor) -> Tensor: ...
    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]: ...
    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor: ...
    def swiglu(self, gate_up: Tensor) -> Tensor: ...
    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor: ...
    def paged(self, q: Tensor, k: Tensor, v: Tensor, table: Tensor) -> Tensor: ...


class LayerZeroCalls:
    """Every operation through `lz.*`."""

    def rms_norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return lz.rms_norm(x, weight)

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return lz.rms_norm(x, weight, residual=residual)

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return lz.rope(x, cos, sin)

    def swiglu(self, gate_up: Tensor) -> Tensor:
        return lz.swiglu(*gate_up.chunk(2, -1))

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return lz.attention(q, k, v, is_causal=True)

    def paged(self, q: Tensor, k: Tensor, v: Tensor, table: Tensor) -> Tensor:
        return lz.paged_attention(q, k, v, table)


class TorchCalls:
    """The plain expressions; attention by `scaled_dot_product_attention` as torch dispatches it, pages gathered."""

    def rms_norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(x, x.shape[-1:], weight, 1e-6)

    def add_rms_norm(self, x: Tensor, residual: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        total = x + residual
        return functional.rms_norm(total, x.shape[-1:], weight, 1e-6), total

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        cos, sin = cos[:, None], sin[:, None]
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    def swiglu(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        return functional.silu(gate) * up

    def attention(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        causal = q.shape[2] > 1
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True).transpose(1, 2)

    def paged(self, q: Tensor, k: Tensor, v: Tensor, table: Tensor) -> Tensor:
        return self.attention(q, k[table].flatten(1, 2), v[table].flatten(1, 2))


class Model:
    """The weights, and a forward pass for prefill or for one step of decoding."""

    def __init__(self, shape: Shape, device: str, dtype: torch.dtype) -> None:
        self.shape = shape
        self._device, self._dtype = device, dtype
        torch.manual_seed(0)
        s = shape
        kv = 2 * s.kv_heads * s.head_dim
        self.embedding = self._weight(s.vocab, s.hidden)
        self.head = self._weight(s.vocab, s.hidden)
        self.norm = torch.ones(s.hidden, device=device, dtype=dtype)
        self.layers = [
            {
                "norm": torch.ones(s.hidden, device=device, dtype=dtype),
                "qkv": self._weight(s.q_heads * s.head_dim + kv, s.hidden),
                "out": self._weight(s.hidden, s.q_heads * s.head_dim),
                "mlp_norm": torch.ones(s.hidden, device=device, dtype=dtype),
                "gate_up": self._weight(2 * s.intermediate, s.hidden),
                "down": self._weight(s.hidden, s.intermediate),
            }
            for _ in range(s.layers)
        ]

    def prefill(self, calls: Calls, tokens: Tensor) -> Tensor:
        """tokens [B,S] -> logits of the last position [B,V]."""
        return self._forward(calls, tokens, 0, lambda layer, q, k, v: calls.attention(q, k, v))

    def decode(self, calls: Calls, tokens: Tensor, cache: Cache) -> Tensor:
        """tokens [B,1], after the cache's `length` - 1 positions -> logits [B,V]."""
        return self._forward(calls, tokens, cache.length - 1, lambda *qkv: cache.attend(calls, *qkv))

    def _forward(
        self, calls: Calls, tokens: Tensor, start: int, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        s = self.shape
        batch, length = tokens.shape
        cos, sin = self._tables(start, length)
        residual = self.embedding[tokens]
        x = calls.rms_norm(residual, self.layers[0]["norm"])
        for number, layer in enumerate(self.layers):
            heads = functional.linear(x, layer["qkv"]).view(batch, length, -1, s.head_dim)
            q, k, v = heads.split((s.q_heads, s.kv_heads, s.kv_heads), 2)
            q, k = calls.rope(q, cos, sin), calls.rope(k, cos, sin)
            x = functional.linear(attend(number, q, k, v).flatten(2), layer["out"])
            x, residual = calls.add_rms_norm(x, residual, layer["mlp_norm"])
            x = functional.linear(calls.swiglu(functional.linear(x, layer["gate_up"])), layer["down"])
            following = self.layers[number + 1]["norm"] if number + 1 < s.layers else self.norm
            x, residual = calls.add_rms_norm(x, residual, following)
        return functional.linear(x[:, -1], self.head)

    def _tables(self, start: int, length: int) -> tuple[Tensor, Tensor]:
        """cos and sin [S,D/2] of positions start.."""
        half = self.shape.head_dim // 2
        steps = torch.arange(half, device=self._device, dtype=torch.float32) / half
        angles = torch.arange(start, start + length, device=self._device)[:, None] * 500_000.0**-steps
        return angles.cos().to(self._dtype), angles.sin().to(self._dtype)

    def _weight(self, rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, device=self._device, dtype=self._dtype) * columns**-0.5


class Cache:
    """Keys and values of every layer for `length` positions, the last of them the token's own."""

    def __init__(self, model: Model, batch: int, length: int, page_size: int | None) -> None:
        s, make = model.shape, {"device": model._device, "dtype": model._dtype}
        self.length, self._page_size = length, page_size
        if page_size is None:
            shape: tuple[int, ...] = (batch, length, s.kv_heads, s.head_dim)
        else:
            pages = length // page_size
            shape = (batch * pages, page_size, s.kv_heads, s.head_dim)
            order = torch.randperm(batch * pages, device=model._device, dtype=torch.int32)
            self._table = order.view(batch, pages)
            self._last = self._table[:, -1].long()
        self._kv: list[tuple[Any, Any]] = [
            (torch.randn(shape, **make), torch.randn(shape, **make)) for _ in range(s.layers)
        ]

    def attend(self, calls: Calls, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Puts the new key and value in their place, and attends to all."""
        keys, values = self._kv[layer]
        if self._page_size is None:
            keys[:, -1], values[:, -1] = k[:, 0], v[:, 0]
            return calls.attention(q, keys, values)
        keys[self._last, -1], values[self._last, -1] = k[:, 0], v[:, 0]
        return calls.paged(q, keys, values, self._table)

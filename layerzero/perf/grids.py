"""Which calls are measured: grids of contexts, each a set of shared fields and the axes that vary.

The standard ones are what a Llama-like model asks of its kernels in bf16, 32 query heads on 8 key heads of 128: the
prefill of prompts, decoding from a contiguous and from a paged cache, norms, positions, activations, sampling. The
held-out ones are other values on the same axes, which no rule was made from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from layerzero.check.expressions import Value

Fields = Mapping[str, Value]
Place = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """`Axis("q_len", (512, 2048), also=("kv_len",))`: a field that varies, and those that are always equal to it."""

    name: str
    values: tuple[Value, ...]
    also: tuple[str, ...] = ()

    @property
    def ordered(self) -> bool:
        """Whether its values lie on a line, so that a rule may speak of a range."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)


@dataclass(frozen=True, slots=True)
class Grid:
    """Calls of one operation.

    Attributes:
        name: `paged_decode`, for reports and the names of rules.
        operation: An operation or view.
        given: What all points share.
        axes: What varies.
        beyond: Fields of `given` that rules do not name: what is measured is taken to hold for their other values.
        most: Points for which the product of the ordered axes is larger are left out.
    """

    name: str
    operation: str
    given: Fields
    axes: tuple[Axis, ...]
    beyond: frozenset[str] = field(default_factory=frozenset)
    most: int | None = None

    def places(self) -> Iterator[Place]:
        """The place of every point on each axis, the last fastest."""
        for place in product(*(range(len(axis.values)) for axis in self.axes)):
            if self.most is None or self._size(place) <= self.most:
                yield place

    def fields(self, place: Place) -> dict[str, Value]:
        """What is given at a point."""
        found = dict(self.given)
        for axis, at in zip(self.axes, place, strict=True):
            found |= dict.fromkeys((axis.name, *axis.also), axis.values[at])
        return found

    def on(self, device: Fields, regimes: Sequence[bool]) -> Grid:
        """The grid on a device, in the regimes outside (False) and inside (True) of a CUDA graph.

        One regime is a field that all share; two are an axis, so that one rule may hold in both.
        """
        given = {**self.given, **device}
        if len(regimes) == 1:
            return replace(self, given={**given, "graph_capture": regimes[0]} if regimes[0] else given)
        return replace(self, given=given, axes=(Axis("graph_capture", tuple(regimes)), *self.axes))

    def _size(self, place: Place) -> float:
        size = 1.0
        for axis, at in zip(self.axes, place, strict=True):
            value = axis.values[at]
            if axis.ordered and isinstance(value, int | float):
                size *= value
        return size


_HEADS: Fields = {"dtype": "bf16", "q_heads": 32, "kv_heads": 8, "head_dim": 128, "causal": True}
_PAGES: Fields = {**_HEADS, "paged": True, "has_seq_lens": True, "q_len": 1}
_ROWS: Fields = {"dtype": "bf16"}
_HALVES: Fields = {
    **_ROWS,
    "packed": True,
    "contiguous": False,
}  # as a fused projection leaves gate and up, from two rows on
_BEYOND_HEADS = frozenset({"q_heads", "kv_heads", "q_len", "causal", "has_seq_lens"})


def _grid(
    name: str, operation: str, given: Fields, axes: Mapping[str, tuple[Value, ...]], most: int | None = None
) -> Grid:
    beyond = _BEYOND_HEADS | {"batch", "vocab", "top_k", "top_p", "has_bias", "contiguous"}
    linked = {"q_len": ("kv_len",)} if operation == "attention.prefill" else {}
    return Grid(
        name,
        operation,
        given,
        tuple(Axis(axis, values, linked.get(axis, ())) for axis, values in axes.items()),
        frozenset(beyond),
        most,
    )


def standard() -> tuple[Grid, ...]:
    """From which the shipped rules are made: batch 1 to 64, 512 to 32 Ki tokens."""
    batches: tuple[Value, ...] = (1, 8, 64)
    lengths: tuple[Value, ...] = (512, 4096, 32768)
    rows: tuple[Value, ...] = (1, 64, 4096)
    return (
        _grid(
            "prefill",
            "attention.prefill",
            {**_HEADS, "paged": False},
            {"batch": batches, "q_len": (512, 2048, 8192, 32768)},
            most=128 * 1024,
        ),
        _grid(
            "decode",
            "attention.decode",
            {**_HEADS, "paged": False, "q_len": 1},
            {"batch": batches, "kv_len": lengths},
        ),
        _grid("paged_decode", "attention.decode", {**_PAGES, "page_size": 16}, {"batch": batches, "kv_len": lengths}),
        _grid(
            "rms_norm", "rms_norm", _ROWS, {"has_residual": (False, True), "rows": rows, "hidden_size": (4096, 8192)}
        ),
        _grid("layer_norm", "layer_norm", {**_ROWS, "has_bias": True}, {"rows": rows, "hidden_size": (4096,)}),
        _grid("rope", "rope", {**_ROWS, "head_dim": 128, "batch": 1, "q_heads": 32}, {"q_len": rows}),
        _grid("swiglu", "swiglu", _HALVES, {"rows": (2, 64, 4096), "hidden_size": (14336,)}),
        _grid("gelu", "gelu", _ROWS, {"rows": rows, "hidden_size": (14336,)}),
        _grid("silu", "silu", _ROWS, {"rows": rows, "hidden_size": (14336,)}),
        _grid("top_k", "sample.topk", {"dtype": "bf16", "vocab": 128256, "top_k": 50}, {"batch": (1, 64)}),
        _grid("top_p", "sample.topp", {"dtype": "bf16", "vocab": 128256, "top_p": 0.9}, {"batch": (1, 64)}),
    )


def held_out() -> tuple[Grid, ...]:
    """Other shapes, for the regret of rules on calls that they were not made from."""
    batches: tuple[Value, ...] = (2, 16)
    lengths: tuple[Value, ...] = (1024, 16384)
    rows: tuple[Value, ...] = (16, 1024)
    heads: Fields = {**_HEADS, "q_heads": 64}
    return (
        _grid(
            "prefill",
            "attention.prefill",
            {**heads, "paged": False},
            {"batch": batches, "q_len": (1024, 4096)},
        ),
        _grid(
            "decode", "attention.decode", {**heads, "paged": False, "q_len": 1}, {"batch": batches, "kv_len": lengths}
        ),
        _grid(
            "paged_decode",
            "attention.decode",
            {**_PAGES, "q_heads": 64, "page_size": 16},
            {"batch": batches, "kv_len": lengths},
        ),
        _grid("rms_norm", "rms_norm", _ROWS, {"has_residual": (False, True), "rows": rows, "hidden_size": (5120,)}),
        _grid("layer_norm", "layer_norm", {**_ROWS, "has_bias": True}, {"rows": rows, "hidden_size": (5120,)}),
        _grid("rope", "rope", {**_ROWS, "head_dim": 128, "batch": 1, "q_heads": 64}, {"q_len": rows}),
        _grid("swiglu", "swiglu", _HALVES, {"rows": rows, "hidden_size": (11008,)}),
        _grid("top_k", "sample.topk", {"dtype": "bf16", "vocab": 128256, "top_k": 50}, {"batch": (8,)}),
        _grid("top_p", "sample.topp", {"dtype": "bf16", "vocab": 128256, "top_p": 0.9}, {"batch": (8,)}),
    )


def small() -> tuple[Grid, ...]:
    """Seconds on a CPU: fp32, short sequences, few rows."""
    heads: Fields = {"dtype": "fp32", "q_heads": 8, "kv_heads": 2, "head_dim": 64, "causal": True, "paged": False}
    return (
        _grid("prefill", "attention.prefill", heads, {"batch": (1, 4), "q_len": (16, 128)}),
        _grid("decode", "attention.decode", {**heads, "q_len": 1}, {"batch": (1, 4), "kv_len": (64, 512)}),
        _grid("rms_norm", "rms_norm", {"dtype": "fp32"}, {"rows": (1, 64), "hidden_size": (1024,)}),
        _grid("swiglu", "swiglu", {"dtype": "fp32"}, {"rows": (1, 64), "hidden_size": (2048,)}),
    )


GRIDS = {"standard": standard, "held_out": held_out, "small": small}

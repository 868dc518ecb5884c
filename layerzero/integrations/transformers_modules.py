"""One module of a Hugging Face model -> its forward through `lz.*`, where a probe shows that both compute the same.

Architectures name and build the same few formulas in dozens of ways. So a class name is never trusted: each candidate
is run once on a small random input and compared with the plain formulas below, and the first that agrees is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from types import FunctionType, MethodType
from typing import Any, Literal

import torch
from torch.nn import functional

from layerzero import api as lz

Tensor = torch.Tensor
Forward = Callable[..., Any]

# The global function that the attention layers of transformers call.
ROTARY = "apply_rotary_pos_emb"
# The global object that they ask for an attention function, by `get_interface(name, default)`.
INTERFACES = "ALL_ATTENTION_FUNCTIONS"

# What a module that is not what it seems raises when it is probed.
_MISFIT = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError)


@dataclass(frozen=True)
class Replacement:
    """`kind` is one of rms_norm, rope, swiglu, gelu; `forward` takes what the module's own forward took."""

    kind: str
    forward: Forward


@dataclass(frozen=True)
class Left:
    """The module looked like a candidate and stays as it is."""

    reason: str


@dataclass(frozen=True)
class Form:
    """A formula twice: `plain`, which the probe compares with, and `through` LayerZero, which takes its place."""

    kind: str
    plain: Forward
    through: Forward


def replacement(module: torch.nn.Module, model: torch.nn.Module) -> Replacement | Left | None:
    """What can take the place of `module.forward`; None where the module is no candidate at all."""
    for recognise in (_norm, _gated_mlp, _rotary):
        found = recognise(module, model)
        if found is not None:
            if "forward" in vars(module):
                return Left("its forward is already replaced by something else")
            return found
    return None


# --- RMS norm -------------------------------------------------------------------------------------------------------


def _rms(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps) * scale.float()


def _rms_from_one(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    # Gemma stores the distance from one. The sum is made in fp32: in bf16 it would lose most of the weight's bits.
    out: Tensor = lz.rms_norm(x.float(), 1.0 + weight.float(), eps=eps)
    return out.type_as(x)


NORMS = (
    Form("rms_norm", _rms, lambda x, weight, eps: lz.rms_norm(x, weight, eps=eps)),
    Form("rms_norm", lambda x, weight, eps: _rms(x, 1.0 + weight.float(), eps), _rms_from_one),
)


def _norm(module: torch.nn.Module, model: torch.nn.Module) -> Replacement | Left | None:
    if "RMSNorm" not in type(module).__name__:
        return None
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not isinstance(weight, Tensor) or weight.ndim != 1 or not isinstance(eps, float):
        return Left("an RMS norm without a weight of one dimension and an eps")
    if weight.is_meta:
        return Left("its weights are not loaded")
    x = _random(3, weight.shape[0], like=weight)
    form = _first(NORMS, lambda: module(x), lambda form: form.plain(x, weight, eps))
    if form is None:
        return Left("it computes something else than weight * x / rms(x) or (1 + weight) * x / rms(x)")

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        out: Tensor = form.through(hidden_states, self.weight, eps)
        return out

    return Replacement(form.kind, MethodType(forward, module))


# --- the gated MLP --------------------------------------------------------------------------------------------------

GATES = (
    Form("swiglu", lambda gate, up: functional.silu(gate) * up, lambda gate, up: lz.swiglu(gate, up)),
    Form(
        "gelu",
        lambda gate, up: functional.gelu(gate, approximate="tanh") * up,
        lambda gate, up: lz.gelu(gate, approximate="tanh") * up,
    ),
    Form("gelu", lambda gate, up: functional.gelu(gate) * up, lambda gate, up: lz.gelu(gate) * up),
)


def _gated_mlp(module: Any, model: torch.nn.Module) -> Replacement | Left | None:
    split = _projections(module)
    if split is None:
        return None
    weight = next(module.parameters(), None)
    width = getattr(getattr(module, "gate_proj", getattr(module, "gate_up_proj", None)), "in_features", None)
    if weight is None or weight.is_meta or width is None:
        return Left("its weights are not loaded, or do not say how wide they are")
    x = _random(1, 2, width, like=weight)
    form = _first(GATES, lambda: module(x), lambda form: module.down_proj(form.plain(*split(module, x))))
    if form is None:
        return Left("it computes something else than down(silu(gate) * up) or down(gelu(gate) * up)")

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        out: Tensor = self.down_proj(form.through(*split(self, hidden_states)))
        return out

    return Replacement(form.kind, MethodType(forward, module))


def _projections(module: torch.nn.Module) -> Callable[[Any, Tensor], tuple[Tensor, Tensor]] | None:
    """How a gated MLP makes gate and up: from two projections, or from one that is cut in two."""
    parts = dict(module.named_children())
    if {"gate_proj", "up_proj", "down_proj"} <= parts.keys():
        return lambda mlp, x: (mlp.gate_proj(x), mlp.up_proj(x))
    if {"gate_up_proj", "down_proj"} <= parts.keys():
        return lambda mlp, x: mlp.gate_up_proj(x).chunk(2, dim=-1)
    return None


# --- the rotary embedding -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convention:
    """How an architecture writes its tables and pairs its columns.

    `lz.rope` takes tables with one column per pair of columns of a head. Most architectures write every column
    twice: the whole table a second time (`halves`), or each column beside itself (`twins`); some do not (`pairs`).
    """

    tables: Literal["halves", "twins", "pairs"]
    interleaved: bool

    def per_pair(self, table: Tensor) -> Tensor:
        if self.tables == "halves":
            return table[..., : table.shape[-1] // 2]
        return table[..., ::2] if self.tables == "twins" else table

    def written(self, pairs: Tensor) -> Tensor:
        """The inverse of `per_pair`."""
        if self.tables == "halves":
            return torch.cat((pairs, pairs), dim=-1)
        return pairs.repeat_interleave(2, dim=-1) if self.tables == "twins" else pairs

    def plain(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x [batch, heads, tokens, head_dim]; cos and sin [batch, tokens, pairs]."""
        width = 2 * cos.shape[-1]
        cos, sin, rotated, rest = cos.unsqueeze(1), sin.unsqueeze(1), x[..., :width], x[..., width:]
        if self.interleaved:
            a, b = rotated[..., ::2], rotated[..., 1::2]
            turned = torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)
        else:
            a, b = rotated.chunk(2, dim=-1)
            turned = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
        return torch.cat((turned, rest), dim=-1)

    def through(self, x: Tensor, cos: Tensor, sin: Tensor, heads_at: int) -> Tensor:
        """`lz.rope` takes [batch, tokens, heads, head_dim]; an architecture may have the heads before the tokens."""
        cos, sin = self.per_pair(cos), self.per_pair(sin)
        if cos.ndim == 3 and cos.shape[0] == 1:
            cos, sin = cos[0], sin[0]  # the same positions in every sequence
        if heads_at == 2:
            return lz.rope(x, cos, sin, interleaved=self.interleaved)
        return lz.rope(x.transpose(1, 2), cos, sin, interleaved=self.interleaved).transpose(1, 2)


CONVENTIONS = (
    Convention("halves", interleaved=False),
    Convention("halves", interleaved=True),
    Convention("twins", interleaved=True),
    Convention("pairs", interleaved=False),
    Convention("pairs", interleaved=True),
)


def _rotary(module: torch.nn.Module, model: torch.nn.Module) -> Replacement | Left | None:
    own = type(module).forward
    if not isinstance(own, FunctionType) or ROTARY not in own.__code__.co_names or ROTARY not in own.__globals__:
        return None
    convention = _convention(own.__globals__[ROTARY])
    if convention is None:
        return Left("its rotary embedding pairs or orders columns in a way of its own")
    if not _tables_follow(convention, model):
        return Left("its rotary tables are not one cosine and one sine per pair")

    def through(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
        return convention.through(q, cos, sin, unsqueeze_dim), convention.through(k, cos, sin, unsqueeze_dim)

    return Replacement("rope", MethodType(_rebound(own, ROTARY, through), module))


def _rebound(function: FunctionType, name: str, value: object) -> FunctionType:
    """The same code with one global name bound anew: other models of this architecture, and this one after `undo`,
    keep calling the original."""
    rebound = FunctionType(
        function.__code__,
        {**function.__globals__, name: value},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    rebound.__kwdefaults__ = function.__kwdefaults__
    return rebound


@dataclass(frozen=True)
class _Interfaces:
    """What a layer is to find in place of transformers' own table: its functions, but for one name."""

    own: Any
    name: str
    function: Forward

    def get_interface(self, name: str, default: Forward) -> Forward:
        found: Forward = self.function if name == self.name else self.own.get_interface(name, default)
        return found


def with_interface(module: torch.nn.Module, name: str, function: Forward) -> Forward | None:
    """`module.forward`, finding `function` under the name of an attention implementation; None where it asks for none.

    Args:
        module: Any module; its forward may be replaced already.
        name: The implementation that the model's configuration names.
        function: Takes what transformers hands to an attention function.
    """
    own = getattr(module.forward, "__func__", None)
    if not isinstance(own, FunctionType) or INTERFACES not in own.__code__.co_names:
        return None
    interfaces = _Interfaces(own.__globals__[INTERFACES], name, function)
    return MethodType(_rebound(own, INTERFACES, interfaces), module)


def _convention(rotate: Forward) -> Convention | None:
    """The convention by which `rotate(q, k, cos, sin)` turns the columns of a head, if it is one of ours."""
    if list(signature(rotate).parameters) not in (["q", "k", "cos", "sin"], ["q", "k", "cos", "sin", "unsqueeze_dim"]):
        return None
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 2, 3, 8, generator=generator)
    for convention in CONVENTIONS:
        angles = torch.randn(1, 3, 4, generator=generator)
        cos, sin = angles.cos(), angles.sin()
        try:
            got = rotate(q, k, convention.written(cos), convention.written(sin))
        except _MISFIT:
            continue
        wanted = (convention.plain(q, cos, sin), convention.plain(k, cos, sin))
        if isinstance(got, tuple) and len(got) == 2 and all(_same(a, b) for a, b in zip(got, wanted, strict=True)):
            return convention
    return None


def _tables_follow(convention: Convention, model: torch.nn.Module) -> bool:
    """Whether every rotary module of the model makes tables that are known from one column per pair."""
    tables = [part for part in model.modules() if type(part).__name__.endswith("RotaryEmbedding")]
    return bool(tables) and all(_made_of_pairs(part, convention) for part in tables)


def _made_of_pairs(rotary: Any, convention: Convention) -> bool:
    # Models with windows on some layers keep one set of frequencies per type of layer.
    types: Sequence[str | None] = sorted(set(getattr(rotary, "layer_types", None) or ())) or [None]
    device = next((buffer.device for buffer in rotary.buffers()), torch.device("cpu"))
    if device.type == "meta":
        return False
    x, positions = torch.zeros(1, 5, 8, device=device), torch.arange(5, device=device)[None]
    for layer_type in types:
        try:
            made = rotary(x, positions) if layer_type is None else rotary(x, positions, layer_type)
        except _MISFIT:
            return False
        if not isinstance(made, tuple) or len(made) != 2:
            return False
        if not all(torch.equal(table, convention.written(convention.per_pair(table))) for table in made):
            return False
    return True


# --- the probe ------------------------------------------------------------------------------------------------------


def _random(*shape: int, like: Tensor) -> Tensor:
    """The same numbers every time, and no draw from the generator of the program's own random numbers."""
    dtype = like.dtype if like.dtype.is_floating_point and like.dtype.itemsize >= 2 else torch.float32
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device=like.device, dtype=dtype)


def _first(forms: Sequence[Form], own: Forward, plain: Callable[[Form], Tensor]) -> Form | None:
    with torch.no_grad():
        try:
            got = own()
        except _MISFIT:
            return None
        return next((form for form in forms if isinstance(got, Tensor) and _same(got, plain(form))), None)


def _same(got: Tensor, wanted: Tensor) -> bool:
    if got.shape != wanted.shape:
        return False
    # A few roundings of the narrower type; forms differ from each other by far more.
    tolerance = 1e-5 if got.dtype in (torch.float32, torch.float64) else 8 * torch.finfo(got.dtype).eps
    return torch.allclose(got.float(), wanted.float(), rtol=tolerance, atol=tolerance * float(wanted.abs().max()))


__all__ = ["Left", "Replacement", "replacement", "with_interface"]

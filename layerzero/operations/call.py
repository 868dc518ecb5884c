"""What a public call becomes: the context to decide on, and the arguments for whichever kernel is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from layerzero.check.expressions import Value


@dataclass(frozen=True, slots=True)
class Call:
    """`Call("silu", {"device": "cpu", "dtype": "fp32", ...}, (x,), {})`: checked, and not yet decided."""

    operation: str
    context: dict[str, Value]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ParameterRole:
    """How one parameter of a public call takes part in the choice of a kernel.

    `fields` are the context fields that it sets, `features` what it makes the call demand. A `hint` changes no result:
    it is checked against the tensors and never reaches a kernel.
    """

    fields: tuple[str, ...]
    features: tuple[str, ...] = ()
    hint: bool = False


OPERAND = ("device", "device_name", "sm", "contiguous", "inner_contiguous", "aligned", "requires_grad")
AMBIENT = ("deterministic", "graph_capture")  # read from torch's state, by every operation

Parameters = Mapping[str, ParameterRole]

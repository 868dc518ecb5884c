"""A call like one that was read before -> the few fields that a decision still asks for, straight from its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from layerzero.check.expressions import Value
from layerzero.operations.call import Call
from layerzero.operations.tensors import AMBIENTS, STATES

Quick = Callable[[tuple[Any, ...]], dict[str, Value]]

# Of dense attention: which tensor has a size, and its dimension by letter of the layout.
_ATTENTION: Mapping[str, tuple[int, str]] = {
    "batch": (0, "b"),
    "q_len": (0, "s"),
    "q_heads": (0, "h"),
    "head_dim": (0, "d"),
    "kv_len": (1, "s"),
    "kv_heads": (1, "h"),
    "v_head_dim": (2, "d"),
}


def quick_reader(example: Call, fields: Sequence[str]) -> Quick | None:
    """A function from a call's positional tensors to these fields; None where only reading it in full can tell.

    Sizes that follow from others (the phase) are left to the defaults of their fields.
    """
    if example.operation != "attention" or example.context.get("paged"):
        return None
    layout = str(example.context["layout"])
    sizes: list[tuple[str, int, int]] = []
    states: list[tuple[str, Callable[[Any], bool]]] = []
    ambients: list[tuple[str, Callable[[Any], bool]]] = []
    for name in fields:
        if name in _ATTENTION:
            tensor, letter = _ATTENTION[name]
            sizes.append((name, tensor, layout.index(letter)))
        elif name in STATES:
            states.append((name, STATES[name]))
        elif name in AMBIENTS:
            ambients.append((name, AMBIENTS[name]))
        elif name != "phase":
            return None

    def read(args: tuple[Any, ...]) -> dict[str, Value]:
        values: dict[str, Value] = {name: args[tensor].shape[axis] for name, tensor, axis in sizes}
        for name, state in states:
            values[name] = state(args)
        for name, ambient in ambients:
            values[name] = ambient(args[0].device)
        return values

    return read

"""`sm=80,90` and `head_dim=64..256:64` -> axes, and every combination of their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from packaging.version import Version

from layerzero.check.program import Program
from layerzero.cli.given import fold, whole
from layerzero.errors import ArgumentError
from layerzero.semantics.decision_json import json_value

MAX_CELLS = 20_000
MAX_POINTS = 2_000

_END = r"[+-]?[\d_]+(?:[KMG]i)?"
_RANGE = re.compile(rf"(?P<low>{_END})\.\.(?P<high>{_END})(?::(?P<times>\*)?(?P<step>{_END}))?")


@dataclass(frozen=True, slots=True)
class Axis:
    """`head_dim=64..256:64`: its name, and for each point how it is shown and the item that stands for it."""

    name: str
    shown: tuple[str, ...]
    items: tuple[str, ...]
    values: tuple[object, ...] = ()  # as JSON has them


def read_axes(program: Program, texts: Sequence[str]) -> list[Axis]:
    """The axes of `--over`, checked against the program; a bare list names operations, contexts or devices.

    Raises:
        ArgumentError: An unknown name or value, a range without points, or a grid past the limit.
    """
    axes = [_axis(text) for text in texts]
    axes = [
        replace(axis, values=tuple(_value(program, axis, place) for place in range(len(axis.items)))) for axis in axes
    ]
    names = [axis.name for axis in axes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ArgumentError(f"--over {twice} stands twice; give its values in one list")
    cells = prod(len(axis.items) for axis in axes)
    if cells > MAX_CELLS:
        raise ArgumentError(f"the grid has {cells} cells, more than {MAX_CELLS}: take fewer values, or use `lz decide`")
    return axes


def _value(program: Program, axis: Axis, place: int) -> object:
    """The value that a point stands for; a name where it is a context, a device or an operation."""
    folded = fold(program, [axis.items[place]])
    if axis.name == "given" or len(folded) != 1:
        return axis.shown[place]
    (value,) = folded.values()
    return json_value(value) if isinstance(value, bool | int | float | str | Version) else value


def points(axes: Sequence[Axis]) -> Iterator[tuple[int, ...]]:
    """The places of every combination, the last axis fastest."""
    return product(*(range(len(axis.items)) for axis in axes))


def _axis(text: str) -> Axis:
    name, separator, values = text.partition("=")
    name = name.strip()
    words = [word.strip() for word in (values if separator else name).split(",") if word.strip()]
    if not words:
        raise ArgumentError(f"--over {text}: no values; write NAME=A,B or NAME=LOW..HIGH:STEP")
    shown = tuple(dict.fromkeys(point for word in words for point in (_range(word) if separator else [word])))
    if len(shown) > MAX_POINTS:
        raise ArgumentError(f"--over {text}: {len(shown)} values, more than {MAX_POINTS}")
    return Axis(name, shown, tuple(f"{name}={point}" for point in shown)) if separator else Axis("given", shown, shown)


def _range(word: str) -> list[str]:
    """`64..256:64` by steps, `1..64:*2` by factors, `1..4` by ones; any other word is itself."""
    found = _RANGE.fullmatch(word)
    if found is None:
        return [word]
    low, high, step = (whole(found[part]) if found[part] else 1 for part in ("low", "high", "step"))
    assert isinstance(low, int) and isinstance(high, int) and isinstance(step, int)
    if low > high:
        raise ArgumentError(f"the range {word} holds no value; did you mean {found['high']}..{found['low']}?")
    if found["times"]:
        if step < 2 or low < 1:
            raise ArgumentError(f"the range {word} does not grow: a factor is at least 2, from 1 on")
        values = [low]
        while values[-1] * step <= high:
            values.append(values[-1] * step)
        return [str(value) for value in values]
    if step < 1:
        raise ArgumentError(f"the range {word} does not grow: a step is at least 1")
    if (high - low) // step >= MAX_POINTS:
        raise ArgumentError(f"the range {word} has more than {MAX_POINTS} values; give a larger step")
    return [str(value) for value in range(low, high + 1, step)]

"""One probe -> what the kernel did: the right answer, a wrong one, or an exception. Runs in a child process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal as OneOf

import torch
from torch import Tensor

from layerzero.backends.probe import Adapter, load_adapter
from layerzero.check.expressions import Value
from layerzero.check.program import Kernel, Program
from layerzero.errors import ArgumentError
from layerzero.facts.compare import WrongAnswerError, in_fp64, judge
from layerzero.facts.plan import Judge
from layerzero.operations.call import Call
from layerzero.operations.inputs import Inputs, inputs_of
from layerzero.semantics.environment import Environment

Seen = OneOf["right", "wrong", "raised", "no such call", "crashed", "no answer"]

_AMBIENT = ("graph_capture", "deterministic")  # set around the call, not by its arguments


@dataclass(frozen=True, slots=True)
class Observation:
    """`Observation("wrong", "the answer holds NaN", None)`; `off` is the worst error as a part of the tolerance.

    "no such call": the public call refuses the arguments, or none have these fields. "crashed": the process or its
    device context was lost. "no answer": it took too long.
    """

    seen: Seen
    text: str
    off: float | None = None


def observe(
    program: Program, environment: Environment, kernel: Kernel, operation: str, given: Mapping[str, Value]
) -> Observation:
    """Make the call of a probe, and compare."""
    inputs = inputs_of(operation)
    completed = Judge(program, kernel, program.operations[operation], environment).call(given)
    if inputs is None or completed is None:
        return Observation("no such call", "no call has these fields")
    values = completed.values
    try:
        call = _ready(inputs.make(values, 1))
    except ArgumentError as error:
        return Observation("no such call", str(error))
    except (RuntimeError, MemoryError) as error:  # torch has no such tensors, or too little memory for them
        return Observation("no such call", f"its inputs cannot be made: {_first_line(error)}")
    for name, value in call.context.items():
        if name not in _AMBIENT and values.get(name, value) != value:
            return Observation("no such call", f"`{name}` is {value}, wanted {values[name]}")
    adapter = load_adapter(kernel.adapter or "")
    if isinstance(adapter, str):
        return Observation("raised", adapter)
    return _compared(program, kernel, adapter, inputs, call, values)


def _compared(
    program: Program, kernel: Kernel, adapter: Adapter, inputs: Inputs, call: Call, values: Mapping[str, Value]
) -> Observation:
    wide = in_fp64(call)
    try:
        with _deterministic(values.get("deterministic") is True):
            if values.get("graph_capture") is True:
                other = _ready(inputs.make(values, 2))
                wide = in_fp64(other)
                answer = _replayed(adapter, call, other)
            else:
                answer = adapter(*call.args, **call.kwargs)
            _wait(call)
            if not kernel.attributes.get("in_place"):
                _untouched(call, wide)
            return Observation("right", "", judge(program, call, wide, answer))
    except WrongAnswerError as error:
        return Observation("wrong", str(error), error.off)
    except Exception as error:  # noqa: BLE001 - whatever a library raises is how it refuses
        return Observation("raised", _first_line(error))


def _ready(call: Call) -> Call:
    """Under dropout the values are 1, so that the mean of the answer is known."""
    if call.context.get("dropout", 0.0):
        with torch.no_grad():
            call.args[2].fill_(1.0)
    return call


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def _replayed(adapter: Adapter, call: Call, other: Call) -> Any:
    """Record the call into a CUDA graph, write other inputs into its tensors, and replay."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):  # compilation and workspaces are not for the recording
            adapter(*call.args, **call.kwargs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = adapter(*call.args, **call.kwargs)
    for mine, new in zip(_tensors(call), _tensors(other), strict=True):
        mine.copy_(new)  # a table of pages too: in serving it changes between replays
    graph.replay()
    return answer


def _tensors(call: Call) -> list[Tensor]:
    return [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor)]


def _untouched(call: Call, wide: Call) -> None:
    for now, before in zip(_tensors(in_fp64(call)), _tensors(wide), strict=True):
        if not torch.equal(now.detach(), before.detach()):
            raise WrongAnswerError("it writes to an argument, and its facts do not say `in_place`")


def _wait(call: Call) -> None:
    """Errors of a device come when it is waited for."""
    if call.context.get("device") in ("cuda", "hip"):
        torch.cuda.synchronize()


def _first_line(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    return text if len(text) <= 240 else f"{text[:237]}..."

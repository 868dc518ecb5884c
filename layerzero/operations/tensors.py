"""What every operation asks of its tensors: the shared fields, and errors that name the argument."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from layerzero.check.expressions import Value
from layerzero.errors import ArgumentError, MissingDependencyError
from layerzero.operations.device import device_fields

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FLOATS = ("fp64", "fp32", "fp16", "bf16")
EIGHT_BIT_FLOATS = ("fp8_e4m3", "fp8_e5m2")


def error(argument: str, wanted: str, given: object) -> ArgumentError:
    """The exception for one argument: what was wanted, what was given."""
    return ArgumentError(f"argument `{argument}`: wanted {wanted}, given {given}")


def shape(value: Tensor) -> str:
    """`shape [2, 7, 4, 64]`"""
    return f"shape {list(value.shape)}"


@lru_cache(maxsize=1)
def _dtype_names() -> dict[torch.dtype, str]:
    try:
        import torch
    except ImportError as cause:
        raise MissingDependencyError("tensor operations need torch: install `layerzero[torch]`") from cause
    return {
        torch.float64: "fp64",
        torch.float32: "fp32",
        torch.float16: "fp16",
        torch.bfloat16: "bf16",
        torch.float8_e4m3fn: "fp8_e4m3",
        torch.float8_e5m2: "fp8_e5m2",
        torch.int8: "int8",
    }


def dtype_named(name: str) -> torch.dtype:
    """The dtype of a field's member; also `bool`, which masks have.

    Raises:
        ArgumentError: There is none of that name.
    """
    named = {own: dtype for dtype, own in _dtype_names().items()}
    if name == "bool":
        import torch

        return torch.bool
    if name not in named:
        raise ArgumentError(f"no tensor has the dtype `{name}`; known: {', '.join(named)}")
    return named[name]


def name_of_dtype(dtype: object) -> object:
    """`bf16` of `torch.bfloat16`; what is no dtype stays, for those who read names to judge."""
    return _dtype_names().get(dtype, dtype)  # type: ignore[call-overload]


def dtype_name(argument: str, value: Tensor, allowed: tuple[str, ...] = FLOATS) -> str:
    """`bf16`, or an error unless the dtype is one of `allowed`."""
    name = _dtype_names().get(value.dtype)
    if name is None or name not in allowed:
        raise error(argument, f"dtype {' or '.join(allowed)}", value.dtype)
    return name


def check_tensor(argument: str, value: Any, dimensions: str, *ranks: int) -> None:
    """An error unless `value` is a tensor with one of `ranks` dimensions; `dimensions` describes them in words."""
    _dtype_names()  # says that torch is missing, before anything else can go wrong
    import torch

    if not isinstance(value, torch.Tensor):
        raise error(argument, f"a tensor {dimensions}", f"{type(value).__name__}")
    if value.ndim not in ranks:
        raise error(argument, dimensions, shape(value))
    if value.layout is not torch.strided:
        raise error(argument, f"a dense tensor {dimensions}", value.layout)


def check_shape(argument: str, value: Any, *wanted: tuple[int, ...], why: str = "") -> None:
    """An error unless `value` is a tensor of one of the shapes in `wanted`."""
    shapes = " or ".join(str(list(w)) for w in wanted)
    check_tensor(argument, value, shapes + why, *{len(w) for w in wanted})
    if tuple(value.shape) not in wanted:
        raise error(argument, shapes + why, shape(value))


def check_device(argument: str, value: Tensor, like: Tensor, like_name: str) -> None:
    """An error unless two tensors are on one device."""
    if value.device != like.device:
        raise error(argument, f"device {like.device}, that of `{like_name}`", value.device)


def check_same_dtype(argument: str, value: Tensor, like: Tensor, like_name: str) -> None:
    """An error unless two tensors have one dtype."""
    if value.dtype != like.dtype:
        raise error(argument, f"dtype {like.dtype}, that of `{like_name}`", value.dtype)


def check_number(argument: str, value: Any, wanted: str, low: float, high: float = math.inf) -> None:
    """An error unless `value` is a finite number in low..high, both included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or math.isinf(value):
        raise error(argument, wanted, repr(value))


def check_count(argument: str, value: Any, wanted: str, low: int = 1) -> None:
    """An error unless `value` is an int of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise error(argument, wanted, repr(value))


def check_flag(argument: str, value: Any) -> None:
    """An error unless `value` is a bool: a tensor or a string here is a misplaced argument."""
    if value is not True and value is not False:
        raise error(argument, "a bool", repr(value))


def check_choice(argument: str, value: Any, choices: tuple[str, ...]) -> None:
    """An error unless `value` is one of a few words."""
    if value not in choices:
        raise error(argument, " or ".join(f'"{c}"' for c in choices), repr(value))


def common_fields(dtype: str, *operands: Tensor) -> dict[str, Value]:
    """The fields that every operation has; `operands` are the tensors that a kernel walks through, on one device."""
    states: dict[str, Value] = {name: state(operands) for name, state in STATES.items()}
    return {**ambient_fields(operands[0].device), "dtype": dtype, **states}


def _requires_grad(operands: Sequence[Tensor]) -> bool:
    import torch

    return torch.is_grad_enabled() and any(t.requires_grad for t in operands)


@lru_cache(maxsize=1)
def _plain_types() -> tuple[type[Tensor], ...]:
    import torch

    return (torch.Tensor, torch.nn.Parameter)


def _aligned(tensor: Tensor) -> bool:
    """Whether a tensor begins at a multiple of 16 bytes, and the rows of one that is not contiguous do."""
    if type(tensor) in _plain_types():
        begins = tensor.data_ptr() % 16 == 0
    else:  # a compiler traces with tensors that have no memory
        begins = tensor.storage_offset() * tensor.element_size() % 16 == 0
    if not begins or tensor.is_contiguous():
        return begins
    size = tensor.element_size()
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return all(step == 1 or length < 2 or step * size % 16 == 0 for length, step in steps)


STATES: Mapping[str, Callable[[Sequence[Any]], bool]] = {
    "contiguous": lambda operands: all(t.is_contiguous() for t in operands),
    "inner_contiguous": lambda operands: all(t.stride(-1) == 1 or t.shape[-1] < 2 for t in operands if t.ndim),
    "aligned": lambda operands: all(map(_aligned, operands)),
    "requires_grad": _requires_grad,
}
"""How tensors lie in memory and what will be asked of them: the fields that every operand has a part in."""


def ambient_fields(device: torch.device) -> dict[str, Value]:
    """The device, and what torch is set to do on it."""
    ambient: dict[str, Value] = {name: read(device) for name, read in AMBIENTS.items()}
    return {**device_fields(device), **ambient}


def _deterministic(device: torch.device) -> bool:
    import torch

    return torch.are_deterministic_algorithms_enabled()


def _capturing(device: torch.device) -> bool:
    import torch

    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


AMBIENTS: Mapping[str, Callable[[torch.device], bool]] = {
    "deterministic": _deterministic,
    "graph_capture": _capturing,
}


def given(**options: tuple[Any, Any]) -> dict[str, Any]:
    """`given(eps=(eps, 1e-6))`: the options that differ from their defaults, for the adapter's keywords."""
    # A tensor must not be compared: `tensor != None` goes through torch, and costs more than the whole decision.
    return {
        name: value
        for name, (value, default) in options.items()
        if value is not default and (default is None or value != default)
    }

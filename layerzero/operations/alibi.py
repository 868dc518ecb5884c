"""`lz.alibi`: the linear position bias of every head, as an additive mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzero.operations.call import Call, ParameterRole, Parameters
from layerzero.operations.tensors import ambient_fields, check_count, dtype_name, error

if TYPE_CHECKING:
    import torch

OPERATION = "alibi"

PARAMETERS: Parameters = {
    "num_heads": ParameterRole(("q_heads",)),
    "q_len": ParameterRole(("q_len",)),
    "kv_len": ParameterRole(("kv_len",)),
    "dtype": ParameterRole(("dtype",)),
    "device": ParameterRole(("device", "device_name", "sm")),
}


def read(
    num_heads: int,
    q_len: int,
    kv_len: int,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Call:
    """The bias [num_heads, q_len, kv_len], -slope * |i + kv_len - q_len - j|; fp32 on the CPU unless asked for."""
    check_count("num_heads", num_heads, "a number of heads, at least 1")
    check_count("q_len", q_len, "a length, at least 0", 0)
    check_count("kv_len", kv_len, "a length, at least 0", 0)
    import torch

    kwargs: dict[str, object] = {}
    if dtype is not None:
        if not isinstance(dtype, torch.dtype):
            raise error("dtype", "a torch.dtype", repr(dtype))
        kwargs["dtype"] = dtype
    if device is not None:
        kwargs["device"] = torch.device(device)
    example = torch.empty(0, dtype=dtype or torch.float32, device=device or "cpu")
    context = ambient_fields(example.device)
    context |= {"dtype": dtype_name("dtype", example), "q_heads": num_heads, "q_len": q_len, "kv_len": kv_len}
    return Call(OPERATION, context, (num_heads, q_len, kv_len), kwargs)


def answers(
    num_heads: int, q_len: int, kv_len: int, dtype: torch.dtype | None, device: torch.device | str | None
) -> list[torch.Tensor]:
    """Uninitialised answers of the right shapes, for a compiler."""
    import torch

    return [torch.empty(num_heads, q_len, kv_len, dtype=dtype or torch.float32, device=device or "cpu")]

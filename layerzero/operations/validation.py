"""Whether a call looks at the values of its index tensors: always on the CPU, on a device only where that is asked for.

Looking at a device waits for it, which no serving thread wants and a recording into a CUDA graph does not allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from layerzero.errors import ArgumentError

if TYPE_CHECKING:
    from torch import Tensor

Validation = Literal["arguments", "values"]

_of_devices = False


def check_validation(mode: object) -> None:
    """An error unless it is one of the two words."""
    if mode not in ("arguments", "values"):
        raise ArgumentError(f'argument `validate`: wanted "arguments" or "values", given {mode!r}')


def set_validation(mode: Validation) -> None:
    """ "values": look at the values of device tensors too, from now on; "arguments": not."""
    global _of_devices
    _of_devices = mode == "values"


def looks_at_values(tensor: Tensor, graph_capture: bool) -> bool:
    """Whether the values of a tensor are looked at; what a compiler traces with has none."""
    import torch

    if type(tensor) is not torch.Tensor or tensor.device.type == "meta":
        return False
    return tensor.device.type == "cpu" or (_of_devices and not graph_capture)

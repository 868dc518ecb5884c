"""torch devices -> the context fields device, device_name and sm, and the place of this process among the ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from layerzero.check.expressions import Value
from layerzero.errors import ArgumentError, MissingDependencyError

if TYPE_CHECKING:
    import torch

KINDS = ("cpu", "cuda", "hip", "xpu", "mps", "hpu", "npu", "meta")

_place: dict[str, Value] = {}


def set_place(fields: Mapping[str, Value]) -> None:
    """What every call of this process says of where it runs, beside its device: `{"tp": 4, "rank": 2}`."""
    global _place
    _place = dict(fields)
    device_fields.cache_clear()


@lru_cache(maxsize=64)
def device_fields(device: torch.device) -> Mapping[str, Value]:
    """`{"device": "cuda", "device_name": "NVIDIA H200", "sm": 90}`; do not change what it returns."""
    return {**_own_fields(device), **_place}


def _own_fields(device: torch.device) -> dict[str, Value]:
    import torch

    if device.type not in KINDS:
        raise ArgumentError(f"device: wanted one of {', '.join(KINDS)}, given `{device}`")
    if device.type != "cuda":
        return {"device": device.type}
    name = torch.cuda.get_device_name(device)
    if torch.version.hip is not None:
        return {"device": "hip", "device_name": name}
    major, minor = torch.cuda.get_device_capability(device)
    return {"device": "cuda", "device_name": name, "sm": 10 * major + minor}


def present_devices() -> Sequence[Mapping[str, Value]]:
    """The devices of this machine, the CPU first; none where torch is not installed."""
    try:
        import torch
    except ImportError:
        return ()
    found = [torch.device("cpu")]
    found += [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    found += [torch.device("xpu", i) for i in range(torch.xpu.device_count())]
    if torch.backends.mps.is_available():
        found.append(torch.device("mps"))
    return [device_fields(device) for device in found]


def default_device(device: torch.device | str | None) -> torch.device:
    """The device meant: the one given, else torch's default, else the first accelerator, else the CPU.

    Raises:
        ArgumentError: torch knows no such device.
        MissingDependencyError: torch is not installed.
    """
    try:
        import torch
    except ImportError as cause:
        raise MissingDependencyError("plans for devices need torch: install `layerzero[torch]`") from cause
    if device is not None:
        try:
            return torch.device(device)
        except RuntimeError as error:
            raise ArgumentError(f"argument `device`: {str(error).splitlines()[0]}") from error
    chosen = torch.get_default_device()
    if chosen.type != "cpu" or not torch.accelerator.is_available():
        return chosen
    return torch.accelerator.current_accelerator() or chosen

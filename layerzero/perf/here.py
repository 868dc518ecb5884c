"""This machine, as a measurement depends on it: the device's fields, and the versions of everything that runs there."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from layerzero.errors import ArgumentError, MissingDependencyError
from layerzero.operations.device import device_fields
from layerzero.perf.database import MachineInfo
from layerzero.semantics.environment import Environment

if TYPE_CHECKING:
    import torch


def device_named(name: str | None) -> torch.device:
    """`cuda:1`, `cpu`; None is the first GPU, or the CPU where there is none.

    Raises:
        ArgumentError: There is no such device here.
        MissingDependencyError: torch is not installed.
    """
    try:
        import torch
    except ImportError as cause:
        raise MissingDependencyError("measuring needs torch: install `layerzero[torch]`") from cause
    if name is None:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for a device
        raise ArgumentError(f"device `{name}`: {str(error).splitlines()[0]}") from error
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def machine_info(device: torch.device, environment: Environment) -> MachineInfo:
    """What the measurements of a device here are filed under."""
    import torch

    fields = dict(device_fields(device))
    versions = {"python": platform.python_version(), "torch": torch.__version__, **environment.packages}
    versions["torch"] = torch.__version__  # with the build, as `2.11.0+cu130`
    if device.type == "cuda":
        versions["cuda"] = str(torch.version.cuda)
        versions |= _driver()
    elif device.type == "cpu":
        fields["device_name"] = platform.processor() or platform.machine()
        versions["threads"] = str(torch.get_num_threads())
    return MachineInfo(fields, versions)


def _driver() -> dict[str, str]:
    """The version of NVIDIA's driver where the kernel tells it; torch does not know."""
    told = Path("/proc/driver/nvidia/version")
    found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", told.read_text()) if told.is_file() else None
    return {} if found is None else {"driver": found[0]}

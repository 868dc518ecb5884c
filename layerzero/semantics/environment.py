"""What a decision takes for granted about the machine: packages, import failures, adapters, breakers, the day.

Everything that can change while a process runs reaches a decision through an Environment, never by a look around.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

_ON = " on "


@dataclass(frozen=True)
class Environment:
    """One machine on one day.

    `assume_packages` is the offline mode: a package that `packages` does not list counts as present at an accepted
    version and the decision lists it under `assumed`.
    """

    packages: Mapping[str, str] = field(default_factory=dict)  # PEP 503 name -> installed version
    broken: Mapping[str, str] = field(default_factory=dict)  # installed package -> why it does not import
    no_adapter: Mapping[str, str] = field(default_factory=dict)  # kernel id -> why it cannot be called
    open_breakers: Mapping[str, str] = field(default_factory=dict)  # `on_device(...)` -> what opened the breaker
    stopped_arms: frozenset[tuple[str, str]] = frozenset()  # (experiment, arm) that a guard ended
    stop_reasons: Mapping[tuple[str, str], str] = field(default_factory=dict)  # of those, which guard and what it saw
    assume_packages: bool = False
    call_kernels: bool = True  # False: a question, nothing will be called, so kernels need no adapter
    today: date = date.min

    @property
    def offline(self) -> bool:
        """Whether decisions are answers to a question alone: a kernel without an adapter takes part."""
        return self.assume_packages or not self.call_kernels

    def breaker(self, kernel: str, device: object) -> str | None:
        """What opened the breaker of a kernel on this device, or on all; None where it is closed."""
        if not self.open_breakers:
            return None
        return self.open_breakers.get(kernel) or self.open_breakers.get(on_device(kernel, device))

    def breaker_devices(self, kernel: str) -> list[str]:
        """The devices on which, alone, the breaker of a kernel is open."""
        prefix = f"{kernel}{_ON}"
        return [name.removeprefix(prefix) for name in self.open_breakers if name.startswith(prefix)]

    @property
    def digest(self) -> str:
        """SHA-256 over everything that can change a decision."""
        parts = {
            "packages": dict(self.packages),
            "broken": dict(self.broken),
            "no_adapter": sorted(self.no_adapter),
            "open_breakers": sorted(self.open_breakers),
            "stopped_arms": sorted(map(list, self.stopped_arms)),
            "assume_packages": self.assume_packages,
            "offline": self.offline,
            "today": self.today.isoformat(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def on_device(kernel: str, device: object) -> str:
    """`flash_attn.v3 on cuda`: a breaker belongs to a kernel and a device; without a device, to all of them."""
    return f"{kernel}{_ON}{device}" if device else kernel

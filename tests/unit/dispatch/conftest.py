"""A dispatcher of one test's own: a small policy, kernels that are plain functions, no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from layerzero.backends.machine import ThisMachine
from layerzero.check.program import Scope
from layerzero.dispatch.call import Dispatcher
from layerzero.dispatch.registration import register
from layerzero.operations.call import Call
from layerzero.operations.device import present_devices
from layerzero.runtime.breakers import Breakers, BreakerSettings
from layerzero.runtime.engine import Engine
from layerzero.runtime.policy import Policy
from layerzero.syntax.source import Source

WORDS = """
field device: enum(cpu, cuda) = cpu
field size: int in 0..1000
field tenant: string
attribute in_place: bool = false
operation work { needs size optional device, tenant fallback spare.one }
kernel fast.one for work { priority 90 adapter "t:f" }
kernel fast.two for work { priority 80 adapter "t:f" }
kernel spare.one for work { priority 1 adapter "t:f" }
"""


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """What a test works with: `bench.call(size=3)` runs the kernel that is chosen and returns what it returned."""

    def __init__(self, text: str = "") -> None:
        self.machine = ThisMachine(lambda: [{"device": "cpu"}])
        self.engine = Engine(self.machine)
        self.clock = Clock()
        self.breakers = Breakers(self.engine, BreakerSettings(failures=3, cool_down=10.0), self.clock)
        self.dispatcher = Dispatcher(self.engine, self.machine, self.breakers)
        self.kernel("fast.one", lambda size: "fast.one")
        self.kernel("fast.two", lambda size: "fast.two")
        self.kernel("spare.one", lambda size: "spare.one")
        self.configure(text)

    def kernel(self, name: str, function: Callable[..., Any]) -> None:
        self.machine.registered[name] = function

    def configure(self, text: str) -> None:
        catalog = Source("small_catalog.lzp", WORDS)
        self.engine.configure(
            Policy.from_text('policy "small" standalone\n' + text, name="small.lzp", catalogs=[catalog])
        )

    words = WORDS

    def asked(self, size: int = 1) -> tuple[Scope, dict[str, Any]]:
        """Scope and values of the call, for deciding without calling."""
        return Scope("work"), {"size": size, "device": "cpu"}

    def call(self, size: int = 1, **context: Any) -> Any:
        return self.dispatcher.call(Call("work", {"size": size, "device": "cpu", **context}, (size,), {}))


@pytest.fixture
def bench() -> Bench:
    return Bench()


class Ahead:
    """This machine with the shipped policy, for what is decided ahead of calls.

    `ahead.policy(text)` puts a policy in force, `ahead.kernel(function, facts)` adds a kernel.
    """

    def __init__(self) -> None:
        self.machine = ThisMachine(present_devices)
        self.engine = Engine(self.machine)
        self.dispatcher = Dispatcher(self.engine, self.machine, Breakers(self.engine))

    def policy(self, text: str) -> None:
        self.engine.configure(Policy.from_text(text))

    def kernel(self, function: Callable[..., Any], facts: str) -> str:
        return register(self.engine, self.machine, function, facts)


@pytest.fixture
def ahead() -> Ahead:
    return Ahead()

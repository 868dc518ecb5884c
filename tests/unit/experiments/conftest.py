"""An engine with experiments, and kernels that are plain functions; no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from layerzero.backends.machine import ThisMachine
from layerzero.check.program import Scope
from layerzero.dispatch.call import Dispatcher
from layerzero.experiments.service import Experiments
from layerzero.operations.call import Call
from layerzero.runtime.breakers import Breakers, BreakerSettings
from layerzero.runtime.decision import Decision
from layerzero.runtime.engine import Engine
from layerzero.runtime.policy import Policy
from layerzero.semantics.experiments import arm_of
from layerzero.syntax.source import Source

WORDS = """
field device: enum(cpu, cuda) = cpu
field size: int in 0..1000
field tenant: string
operation work { needs size optional device, tenant fallback spare.one }
kernel good.one for work { priority 90 adapter "t:f" }
kernel new.one for work { priority 80 adapter "t:f" }
kernel spare.one for work { priority 1 adapter "t:f" }
"""
TRIAL = """
experiment trial on tenant {
  arm control 50%
  arm other 50% { boost new.one by 10 }
  guard error_rate < 1%
}
"""


class Bench:
    """`bench.call(size=3)` runs the kernel that is chosen; `bench.tenant("other")` is somebody in that arm."""

    def __init__(self, text: str = TRIAL) -> None:
        self.machine = ThisMachine(lambda: [{"device": "cpu"}])
        self.engine = Engine(self.machine)
        self.breakers = Breakers(self.engine, BreakerSettings(failures=10_000))
        self.dispatcher = Dispatcher(self.engine, self.machine, self.breakers)
        self.experiments = Experiments(self.engine, self.dispatcher)
        for name in ("good.one", "new.one", "spare.one"):
            self.kernel(name, lambda size, name=name: name)
        self.configure(text)

    def kernel(self, name: str, function: Callable[..., Any]) -> None:
        self.machine.registered[name] = function

    def policy(self, text: str) -> Policy:
        catalog = Source("small_catalog.lzp", WORDS)
        return Policy.from_text('policy "small" standalone\n' + text, name="small.lzp", catalogs=[catalog])

    def configure(self, text: str) -> None:
        self.engine.configure(self.policy(text))

    def call(self, size: int = 1) -> Any:
        return self.dispatcher.call(Call("work", {"size": size, "device": "cpu"}, (size,), {}))

    def decide(self, tenant: str) -> Decision:
        return self.engine.current().decide(Scope("work"), {"size": 1, "tenant": tenant})

    def tenants(self, arm: str, count: int, experiment: str = "trial") -> list[str]:
        """Different tenants whose arm that is."""
        found = self.engine.current().vocabulary.experiments[experiment]
        names = (f"t{number}" for number in range(1_000_000))
        return [name for name, _ in zip((n for n in names if arm_of(found, n) == arm), range(count), strict=False)]

    def fail(self, arm: str = "other", count: int = 30) -> None:
        """So many requests of an arm that fail."""
        for tenant in self.tenants(arm, count):
            self.experiments.outcome({"tenant": tenant}, error=True)
        self.experiments.settle()

    @property
    def stopped(self) -> tuple[tuple[str, str], ...]:
        self.experiments.settle()
        return self.engine.status().stopped_arms


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def make_bench() -> Callable[[str], Bench]:
    return Bench

"""A dispatcher without torch, policies of many rules, and threads that ask without a pause."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layerzero.backends.machine import ThisMachine
from layerzero.check.program import Scope
from layerzero.dispatch.call import Dispatcher
from layerzero.operations.call import Call
from layerzero.runtime.breakers import Breakers
from layerzero.runtime.building import Material
from layerzero.runtime.engine import Engine
from layerzero.runtime.policy import Policy
from layerzero.semantics.interpret import decide
from layerzero.syntax.source import Source

KERNELS = ("fast.one", "fast.two", "spare.one")
WORDS = """
field device: enum(cpu, cuda) = cpu
field size: int in 0..1000
field tenant: string
operation work { needs size optional device, tenant fallback spare.one }
kernel fast.one for work { priority 90 adapter "t:f" }
kernel fast.two for work { priority 80 adapter "t:f" }
kernel spare.one for work { priority 1 adapter "t:f" }
"""
CATALOG = Source("small_catalog.lzp", WORDS)
SIZES = range(0, 1001, 5)


class Bench:
    """An engine of its own with kernels that return their names."""

    def __init__(self) -> None:
        self.machine = ThisMachine(lambda: [{"device": "cpu"}])
        self.machine.registered.update({name: lambda size, name=name: name for name in KERNELS})
        self.engine = Engine(self.machine)
        self.breakers = Breakers(self.engine)
        self.dispatcher = Dispatcher(self.engine, self.machine, self.breakers)

    def call(self, size: int, **context: Any) -> Any:
        """What the chosen kernel returned: its name."""
        return self.dispatcher.call(Call("work", {"size": size, "device": "cpu", **context}, (size,), {}))

    def policy(self, text: str) -> Policy:
        return Policy.from_text('policy "small" standalone\n' + text, name="small.lzp", catalogs=[CATALOG])

    def close(self) -> None:
        self.breakers.close()
        self.engine.close()


def many_rules(name: str, seed: int, count: int = 1000) -> str:
    """A policy of many rules, each of which decides some size."""
    choose = random.Random(seed)
    sizes = choose.sample(range(1001), count)
    kinds = ("boost {} by 2", "quarantine {}", "boost {} by 0.5", "lock {}")
    lines = [
        f"{choose.choice(kinds).format(choose.choice(KERNELS[:2]))} for work when size == {size}" for size in sizes
    ]
    return "\n".join([f'policy "{name}" standalone', *lines, ""])


def material(file: Path) -> Material:
    """The policy of a file, read anew, upon the small catalog."""
    return Material(path=file, with_catalogs=(CATALOG,))


def answers(policy: Policy) -> dict[int, str | None]:
    """What the policy gives for each size, by the interpreter: the compiled matcher has no part in it."""
    environment = policy.environment
    return {
        size: decide(policy.program, environment, Scope("work"), {"size": size, "device": "cpu"}, {}).kernel
        for size in SIZES
    }


@contextmanager
def threads(count: int, turn: Callable[[int], None]) -> Iterator[list[BaseException]]:
    """Run `turn(number)` over and over in this many threads until the block ends; the list is what they raised."""
    over, failures = threading.Event(), list[BaseException]()

    def run(number: int) -> None:
        try:
            while not over.is_set():
                turn(number)
        except BaseException as error:  # noqa: BLE001 - handed to the test, which fails by it
            failures.append(error)

    running = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in running:
        thread.start()
    try:
        yield failures
    finally:
        over.set()
        for thread in running:
            thread.join(30.0)
            assert not thread.is_alive()

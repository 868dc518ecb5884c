"""A bench that telemetry watches, with a feed of its own."""

from __future__ import annotations

from layerzero.experiments.service import Experiments
from layerzero.telemetry.feed import Deciding, Feed
from tests.unit.runtime.log_bench import Logged

__all__ = ["Watched"]


class Watched(Logged):
    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.feed = Feed()
        self.experiments = Experiments(self.engine, self.dispatcher)
        dropped = lambda: self.logs.dropped  # noqa: E731
        self.feed.connect(Deciding(self.dispatcher, self.engine, self.breakers, dropped, self.experiments.totals))

    def broken(self, kernel: str) -> None:
        def fail(size: int) -> str:
            raise ValueError("no")

        self.kernel(kernel, fail)

"""A bench whose calls are logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from layerzero.dispatch.decision_logs import DecisionLogs
from layerzero.runtime.decision_log import DecisionLog
from tests.unit.dispatch.conftest import WORDS, Bench

__all__ = ["WORDS", "Bench", "Logged", "lines"]


class Logged(Bench):
    """`bench.log(destination, mode="every")` opens a log of the bench's calls."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.logs = DecisionLogs(self.dispatcher)

    def log(self, destination: Any = "memory", mode: Any = "every", **options: Any) -> DecisionLog:
        given = {"rate": 0.01, "capacity": 65_536, "max_bytes": None, "keep": 5, "snapshots": "beside", **options}
        return self.logs.open(destination, mode, **given)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]

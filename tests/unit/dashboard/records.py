"""Records as a decision log has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from layerzero.runtime.record import SCHEMA

NOON = "2026-11-25T12:00:00.000000Z"
NOON_SECONDS = 1795608000.0


def record(**given: Any) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "time": NOON,
        "operation": "work",
        "values": {"size": 3},
        "arms": {},
        "kernel": "fast.one",
        "score": 90,
        "degraded": False,
        "error": None,
        "raised": None,
        "recovered_from": [],
        "locked_by": [],
        "ordered_by": [],
        "epoch": 1,
        "policy": {"name": "small", "version": "1", "digest": "d" * 64},
        "environment": "e" * 64,
        "snapshot": "a" * 64,
        "request_id": None,
        "seconds": 0.001,
        "count": 1,
        "id": None,
        **given,
    }


def write(path: Path, *records: dict[str, Any]) -> None:
    with path.open("a", encoding="ascii") as file:
        file.writelines(json.dumps(one) + "\n" for one in records)

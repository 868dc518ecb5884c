"""A YAML policy under `lz.configure(..., watch=...)`, built in the worker process like any other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import layerzero as lz
from layerzero.backends.machine import ThisMachine
from layerzero.runtime.engine import Engine
from layerzero.runtime.live import Live
from layerzero.semantics.context import read_context

CALL = {"operation": "attention.causal", "device": "cpu", "dtype": "fp32", "batch": 8, "q_len": 4, "kv_len": 4}
CALL |= {"q_heads": 2, "kv_heads": 2, "head_dim": 16}


def policy(batch: int) -> str:
    return (
        'version: "1.0"\nlocks:\n  - operation: "attention.causal"\n    backend: "reference.attention"\n'
        f"    name: pinned\n    condition: {{is_causal: true, dtype: float32, batch_size: {batch}}}\n"
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 60 s"
        time.sleep(0.01)


def test_edits_are_followed_and_places_are_those_of_the_yaml(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(policy(8), encoding="utf-8")
    engine = Engine(ThisMachine(lambda: [{"device": "cpu"}]))
    live = Live(engine)
    failures: list[Any] = []

    def decide() -> lz.Decision:
        snapshot = engine.current()
        return snapshot.decide(*read_context(snapshot.program, CALL))

    try:
        live.configure(path, watch="poll", on_failure=failures.append, interval=0.02)
        assert decide().kernel == "reference.attention"
        assert "policy.yaml:3:5" in str(decide().explain())
        path.write_text(policy(9), encoding="utf-8")
        wait_until(lambda: decide().locked_by == ())
        path.write_text(policy(8).replace("condition", "conditon"), encoding="utf-8")
        wait_until(lambda: bool(failures))
        assert decide().locked_by == ()
        (finding,) = failures[0].diagnostics
        assert (finding.code, finding.span.line, finding.span.column) == ("LZ106", 6, 5)
        path.write_text(policy(8), encoding="utf-8")
        wait_until(lambda: decide().locked_by == ("pinned",))
    finally:
        live.stop()
        engine.close()

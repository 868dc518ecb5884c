"""Contexts, a program's own answers and a policy -> the rows on which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layerzero.runtime.policy import Policy

ROOT = Path(__file__).resolve().parents[2]
Context = dict[str, Any]
Row = tuple[Context, str | None, str | None]
"""A context, the program's answer and ours; None where no kernel may serve."""


def differences(name: str, contexts: Sequence[Context], wanted: Sequence[str | None]) -> list[Row]:
    """The rows on which `policies/examples/NAME.lzp` does not choose what the program does."""
    policy = Policy.load(ROOT / "policies" / "examples" / f"{name}.lzp")
    given = [policy.decide({"operation": "attention", **context}).kernel for context in contexts]
    return [row for row in zip(contexts, wanted, given, strict=True) if row[1] != row[2]]

"""What a check hands out: findings, and doubts where a question was too large to answer."""

from __future__ import annotations

import json
from dataclasses import dataclass

from layerzero.check.program import Rule
from layerzero.regions.region import Witness
from layerzero.syntax.diagnostics import Diagnostic


@dataclass(frozen=True, slots=True)
class Doubt:
    """A question that was not decided: never reported as a fault, never counted as proved to be fine."""

    check: str  # `conflicting_locks`
    subject: str  # the rules that it is about
    reason: str


Answer = Diagnostic | Doubt


def called(rule: Rule) -> str:
    """A rule in a message: its name, or its place where it has none."""
    return f"`{rule.name}`" if rule.named else f"the {rule.kind} at {rule.name}"


def shown(witness: Witness) -> str:
    """`operation = attention, dtype = bf16, batch = 8`, with the packages that it supposes."""
    parts = [f"{name} = {_plain(value)}" for name, value in witness.context.items()]
    parts += [f"package {name} =={version}" for name, version in witness.packages.items()]
    return ", ".join(parts)


def _plain(value: object) -> str:
    return value if isinstance(value, str) and value.isidentifier() else json.dumps(value, ensure_ascii=False)

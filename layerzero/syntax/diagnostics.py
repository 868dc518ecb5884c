"""Findings: a stable code, a place, what was expected and got, and a way out. Errors are collected, never raised one
by one; the caller decides when a list of them ends the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal as OneOf

from layerzero.syntax.source import Span

Severity = OneOf["error", "warning"]


@dataclass(frozen=True, slots=True)
class Label:
    """A further place that belongs to the finding: where the expectation came from."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """`error[LZ201]: unknown field `head_dims``, with the place, a label under the caret and a help line."""

    code: str  # `LZ201`, from syntax/codes.py
    message: str  # lower case, no full stop, the user's text in backquotes
    span: Span
    label: str = ""  # beside the caret
    help: str = ""
    labels: tuple[Label, ...] = ()
    witness: dict[str, Any] | None = field(default=None)  # a context that shows it, as `lz decide` reads one

    @property
    def severity(self) -> Severity:
        from layerzero.syntax.codes import CODES

        return CODES[self.code].severity

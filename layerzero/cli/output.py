"""What commands print: colours only on a terminal, findings as text, JSON one way for all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, cast

from layerzero.errors import PolicyError

if TYPE_CHECKING:
    from layerzero.syntax.diagnostics import Diagnostic

UNREADABLE = ("LZ001", "LZ008")


@dataclass(frozen=True, slots=True)
class Style:
    """Paints words, or leaves them as they are."""

    color: bool

    def good(self, text: str) -> str:
        return self._paint("32", text)

    def bad(self, text: str) -> str:
        return self._paint("1;31", text)

    def warn(self, text: str) -> str:
        return self._paint("33", text)

    def quiet(self, text: str) -> str:
        return self._paint("2", text)

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.color and text else text


def style(stream: TextIO | None = None) -> Style:
    """Colours for a terminal that takes them; https://no-color.org is respected."""
    stream = sys.stdout if stream is None else stream
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Style(wanted and stream.isatty())


def print_json(data: Any) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=2))


def print_findings(findings: Sequence[Diagnostic], stream: TextIO) -> None:
    from layerzero.syntax.render import render

    print(render(findings, color=style(stream).color), file=stream)


def counted(number: int, noun: str) -> str:
    """`1 finding`, `2 findings`"""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def code_of(findings: Sequence[Diagnostic]) -> int:
    """Warnings count; a file that cannot be read is not a finding about a policy."""
    if any(finding.code in UNREADABLE for finding in findings):
        return 2
    return 1 if findings else 0


def report(error: PolicyError) -> int:
    """Show why nothing could be decided."""
    findings = [one for one in cast("tuple[Diagnostic, ...]", error.diagnostics) if one.severity == "error"]
    if not findings:
        print(f"lz: {style(sys.stderr).bad('error')}: {error}", file=sys.stderr)
        return 2
    print_findings(findings, sys.stderr)
    print(f"{counted(len(findings), 'error')}: nothing can be decided", file=sys.stderr)
    return code_of(findings)

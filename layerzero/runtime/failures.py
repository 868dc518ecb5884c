"""What is known of a policy that could not be loaded, and of files that are watched: plain data for status and logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal as OneOf

from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.source import Source, Span

State = OneOf["current", "failed", "unsettled"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A policy that was refused: why, and what is in force instead.

    Attributes:
        path: What was to be loaded, as it was given.
        message: For people; holds every diagnostic.
        diagnostics: Every finding; none where there is no file, or a limit was passed.
        candidate: SHA-256 over the files as they were read; tells one failed state of the files from another.
        first: When it was first seen.
        in_force: The digest of the policy that stays in force.
    """

    path: str
    message: str
    diagnostics: tuple[Diagnostic, ...]
    candidate: str
    first: datetime
    in_force: str


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """How the files of the policy in force are watched.

    Attributes:
        path: As it was given.
        state: "current": what is in the files is in force. "failed": it was refused, see `failure`. "unsettled": it
            keeps changing while it is read.
        how: "events and polling", or "polling" with the reason in parentheses.
        candidate: SHA-256 over the files as they were read last.
        failure: Why the last good policy is in force instead of the files.
        reloads: How often the files were put in force since watching began.
        last_good: The file that keeps the last good policy, and what is wrong with it; None where none was asked for.
    """

    path: str
    state: State
    how: str
    candidate: str
    failure: Failure | None = None
    reloads: int = 0
    last_good: str | None = None


@dataclass
class Sources:
    """A table of sources, for data that refers to them by number."""

    all: list[Source] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)

    def number(self, source: Source) -> int:
        """The place of a source in the table."""
        found = self._numbers.get(id(source))  # equal sources are few; comparing their texts would cost more
        if found is None:
            found = self._numbers[id(source)] = len(self.all)
            self.all.append(source)
        return found


def finding_data(finding: Diagnostic, sources: Sources) -> dict[str, Any]:
    """A diagnostic as JSON's types, its places as numbers."""
    return {
        "code": finding.code,
        "message": finding.message,
        "span": _span_data(finding.span, sources),
        "label": finding.label,
        "help": finding.help,
        "labels": [[_span_data(one.span, sources), one.text] for one in finding.labels],
        "witness": finding.witness,
    }


def finding_from(data: Mapping[str, Any], sources: list[Source]) -> Diagnostic:
    """What `finding_data` wrote."""
    return Diagnostic(
        code=data["code"],
        message=data["message"],
        span=_span(data["span"], sources),
        label=data["label"],
        help=data["help"],
        labels=tuple(Label(_span(span, sources), text) for span, text in data["labels"]),
        witness=data["witness"],
    )


def _span_data(span: Span, sources: Sources) -> list[int]:
    return [sources.number(span.source), span.start, span.end]


def _span(data: list[int], sources: list[Source]) -> Span:
    number, start, end = data
    return Span(sources[number], start, end)

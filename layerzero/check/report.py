"""Collects the findings of one check. Each problem is said once, at its cause; what depends on it stays silent."""

from __future__ import annotations

from collections.abc import Iterable

from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.source import Span
from layerzero.syntax.suggest import suggest


class Report:
    """Findings in the order they are met; `ordered` gives them in the order of the text."""

    def __init__(self) -> None:
        self._findings: dict[tuple[str, str, int, int], Diagnostic] = {}

    def add(
        self, code: str, message: str, span: Span, label: str = "", help: str = "", also: tuple[Label, ...] = ()
    ) -> None:
        # A define is typed wherever it is used: the same fault in it is one finding.
        key = (code, span.source.name, span.start, span.end)
        self._findings.setdefault(key, Diagnostic(code, message, span, label, help, also))

    def extend(self, findings: Iterable[Diagnostic]) -> None:
        for finding in findings:
            span = finding.span
            self._findings.setdefault((finding.code, span.source.name, span.start, span.end), finding)

    def unknown(self, code: str, what: str, word: str, known: Iterable[str], span: Span, of: str = "") -> None:
        """An unknown name, with the nearest known ones or, where none is near, a few of all."""
        names = sorted(set(known))
        near = suggest(word, names)
        if near:
            help = "did you mean " + " or ".join(f"`{name}`" for name in near) + "?"
        elif names:
            shown = ", ".join(f"`{name}`" for name in names[:8])
            help = f"known: {shown}" + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        else:
            help = f"no {what} is declared"
        self.add(code, f"unknown {what} `{word}`{of}", span, "", help)

    @property
    def failed(self) -> bool:
        return any(finding.severity == "error" for finding in self._findings.values())

    def failed_within(self, span: Span) -> bool:
        """Whether an error lies in a stretch of text: what is missing there may be what could not be read."""
        name = span.source.name
        return any(
            found.severity == "error" and found.span.source.name == name and span.start <= found.span.start < span.end
            for found in self._findings.values()
        )

    @property
    def ordered(self) -> tuple[Diagnostic, ...]:
        return tuple(sorted(self._findings.values(), key=lambda f: (f.span.source.name, f.span.start, f.code)))

"""LZ603: a quarantine without `until`.

**What it does.** Wants a last day on every `quarantine`.

**Why.** Bugs are mended and nobody looks again: a kernel stays out for years. With a day, the question comes up by
itself, as LZ502. A quarantine that states a law (what a kernel can never do) may stand for ever: say so in place.

**Avoid**

    quarantine flashinfer.* for attention when sm == 120 because "illegal access, flashinfer#1234"

**Prefer**

    quarantine flashinfer.* for attention when sm == 120 because "illegal access, flashinfer#1234" until 2027-03-01
"""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.analysis.findings import called
from layerzero.analysis.lint.subject import Subject
from layerzero.syntax.diagnostics import Diagnostic


def check(subject: Subject) -> Iterator[Diagnostic]:
    for rule in subject.rules("quarantine"):
        if rule.until is None:
            yield Diagnostic(
                "LZ603",
                f"{called(rule)} has no end",
                rule.span,
                "no `until`",
                "add `until YYYY-MM-DD`, the day to look again; or `# lint: allow endless_quarantine`",
            )

"""LZ502: a rule's `until` has passed.

**What it does.** Compares `until` with the day that `--now` gives, or today.

**Why it is bad.** The rule no longer applies and only misleads its readers; nothing else says that it ended.

**Avoid**

    quarantine flashinfer.* for attention when sm == 120 until 2024-03-01

**Prefer** to delete it, or to extend it for a reason

    quarantine flashinfer.* for attention when sm == 120 until 2027-03-01 because "flashinfer#1234 is still open"
"""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.analysis.findings import Answer, called
from layerzero.analysis.ground import Ground
from layerzero.syntax.diagnostics import Diagnostic


def check(ground: Ground) -> Iterator[Answer]:
    program, today = ground.program, ground.today
    for rule in program.rules:
        if rule.until is not None and rule.until <= today:
            days = (today - rule.until).days
            ago = "today" if days == 0 else f"{days} day{'s' if days != 1 else ''} ago"
            yield Diagnostic(
                "LZ502",
                f"{called(rule)} expired on {rule.until} ({ago})",
                rule.span,
                "it no longer applies",
                "delete it, or give it a later date" + (f" (owner: {rule.owner})" if rule.owner else ""),
            )

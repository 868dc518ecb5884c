"""LZ602: a quarantine without `because`.

**What it does.** Wants a reason on every `quarantine`.

**Why.** A quarantine takes a kernel away whatever the policy prefers, and stays long after the bug is forgotten.
Without the reason nobody dares to remove it, and `lz explain` can only say that it is there.

**Avoid**

    quarantine flashinfer.* for attention when sm == 120 until 2027-03-01

**Prefer**

    quarantine flashinfer.* for attention when sm == 120 until 2027-03-01 because "illegal access, flashinfer#1234"
"""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.analysis.findings import called
from layerzero.analysis.lint.subject import Subject
from layerzero.syntax.diagnostics import Diagnostic


def check(subject: Subject) -> Iterator[Diagnostic]:
    for rule in subject.rules("quarantine"):
        if not rule.because:
            yield Diagnostic(
                "LZ602",
                f"{called(rule)} does not say why",
                rule.span,
                "no `because`",
                'add `because "..."`: the fault that was seen, and where it is tracked',
            )

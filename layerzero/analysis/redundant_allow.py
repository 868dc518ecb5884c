"""LZ514: an allow that adds nothing.

**What it does.** Compares, wherever an allow applies, the decision with the decision without it. Where they are
provably the same, the allow neither lets a kernel in nor keeps one out.

**Why it is bad.** A reader takes each allow for a part of what may run.

**Avoid**

    allow {flashinfer, torch} for attention
    allow torch.sdpa_math for attention when batch > 8

**Prefer** the wider one alone

    allow {flashinfer, torch} for attention
"""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.analysis.findings import Answer
from layerzero.analysis.ground import Ground
from layerzero.analysis.shadowed_rule import examine


def check(ground: Ground) -> Iterator[Answer]:
    for rule in ground.rules("allow"):
        yield from examine(ground, rule, "redundant_allow", "LZ514")

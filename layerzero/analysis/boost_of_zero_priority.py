"""LZ504: a boost of a kernel whose priority is 0.

**What it does.** Looks for boosts among whose targets is a kernel with priority 0.

**Why it is bad.** Boosts multiply. Nothing times 0 is more than 0, so the boost changes nothing for that kernel.

**Avoid**

    kernel acme.decode for attention { priority 0 }
    boost acme.decode by 10

**Prefer** a priority of at least 1 in the kernel's facts, or an order

    order acme.decode > * for attention
"""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.analysis.findings import Answer, called
from layerzero.analysis.ground import Ground
from layerzero.analysis.reach import in_force
from layerzero.syntax.diagnostics import Diagnostic, Label


def check(ground: Ground) -> Iterator[Answer]:
    program, today = ground.program, ground.today
    for rule in in_force(program, "boost", today):
        zero = [program.kernels[name] for name in sorted(rule.kernels) if program.kernels[name].priority == 0]
        if zero:
            names = ", ".join(f"`{kernel.id}`" for kernel in zero[:4]) + (" and more" if len(zero) > 4 else "")
            yield Diagnostic(
                "LZ504",
                f"{called(rule)} boosts {names}, whose priority is 0",
                rule.span,
                f"0 times {rule.factor:g} is still 0",
                "give the kernel a priority of at least 1, or use an `order`",
                tuple(Label(kernel.span, "priority 0 is set here") for kernel in zero[:1]),
            )

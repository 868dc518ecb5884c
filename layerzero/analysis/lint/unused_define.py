"""LZ604: a `define` that nothing uses.

**What it does.** Looks for each defined name in every condition, default and define of the program, its tests among
them.

**Why.** A define without a use misleads: readers take it for part of the policy. Often a rule spells its condition
out beside it, and one of the two is changed alone.

**Avoid**

    define long_decode = phase == decode and kv_len >= 8Ki
    lock flashinfer.decode for attention.decode when kv_len >= 16Ki

**Prefer** to use it, or to delete it

    define long_decode = phase == decode and kv_len >= 8Ki
    lock flashinfer.decode for attention.decode when long_decode
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from layerzero.analysis.lint.subject import Subject
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic


def check(subject: Subject) -> Iterator[Diagnostic]:
    defines = [one for one in subject.statements() if isinstance(one, nodes.Define)]
    if not defines:
        return
    used = {name for tree in subject.trees for name in _names(tree)}
    for define in defines:
        if define.name.text not in used:
            yield Diagnostic(
                "LZ604",
                f"`{define.name.text}` is used nowhere",
                define.name.span,
                "defined, and not read",
                "use it in a condition, or delete it; the files that were looked at are those of one program",
            )


def _names(node: object) -> Iterator[str]:
    """Every bare word of the expressions below a node."""
    if isinstance(node, nodes.Name):
        yield node.text
    elif isinstance(node, nodes.Node):
        for part in fields(node):
            yield from _names(getattr(node, part.name))
    elif isinstance(node, tuple):
        for part in node:
            yield from _names(part)

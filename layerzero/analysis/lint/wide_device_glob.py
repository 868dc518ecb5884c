"""LZ605: a glob on `device_name` that matches more devices than it seems to mean.

**What it does.** Compares each `device_name like "..."` with the devices that are declared. Where the glob's word is a
whole word of one device's name and only the beginning or the end of a longer word in another's, the other is reported:
`"*A10*"` means the A10 and matches the A100.

**Why.** The rule holds on machines that nobody thought of. It shows up as a slower kernel on a paid GPU.

**Avoid**

    deny flash_attn.v3 when device_name like "*A10*"

**Prefer** a number that says what is meant, or a glob that ends where the name does

    deny flash_attn.v3 when has(sm) and sm == 86
    deny flash_attn.v3 when device_name like "* A10"
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from layerzero.analysis.lint.subject import Subject
from layerzero.check.expressions import FieldValue, Like, walk
from layerzero.check.program import Program
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.glob import like
from layerzero.syntax.source import Span

_FIELD = "device_name"
_SHOWN = 3


def check(subject: Subject) -> Iterator[Diagnostic]:
    names = _device_names(subject.program)
    for glob in _globs(subject):
        meant, more = _split(glob.pattern, names)
        if meant and more:
            shown = ", ".join(f"`{device}` ({names[device]})" for device in more[:_SHOWN])
            rest = f" and {len(more) - _SHOWN} more" if len(more) > _SHOWN else ""
            yield Diagnostic(
                "LZ605",
                f'"{glob.pattern}" matches more than `{meant[0]}`: also {shown}{rest}',
                glob.span,
                f"`{names[meant[0]]}` has this as a whole word",
                "compare `sm` or `arch` for a generation, or let the glob end where the name ends",
            )


def _globs(subject: Subject) -> list[Like]:
    """The globs on the field in the reader's own rules and facts, each place once."""
    program = subject.program
    conditions = [rule.condition for rule in program.rules]
    for kernel in program.kernels.values():
        conditions += [part for one in kernel.requirements for part in (one.condition, one.when)]
        conditions += [one.when for one in kernel.supports]
    for operation in program.operations.values():
        conditions += [*operation.views.values(), *operation.features.values()]
    found: dict[tuple[str, int], Like] = {}
    for condition in conditions:
        for part in walk(condition) if condition is not None else ():
            if isinstance(part, Like) and _reads_device(part) and subject.reports(part.span):
                found.setdefault(_place(part.span), part)
    return list(found.values())


def _reads_device(glob: Like) -> bool:
    return isinstance(glob.operand, FieldValue) and glob.operand.name == _FIELD


def _place(span: Span) -> tuple[str, int]:
    return span.source.name, span.start


def _device_names(program: Program) -> dict[str, str]:
    """Device -> its own name, for those that state one."""
    stated = ((name, bundle.values.get(_FIELD)) for name, bundle in sorted(program.devices.items()))
    return {name: text for name, text in stated if isinstance(text, str)}


def _split(pattern: str, names: dict[str, str]) -> tuple[list[str], list[str]]:
    """The devices that a glob matches: those that have its word whole, and those that have it inside a longer one."""
    words = [word for word in re.split(r"[*?\[\]]+", pattern) if word.strip()]
    matched = [device for device, text in names.items() if like(text, pattern)]
    if not words:
        return [], []
    whole = [device for device in matched if all(_is_whole(word.strip(), names[device]) for word in words)]
    return whole, [device for device in matched if device not in whole]


def _is_whole(word: str, text: str) -> bool:
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}(?![A-Za-z0-9])", text) is not None

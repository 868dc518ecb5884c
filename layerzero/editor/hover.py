"""A place -> what its word means, as Markdown: a field's type, a kernel's facts, what a rule does to calls."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from fnmatch import fnmatchcase
from time import monotonic

from layerzero.analysis.effect import Changes, Nothing, effect
from layerzero.analysis.findings import called, shown
from layerzero.analysis.ground import Ground
from layerzero.check.program import Kernel, Program, Rule
from layerzero.editor.symbols import Symbol
from layerzero.editor.workspace import View

_MOST = 12  # kernels of a pattern
_PATIENCE = 2.0  # seconds that somebody waits for what a rule does


def hover(view: View, source: str, offset: int, today: date) -> str | None:
    """What stands at a place, or None where nothing does that has a meaning of its own."""
    program = view.checked.program
    rule = None if program is None else _rule_at(program, source, offset)
    symbol = view.symbols.at(source, offset)
    if symbol is None:
        return None if rule is None or program is None else _rule(program, rule, today)
    if symbol.kind == "rule" and program is not None:
        named = next((one for one in program.rules if one.named and one.name == symbol.name), None)
        if named is not None:
            return _rule(program, named, today)
    if symbol.kind == "kernel" and program is not None:
        return _kernels(program, symbol.name)
    declared = next((other for other in view.symbols.same(symbol) if other.declares), None)
    return None if declared is None else _declaration(declared)


def _rule_at(program: Program, source: str, offset: int) -> Rule | None:
    """The rule whose keyword stands at a place."""
    for rule in program.rules:
        span = rule.span
        if span.source.name == source and span.start <= offset <= span.start + len(rule.kind):
            return rule
    return None


def _declaration(symbol: Symbol) -> str:
    """The statement, or the line of its block, that declares a word, as it is written."""
    source, line = symbol.span.source, symbol.span.line
    return f"{_code(source.line(line).strip())}\n\n{symbol.kind}, declared at {symbol.span}"


def _code(text: str) -> str:
    return f"```lzp\n{text}\n```"


# ---------------------------------------------------------------- kernels


def _kernels(program: Program, pattern: str) -> str | None:
    pattern = program.aliases.kernels.get(pattern, pattern)
    if pattern in program.kernels:
        return "\n".join(_kernel(program.kernels[pattern]))
    found = sorted(
        kernel.id for kernel in program.kernels.values() if kernel.backend == pattern or fnmatchcase(kernel.id, pattern)
    )
    if not found:
        return None
    more = f"\n- and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return f"`{pattern}` matches\n\n" + "\n".join(f"- `{one}`" for one in found[:_MOST]) + more


def _kernel(kernel: Kernel) -> Iterator[str]:
    scopes = ", ".join(f"`{scope}`" for scope in kernel.scopes)
    yield f"**{kernel.id}** for {scopes}, priority {kernel.priority}\n"
    if kernel.doc:
        yield f"{kernel.doc}\n"
    for line in kernel.packages:
        yield f"- `{line.span.text}`"
    for requirement in kernel.requirements:
        yield f"- `{requirement.span.text}`"
    always = [one.feature for one in kernel.supports if one.when is None]
    if always:
        yield f"- supports {', '.join(f'`{feature}`' for feature in always)}"
    for support in kernel.supports:
        if support.when is not None:
            yield f"- supports `{support.feature}` when `{support.when.span.text}`"
    yield f"\nfacts at {kernel.span}" + (f", read from {kernel.sources[0]}" if kernel.sources else "")


# ---------------------------------------------------------------- rules


def _rule(program: Program, rule: Rule, today: date) -> str:
    """What the rule says, and what would be otherwise without it."""
    parts = [_code(rule.span.text)]
    if rule.until is not None and rule.until <= today:
        parts.append(f"expired on {rule.until}: it applies no more")
    else:
        parts.append(_effect(program, rule, today))
    return "\n\n".join(parts)


def _effect(program: Program, rule: Rule, today: date) -> str:
    end = monotonic() + _PATIENCE
    match effect(Ground(program, today, lambda: monotonic() > end), rule):
        case Changes(witness=witness, before=before, without=without):
            return f"gives `{before.text}`, without it `{without.text}`; for example in\n\n`{shown(witness)}`"
        case Nothing(by=by):
            others = f": {', '.join(map(called, by))} already decide so" if by else ""
            return f"changes no call{others}"
        case unknown:
            return f"what it changes was not decided: {unknown.reason}"

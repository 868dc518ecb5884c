"""`# lint: allow NAME, NAME because ...` -> findings that are not shown; and LZ600 for what no finding needs.

The warnings of `lz check` are allowed in the same way, with `# check: allow NAME`; errors are not. A comment speaks
of the statement (or the rule of an arm) that it stands in, behind, or directly above.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.source import Span
from layerzero.syntax.suggest import did_you_mean

_ALLOW = re.compile(r"#+\s*\w+\s*:\s*allow\s+(?P<names>\w+(?:\s*,\s*\w+)*)\s*(?:because\b.*)?")
UNUSED = "unused_suppression"


@dataclass
class Suppression:
    """One comment: the names that it allows, the statement that it is for (None: none), which of them were needed."""

    names: tuple[str, ...]
    span: Span
    statement: Span | None
    needed: set[str] = field(default_factory=set)


def apply(
    files: Iterable[nodes.File],
    known: Sequence[str],
    findings: Iterable[tuple[str, Diagnostic]],
    word: str = "lint",
    unused: bool = True,
) -> Iterator[Diagnostic]:
    """The findings that are not allowed in place, and one for each suppression that nothing needs.

    Args:
        files: whose comments count.
        known: the names of all lints.
        findings: each with the name of its lint.
        word: what the comments begin with.
        unused: whether to report those that nothing needs.
    """
    suppressions = [one for file in files for one in _in_file(file, word)]
    for name, finding in findings:
        allowing = [one for one in suppressions if name in one.names] if name in known else []
        matching = [one for one in allowing if _holds(one.statement, finding.span)]
        if matching:
            min(matching, key=_width).needed.add(name)
        else:
            yield finding
    for one in suppressions:
        yield from _unused(one, known, word) if unused else ()


def _holds(statement: Span | None, span: Span) -> bool:
    if statement is None or span.source is not statement.source:
        return False
    return statement.start <= span.start < statement.end


def _width(one: Suppression) -> int:
    return 0 if one.statement is None else one.statement.end - one.statement.start


def _unused(one: Suppression, known: Sequence[str], word: str) -> Iterator[Diagnostic]:
    if not one.names:
        help = f"write `# {word}: allow NAME`, several names with commas, then `because` and a reason if you like"
        yield Diagnostic("LZ600", "the comment is no suppression", one.span, "not understood", help)
    for name in one.names:
        if name not in known:
            help = did_you_mean(name, list(known)) or f"known: {', '.join(known)}"
            yield Diagnostic("LZ600", f"no {word} is called `{name}`", one.span, "unknown name", help)
        elif name not in one.needed:
            what = "no statement follows it" if one.statement is None else f"`{name}` finds nothing here"
            yield Diagnostic("LZ600", f"`{name}` is allowed for nothing", one.span, what, "delete the name")


def _in_file(file: nodes.File, word: str) -> Iterator[Suppression]:
    begins = re.compile(rf"#+\s*{word}\s*:")
    units = _units(file)
    for comment in file.comments:
        if begins.match(comment.text):
            found = _ALLOW.fullmatch(comment.text.strip())
            names = tuple(re.split(r"\s*,\s*", found["names"])) if found else ()
            yield Suppression(names, comment.span, _statement(comment, units, file))


def _units(file: nodes.File) -> list[Span]:
    """The places that a comment can speak of, the narrower ones last."""
    found = [statement.span for statement in file.statements]
    for statement in file.statements:
        if isinstance(statement, nodes.Experiment):
            found += [rule.span for arm in statement.arms for rule in arm.rules]
    return found


def _statement(comment: nodes.Comment, units: list[Span], file: nodes.File) -> Span | None:
    place, line = comment.span.start, comment.span.line
    inside = [span for span in units if span.start <= place < span.end]
    if comment.trailing:
        behind = [span for span in units if span.end <= place and _last_line(span) == line]
        return next(reversed(behind or inside), None)
    taken = {one.span.line for one in file.comments if not one.trailing}
    while line + 1 in taken:
        line += 1
    below = [span for span in units if span.line == line + 1]
    return next(reversed(below or inside), None)


def _last_line(span: Span) -> int:
    return span.source.position(max(span.start, span.end - 1))[0]

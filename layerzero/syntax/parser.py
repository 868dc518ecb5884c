"""Source -> File and every finding of the text. One error does not hide the next: reading goes on at the next
statement, or the next line of the same block."""

from __future__ import annotations

import functools

from layerzero.syntax import nodes, tables
from layerzero.syntax.automaton import Automaton, Stop, TooLarge
from layerzero.syntax.builder import Builder
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.source import Source, Span


def parse(source: Source) -> tuple[nodes.File | None, list[Diagnostic]]:
    """The tree of `source` and what is wrong with it; the tree lacks what could not be read."""
    builder = Builder(source)
    try:
        _automaton().run(source.text, 0, builder.make)
    except Stop as stop:
        builder.error("LZ100", "syntax error", Span(source, stop.offset, stop.offset + 1))
    except TooLarge as limit:
        builder.error("LZ003", limit.message, Span(source, limit.offset, limit.offset + 1))
    return nodes.File(tuple(builder.statements), (), span=Span(source, 0, len(source.text))), builder.diagnostics


@functools.cache
def _automaton() -> Automaton:
    return Automaton(tables.load())

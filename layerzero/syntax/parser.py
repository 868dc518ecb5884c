"""Source -> File and every finding of the text. One error does not hide the next: reading goes on at the next line
of the same block, or else at the next statement."""

from __future__ import annotations

import functools

from layerzero.syntax import nodes, recovery, tables
from layerzero.syntax.automaton import Automaton, StopError, TooLargeError
from layerzero.syntax.builder import Builder
from layerzero.syntax.comments import comments_in
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.limits import MAX_DIAGNOSTICS, MAX_EFFORT, MAX_FILE_BYTES, MAX_RECOVERIES
from layerzero.syntax.source import Source, Span
from layerzero.syntax.syntax_errors import explain


def parse(source: Source) -> tuple[nodes.File | None, list[Diagnostic]]:
    """The tree of `source` and what is wrong with its text, in the order of the text.

    The tree lacks the statements, or the lines of a block, that could not be read. It is None where nothing was
    read at all: a text beyond the limits, or one with a NUL in it.
    """
    if refused := _refuse(source):
        return None, [refused]
    builder = Builder(source)
    blanks: list[tuple[int, int]] = []
    try:
        _read(source, builder, blanks)
    except TooLargeError as limit:
        place = Span(source, limit.offset, min(limit.offset + 1, len(source.text)))
        builder.error(
            "LZ003", limit.message, place, "split the file, or give parts of the condition names with `define`"
        )
        return None, _in_order(builder.diagnostics)
    comments = comments_in(source, blanks)
    file = nodes.File(tuple(builder.statements), comments, span=Span(source, 0, len(source.text)))
    return file, _in_order(builder.diagnostics)


@functools.cache
def automaton() -> Automaton:
    """The automaton of grammar/lzp.lark; one for the process."""
    return Automaton(tables.load())


def _refuse(source: Source) -> Diagnostic | None:
    """Texts that are not read at all."""
    text = source.text
    if len(text) > MAX_FILE_BYTES or (not text.isascii() and len(text.encode("utf-8", "replace")) > MAX_FILE_BYTES):
        message = f"the file is larger than {MAX_FILE_BYTES // 1024**2} MiB"
        return Diagnostic("LZ003", message, Span(source, 0, 0), help="split it and `import` the parts")
    if (at := text.find("\0")) >= 0:
        return Diagnostic("LZ002", "the text holds a NUL character", Span(source, at, at + 1), help="remove it")
    return None


def _read(source: Source, builder: Builder, blanks: list[tuple[int, int]]) -> None:
    """Fill `builder`, from error to error."""
    text = source.text
    position = 1 if text.startswith("\ufeff") else 0
    effort = 0
    for _ in range(MAX_RECOVERIES):
        try:
            automaton().run(text, position, builder.make, lambda start, end: blanks.append((start, end)))
            return
        except StopError as stop:
            effort += stop.offset - position
            begun = builder.resume_at(position)
            _step_back(text, begun, stop)
            builder.diagnostics.append(explain(automaton(), source, text, begun, stop))
            if recovery.begins_line(
                text, stop.offset
            ):  # else the error is part of the statement: not even half is kept
                stop.finish()
            broken = None if stop.whole else recovery.broken_item(text, begun, stop.offset, stop.closable)
            if broken is not None:
                start, end = broken
                builder.damaged = True
                text = text[:start] + " " * (end - start) + text[end:]
                position = begun
            else:
                position = recovery.next_statement(text, builder.resume_at(begun), stop.offset)
            if effort > MAX_EFFORT * MAX_FILE_BYTES:
                return


def _step_back(text: str, begun: int, stop: StopError) -> None:
    """`deny a when` / `lock b for c`: `lock` was taken for a field's name; the error lies before it, not behind."""
    for start, state in stop.before[:2]:
        begins = recovery.begins_statement(text, start) or recovery.begins_item(text, begun, start)
        taken_for_name = not automaton().takes_keyword_at(text, start, state)
        if start > begun and begins and taken_for_name and recovery.begins_line(text, start):
            stop.step_back(start, state)


def _in_order(found: list[Diagnostic]) -> list[Diagnostic]:
    """Each finding once (a block is read again after an error in it), by place."""
    once = {(item.span.start, item.code, item.message): item for item in found}
    ordered = [once[key] for key in sorted(once)]
    return ordered[:MAX_DIAGNOSTICS]

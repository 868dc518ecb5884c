"""The comments of a text, which the grammar skips and the formatter keeps."""

from __future__ import annotations

import re

from layerzero.syntax.nodes import Comment
from layerzero.syntax.source import Source, Span

_COMMENT = re.compile(r"#[^\n]*")


def comments_in(source: Source, blanks: list[tuple[int, int]]) -> tuple[Comment, ...]:
    """The comments in the stretches between words, each once, in order of place."""
    found: dict[int, Comment] = {}
    for start, end in blanks:
        if source.text.find("#", start, end) < 0:
            continue
        for match in _COMMENT.finditer(source.text, start, end):
            line = source.text.rfind("\n", 0, match.start()) + 1
            trailing = bool(source.text[line : match.start()].strip("\ufeff \t\r\f"))
            span = Span(source, match.start(), match.end())
            found[match.start()] = Comment(match.group().rstrip(), trailing, span=span)
    return tuple(found[at] for at in sorted(found))

"""Text of policies, contexts and file names -> text that a terminal, a log or a page may show.

What could move a cursor, reorder a line or end it (control characters, bidirectional marks, line ends, lone
surrogates) is shown as an escape. Printable text is returned as it is.
"""

from __future__ import annotations


def visible(text: str) -> str:
    """`a\\x1b[2Jb` for a text with an escape sequence in it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

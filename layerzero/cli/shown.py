"""What commands print -> what a terminal or a log of theirs may show: names and texts of policies, contexts and files
cannot move the cursor, reorder a line or recolour it.

An odd character is shown as JSON spells it (`\\u001b`), so that JSON stays the same JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any, TextIO

_ODD = re.compile(r"[^\n\t\x20-\x7e]")
_PAINT = re.compile(r"(\x1b\[(?:0|1|2|1;3[0-7]|3[0-7])m)")  # what Style, the trees and the diagnostics use


class Shown:
    """A text stream that escapes; everything but writing is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self.plain = stream
        self._colours = stream.isatty()

    def write(self, text: str) -> int:
        self.plain.write(text if _ODD.search(text) is None else self._escaped(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)

    def _escaped(self, text: str) -> str:
        if not self._colours:
            return _ODD.sub(_spelt, text)
        parts = _PAINT.split(text)
        return "".join(part if place % 2 else _ODD.sub(_spelt, part) for place, part in enumerate(parts))


def _spelt(found: re.Match[str]) -> str:
    character = found.group()
    return character if character.isprintable() else json.dumps(character)[1:-1]


def print_document(text: str) -> None:
    """Print a text that is to be read by a program, such as a policy: escaped on a terminal, as it is elsewhere."""
    import sys

    stream = sys.stdout
    if isinstance(stream, Shown) and not stream.isatty():
        stream.plain.write(text)
    else:
        stream.write(text)

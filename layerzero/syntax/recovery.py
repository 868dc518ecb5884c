"""After an error: where reading can go on, found in the bare words of the text.

Keywords may be names, so only what looks like the start of a statement counts: `device h100 {`, not `device == cuda`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

RULES = ("quarantine", "lock", "allow", "deny", "boost", "order")
STATEMENTS = (
    "policy", "import", "field", "attribute", "operation", "extend", "backend", "kernel", "alias", "context",
    "device", "define", *RULES, "experiment", "test",
)  # fmt: skip
_FACTS = ("package", "require", "supports", "set", "source", "priority", "adapter")
_WORDS_OF_CALLS = ("needs", "optional", "view", "feature", "fallback")
ITEMS = {
    "operation": _WORDS_OF_CALLS,
    "extend": _WORDS_OF_CALLS,
    "backend": _FACTS,
    "kernel": _FACTS,
    "experiment": ("arm", "guard"),
    "test": ("given", "whenever", "expect"),
}

_ID = r"[a-z_`][a-z0-9_.`]*"
_GAP = r"[ \t\r\n]"
_STATEMENT = re.compile(
    rf"(?:(?:{'|'.join(RULES)}){_GAP}+[a-z_`*{{]"
    rf"|(?:policy|import|test){_GAP}*\""
    rf"|(?:field|attribute){_GAP}+{_ID}{_GAP}*:"
    rf"|(?:operation|extend|backend|context|device){_GAP}+{_ID}{_GAP}*\{{"
    rf"|kernel{_GAP}+{_ID}{_GAP}+for\b"
    rf"|(?:alias|define){_GAP}+{_ID}{_GAP}*=(?!=)"
    rf"|experiment{_GAP}+{_ID}{_GAP}+on\b)"
)
_NAME = re.compile(r"[a-z]+")
_CONTINUES = re.compile(r"[ \t]*[=<>!%*/+\-.,):]")
_PIECE = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"?|#[^\n]*|[{}]|[A-Za-z_][A-Za-z0-9_]*|[^"#{}A-Za-z_]+')


@dataclass(frozen=True, slots=True)
class Piece:
    """A word or a brace with the brace depth before it."""

    text: str
    start: int
    end: int
    depth: int
    first: bool  # on its line


def pieces(text: str, start: int) -> Iterator[Piece]:
    """Words and braces from `start` on, outside strings and comments."""
    depth = 0
    first = begins_line(text, start)
    for found in _PIECE.finditer(text, start):
        piece = found.group()
        character = piece[0]
        if character in "{}_" or character.isalpha():
            yield Piece(piece, found.start(), found.end(), depth, first)
            depth += {"{": 1, "}": -1}.get(piece, 0)
            first = False
        else:
            _, newline, rest = piece.rpartition("\n")
            first = (bool(newline) or first) and not rest.strip(" \t\r")


def begins_statement(text: str, at: int) -> bool:
    """Whether what stands at `at` looks like the start of a statement."""
    return _STATEMENT.match(text, at) is not None


def begins_item(text: str, begun: int, at: int) -> bool:
    """Whether the word at `at` begins a line of the block of the statement that begins at `begun`."""
    statement = _NAME.match(text, begun)
    word = _NAME.match(text, at)
    return statement is not None and word is not None and word.group() in ITEMS.get(statement.group(), ())


def begins_line(text: str, at: int) -> bool:
    """Whether only blanks stand before `at` on its line."""
    return not text[text.rfind("\n", 0, at) + 1 : at].strip(" \t\r\ufeff")


def next_statement(text: str, begun: int, offset: int) -> int:
    """The next place after `begun` and at or after `offset` where a statement seems to begin; else the text's end.

    `begun` is where the broken statement starts: braces are counted from there. A word in column 1 begins a statement
    whatever the braces say, so one missing `}` does not swallow the file.
    """
    for piece in pieces(text, begun):
        if piece.start <= begun or piece.start < offset or piece.text not in STATEMENTS:
            continue
        column_one = piece.start == 0 or text[piece.start - 1] == "\n"
        if piece.depth > 0 and not column_one:
            continue
        if _STATEMENT.match(text, piece.start) or (piece.first and not _CONTINUES.match(text, piece.end)):
            return piece.start
    return len(text)


def broken_item(text: str, begun: int, offset: int, fresh: bool) -> tuple[int, int] | None:
    """The line of a block that holds the error at `offset`: where it begins and where the next line or `}` stands.

    `fresh`: what stands before `offset` is complete, so the broken line begins there. None where the error is not in
    a block of lines (a kernel, an operation, a test ...).
    """
    words = None
    opened = None
    item = None
    for piece in pieces(text, begun):
        if words is None:
            words = ITEMS.get(piece.text)
            if words is None:
                return None
        if piece.start >= offset and opened is None:
            return None
        if piece.text == "{" and piece.depth == 0 and opened is None:
            opened = item = piece.end
        elif opened is not None and piece.depth == 1:
            if piece.start < offset:
                item = piece.start if piece.first and piece.text in words else item
            elif piece.text == "}" or (piece.first and piece.text in words):
                start = offset if fresh else item
                if start is not None and start < piece.start:
                    return start, piece.start
            elif piece.text in STATEMENTS and text[piece.start - 1] == "\n":
                return None
        if piece.depth <= 0 and opened is not None and piece.text != "{":
            return None
    return None

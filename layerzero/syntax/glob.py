"""`like` patterns -> compiled matchers: `*`, `?`, `[ab]`, `[!ab]`, `[0-9]`, and a backslash before any of them.

The whole string is compared, case counts, and the time is linear in the string: each piece between two stars is
sought once, leftmost, and never moved again.
"""

from __future__ import annotations

import re
from functools import lru_cache


class GlobError(ValueError):
    """The pattern is malformed: an unclosed `[`, a range that runs backwards."""


@lru_cache(maxsize=4096)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression for `fullmatch`. Raises GlobError.

    `a*b*c` becomes `a(?>.*?b).*c`: a star takes the leftmost place of the piece after it, which is never worse than
    a later one, so an atomic group may forbid to try others.
    """
    pieces = _pieces(pattern)
    if len(pieces) == 1:
        return re.compile(pieces[0], re.DOTALL)
    first, *middle, last = pieces
    sought = "".join(f"(?>.*?{piece})" for piece in middle if piece)
    # The last piece has a fixed width, so the final star may take what it likes: only one split can end there.
    return re.compile(f"{first}{sought}.*{last}", re.DOTALL)


def check_glob(pattern: str) -> None:
    """Raises GlobError where `compile_glob` would, without the cost of compiling."""
    _pieces(pattern)


def like(text: str, pattern: str) -> bool:
    return compile_glob(pattern).fullmatch(text) is not None


def _pieces(pattern: str) -> list[str]:
    """Regular expressions of one-character matchers, split at the stars."""
    pieces, at = [""], 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            pieces.append("")
        elif character == "?":
            pieces[-1] += "."
        elif character == "[":
            written, at = _character_class(pattern, at)
            pieces[-1] += written
        else:
            if character == "\\" and at < len(pattern):
                character, at = pattern[at], at + 1
            pieces[-1] += re.escape(character)
    return pieces


def _character_class(pattern: str, at: int) -> tuple[str, int]:
    """`[ab]`, `[!a-z]` from the character after the bracket; a `]` that comes first stands for itself."""
    negated = pattern.startswith("!", at)
    start = at - 1
    at += negated
    members: list[str] = []
    first = True
    while True:
        character, plain, at = _member(pattern, at, start)
        if character == "]" and plain and not first:
            return f"[{'^' if negated else ''}{''.join(members)}]", at
        first = False
        if pattern.startswith("-", at) and not pattern.startswith("-]", at):
            end, _, at = _member(pattern, at + 1, start)
            if end < character:
                raise GlobError(f"the range `{character}-{end}` of the pattern runs backwards")
            members.append(f"{re.escape(character)}-{re.escape(end)}")
        else:
            members.append(re.escape(character))


def _member(pattern: str, at: int, start: int) -> tuple[str, bool, int]:
    """The next character of a class, whether it stood without a backslash, and the place after it."""
    if pattern.startswith("\\", at) and at + 1 < len(pattern):
        return pattern[at + 1], False, at + 2
    if at >= len(pattern):
        raise GlobError(f"the `[` at character {start + 1} of the pattern is never closed")
    return pattern[at], True, at + 1

"""Two versions of a program's texts -> the statements that went and came, for people who watch a policy.

Moved, reformatted and commented statements are no edits, nor are tests: they are no part of a live policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal as OneOf

from layerzero.check.program import Text
from layerzero.notations import Words, is_notation, read
from layerzero.syntax import nodes
from layerzero.syntax.formatter import format_statement
from layerzero.syntax.trees import parse_cached


@dataclass(frozen=True, slots=True)
class Edit:
    """`- deny flash_attn for attention when batch > 32`, at the place where it stood or stands."""

    kind: OneOf["removed", "added"]
    text: str
    at: str

    def __str__(self) -> str:
        sign = "-" if self.kind == "removed" else "+"
        return f"{sign} {' '.join(self.text.split())}"


def edits(before: Sequence[Text], after: Sequence[Text]) -> tuple[Edit, ...]:
    """What differs between the texts of two programs, in the order of the texts, what went first."""
    known, kept = set(before), set(after)
    old = list(_statements([one for one in before if one not in kept], before))
    new = list(_statements([one for one in after if one not in known], after))
    went, came = Counter(text for text, _ in old), Counter(text for text, _ in new)
    return (*_edits("removed", old, went - came), *_edits("added", new, came - went))


def _edits(kind: OneOf["removed", "added"], found: Iterable[tuple[str, str]], which: Counter[str]) -> Iterator[Edit]:
    for text, at in found:
        if which[text] > 0:
            which[text] -= 1
            yield Edit(kind, text, at)


def _statements(changed: Sequence[Text], every: Sequence[Text]) -> Iterator[tuple[str, str]]:
    """The canonical text and the place of each statement of some texts."""
    for one in changed:
        if is_notation(one.source.name):
            others = [other.source for other in every if not is_notation(other.source.name)]
            file, _ = read(one.source, Words.of(file for file, _ in map(parse_cached, others) if file is not None))
        else:
            file, _ = parse_cached(one.source)
        for statement in () if file is None else file.statements:
            if not isinstance(statement, nodes.Test):
                yield format_statement(statement), str(statement.span)

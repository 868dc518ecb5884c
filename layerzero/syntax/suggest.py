"""Misspelt word -> the words that may have been meant."""

from __future__ import annotations

from collections.abc import Iterable

MOST = 4


def suggest(word: str, candidates: Iterable[str]) -> list[str]:
    """At most four candidates, nearest first, whose distance is at most a third of the word's length.

    A distance counts inserted, removed, changed and swapped characters; a word of one or two letters has no
    neighbours, except by case.
    """
    limit = max(1, len(word) // 3) if len(word) > 2 else 0
    found = []
    for candidate in set(candidates):
        if candidate.lower() == word.lower():
            found.append((0, candidate))
        elif abs(len(candidate) - len(word)) <= limit:
            distance = _distance(word, candidate, limit)
            if distance <= limit:
                found.append((distance, candidate))
    return [candidate for _, candidate in sorted(found)][:MOST]


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`did you mean `head_dim` or `head_dims`?`, or nothing."""
    names = [f"`{name}`" for name in suggest(word, candidates)]
    if not names:
        return ""
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return f"did you mean {listed}?"


def _distance(a: str, b: str, limit: int) -> int:
    """Optimal string alignment; `limit + 1` for anything farther."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        above, before, row = before, row, [i]
        for j, right in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right))
            if i > 1 and j > 1 and left == b[j - 2] and a[i - 2] == right:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return row[-1]

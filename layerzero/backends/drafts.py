"""How the tokens of a draft hang together."""

from __future__ import annotations

from collections.abc import Sequence


def depth(parents: Sequence[int] | None, count: int) -> int:
    """The most tokens of a draft that can be kept: those of its longest path. None is a chain.

    Args:
        parents: For each token an earlier one, or -1 for the beginning.
        count: How many tokens there are.
    """
    if parents is None:
        return count
    depths: list[int] = []
    for parent in parents:
        depths.append(1 if parent < 0 else depths[parent] + 1)
    return max(depths, default=0)

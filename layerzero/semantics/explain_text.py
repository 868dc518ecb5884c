"""The provenance tree -> text with box-drawing branches, for terminals, logs and tests."""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.check.program import Program
from layerzero.semantics.explanation import Branch, provenance, why_not
from layerzero.semantics.proof import Proof

_COLORS = {"plain": "", "good": "\x1b[32m", "bad": "\x1b[31m", "warn": "\x1b[33m", "quiet": "\x1b[2m"}


def explain_text(program: Program, proof: Proof, kernel: str | None = None, color: bool = False) -> str:
    """The whole tree, or the branch of one `kernel` that was not chosen; ends without a line end.

    Raises:
        UnknownNameError: `kernel` is not one of the operation's.
    """
    tree = provenance(program, proof) if kernel is None else why_not(program, proof, kernel)
    return "\n".join(draw(tree, color))


def draw(tree: Branch, color: bool = False) -> Iterator[str]:
    yield _painted(tree, color)
    for place, child in enumerate(tree.children):
        last = place == len(tree.children) - 1
        first, *rest = draw(child, color)
        yield f"{'└─' if last else '├─'} {first}"
        for line in rest:
            yield f"{'  ' if last else '│ '} {line}"


def _painted(branch: Branch, color: bool) -> str:
    text = "".join(character if character.isprintable() else _escaped(character) for character in branch.text)
    return f"{_COLORS[branch.tone]}{text}\x1b[0m" if color and _COLORS[branch.tone] else text


def _escaped(character: str) -> str:
    """A context or a policy may hold control characters; a terminal must not obey them."""
    return character.encode("unicode_escape").decode("ascii")

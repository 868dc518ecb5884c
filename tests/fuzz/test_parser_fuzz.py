"""Random damage to real policies: whatever comes, a tree or findings, and a sound text stays sound when formatted."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from layerzero.syntax.formatter import format_source
from layerzero.syntax.parser import parse
from layerzero.syntax.render import render
from layerzero.syntax.source import Source

PIECES = [
    "(",
    ")",
    "{",
    "}",
    '"',
    "`",
    "#",
    "\n",
    "..",
    "..<",
    "=",
    "==",
    "in",
    "not",
    "when",
    "for",
    "\\",
    "\x00",
    "é",
    "0",
    "1.",
    ",",
]
ROUNDS = 300


@pytest.mark.parametrize("seed", range(4))
def test_damaged_policies(seed: int, root: Path) -> None:
    rng = random.Random(seed)
    texts = [path.read_text(encoding="utf-8") for path in sorted((root / "policies").rglob("*.lzp"))]
    assert texts
    sound = 0
    for _ in range(ROUNDS):
        text = rng.choice(texts)
        at = rng.randrange(len(text))
        text = text[max(0, at - 1500) : at + 1500]
        for _ in range(rng.randint(1, 4)):
            cut = rng.randrange(len(text) + 1)
            text = text[:cut] + rng.choice([*PIECES, ""]) + text[cut + rng.randint(0, 6) :]
        file, found = parse(Source("fuzz.lzp", text))
        render(found)
        if file is not None and not found:
            sound += 1
            assert isinstance(format_source(Source("fuzz.lzp", text)), str)
    assert sound < ROUNDS

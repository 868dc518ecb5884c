"""The lexer and the TextMate grammar colour the words that the grammar has, and lose no character."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("pygments")

from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Error, Keyword, Name, Number, String, Token

from layerzero.editor import highlight
from layerzero.syntax.tables import load

ROOT = Path(__file__).resolve().parents[3]
POLICIES = sorted((ROOT / "policies").rglob("*.lzp"))
OWN = (highlight.STATEMENTS, highlight.ITEMS, highlight.CLAUSES, highlight.OPERATORS)
COLOURED = {word for group in (*OWN, highlight.TYPES, highlight.CONSTANTS) for word in group}


def test_every_keyword_of_the_grammar_is_coloured() -> None:
    assert set(load().words) - COLOURED == set()
    assert COLOURED - set(load().words) == set()


def test_the_textmate_grammar_has_the_same_words() -> None:
    patterns = json.loads((ROOT / "grammar" / "lzp.tmLanguage.json").read_text(encoding="utf-8"))["patterns"]
    words = {
        word for one in patterns for word in re.findall(r"[a-z]{2,}", one.get("match", "")) if "?:" in one["match"]
    }
    assert words >= COLOURED
    for pattern in patterns:
        re.compile(pattern.get("match", pattern.get("begin", "")))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_the_lexer_reads_every_shipped_policy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tokens = list(highlight.LzpLexer(stripnl=False, ensurenl=False).get_tokens(text))
    assert "".join(part for _, part in tokens) == text
    assert [part for kind, part in tokens if kind is Error] == []


def test_what_a_line_is_made_of() -> None:
    line = 'deny torch.* for attention when head_dim > 8Ki because "slow" # why'
    kinds = {part: kind for kind, part in highlight.LzpLexer().get_tokens(line)}
    assert kinds["deny"] is Keyword.Declaration
    assert kinds["torch.*"] is Name.Function
    assert kinds["for"] is Keyword
    assert kinds["head_dim"] is Name
    assert kinds["8Ki"] is Number
    assert kinds['"slow"'] is String.Double
    assert kinds["# why"] is Comment.Single
    assert Token not in kinds.values()


def test_pygments_finds_the_lexer_by_name() -> None:
    assert type(get_lexer_by_name("lzp")).__name__ == "LzpLexer"

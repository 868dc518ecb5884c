"""grammar/lzp.lark -> the tables of its LALR(1) automaton, as plain data.

Lark reads the grammar, checks it for conflicts and makes the tables; that takes a quarter of a second, so they are
kept in the cache folder as JSON. The automaton (automaton.py) then runs without importing Lark.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

from layerzero import resources
from layerzero.syntax import cache

_FORMAT = "tables/1"


@dataclass(frozen=True, slots=True)
class Production:
    """`like: _sum "not"? "like" text`: how many symbols it takes off the stack and which of them it keeps."""

    origin: str
    length: int
    kept: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tables:
    """`actions[state][symbol]` is a state to go to (0 and up) or, below 0, `~index` of the production to apply."""

    actions: tuple[dict[str, int], ...]
    productions: tuple[Production, ...]
    words: dict[str, str]  # keyword -> terminal
    patterns: dict[str, tuple[int, int, str]]  # terminal -> priority, length of a fixed text (else 0), expression
    start: int
    end: int


@functools.cache
def grammar_text() -> str:
    """The text of grammar/lzp.lark."""
    return (resources.shipped("grammar") / "lzp.lark").read_text(encoding="utf-8")


@functools.cache
def grammar_digest() -> str:
    """Names the language: trees and tables of another grammar are never taken for this one's."""
    return hashlib.sha256(f"{_FORMAT}\0{grammar_text()}".encode()).hexdigest()


@functools.cache
def load() -> Tables:
    """The tables, from the cache folder where they are there and whole."""
    key = f"tables-{grammar_digest()}"
    try:
        return _decode(cache.read(key))
    except (KeyError, TypeError, ValueError, IndexError):  # absent or damaged: made again
        plain = _build()
        cache.write(key, plain)
        return _decode(plain)


def _build() -> dict[str, Any]:
    from lark import Lark
    from lark.grammar import Rule
    from lark.lexer import TerminalDef

    parser = Lark(grammar_text(), parser="lalr", lexer="contextual", start="file", strict=False)
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    automaton = data["parser"]["parser"]
    symbols = automaton["tokens"]
    rules: dict[int, int] = {}
    productions: list[list[Any]] = []
    for identity, item in memo.items():
        if item["__type__"] == "Rule":
            rules[identity] = len(productions)
            keep_all = item["options"]["keep_all_tokens"]
            expansion = item["expansion"]
            kept = [i for i, symbol in enumerate(expansion) if keep_all or not symbol.get("filter_out", False)]
            productions.append([item["origin"]["name"], len(expansion), kept])
    actions: list[dict[str, int]] = [{} for _ in automaton["states"]]
    for state, row in automaton["states"].items():
        for symbol, (kind, argument) in row.items():
            actions[state][symbols[symbol]] = ~rules[argument["@"]] if kind == 1 else argument
    terminals = [item for item in memo.values() if item["__type__"] == "TerminalDef"]
    return {
        "actions": actions,
        "productions": productions,
        "terminals": [_terminal(t["name"], t["priority"], t["pattern"]) for t in terminals],
        "start": automaton["start_states"]["file"],
        "end": automaton["end_states"]["file"],
    }


def _terminal(name: str, priority: int, pattern: dict[str, Any]) -> list[Any]:
    return [name, priority, pattern["value"], pattern["__type__"] == "PatternStr"]


def _decode(plain: Any) -> Tables:
    import re

    words: dict[str, str] = {}
    patterns: dict[str, tuple[int, int, str]] = {}
    for name, priority, value, fixed in plain["terminals"]:
        if fixed and value.isalpha():
            words[value] = name
        else:
            patterns[name] = (priority, len(value) if fixed else 0, re.escape(value) if fixed else value)
    return Tables(
        actions=tuple({str(symbol): int(target) for symbol, target in row.items()} for row in plain["actions"]),
        productions=tuple(Production(origin, length, tuple(kept)) for origin, length, kept in plain["productions"]),
        words=words,
        patterns=patterns,
        start=int(plain["start"]),
        end=int(plain["end"]),
    )

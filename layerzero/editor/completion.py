"""A place in a text -> the words that may stand there: keywords from the grammar, names from the program.

Which kind of name fits follows from the word that governs the place: fields and defines in a condition, the members
of an enum beside its field, operations behind `for`, kernels in the subject of a rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal as OneOf

from layerzero.editor.symbols import Symbol, Symbols
from layerzero.syntax.expected import expected_at, statement_start

Slot = OneOf["kernel", "scope", "value", "field", "feature", "attribute", "given", "rule", "nothing"]

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"?|#[^\n]*|[A-Za-z_`][\w`.*-]*|==|!=|<=|>=|\.\.<|\.\.|[^\s\w]')
_PARTIAL = re.compile(r"[A-Za-z_][\w.*]*$")
_GOVERNS: dict[str, Slot] = {
    **dict.fromkeys(("quarantine", "lock", "allow", "deny", "boost", "order", "expect", "fallback"), "kernel"),
    **dict.fromkeys(("for", "whenever", "extend"), "scope"),
    **dict.fromkeys(("when", "require", "define"), "value"),
    **dict.fromkeys(("needs", "optional", "on", "context", "device"), "field"),
    **dict.fromkeys(("as", "owner", "until", "because", "priority", "package", "source", "adapter"), "nothing"),
    "supports": "feature",
    "set": "attribute",
    "given": "given",
    "by": "rule",
}
_BESIDE = ("==", "!=", "=")


@dataclass(frozen=True, slots=True)
class Proposal:
    """`head_dim`, a field, with the line that declares it."""

    word: str
    kind: str  # a symbol's kind, or "keyword"
    detail: str = ""


def complete(text: str, offset: int, symbols: Symbols) -> list[Proposal]:
    """What may stand at `offset`, the beginning of a word that is being typed included; the nearest first.

    Keywords are the grammar's own answer, so none is proposed that the parser would refuse.
    """
    partial = _PARTIAL.search(text, max(0, text.rfind("\n", 0, offset)), offset)
    start = partial.start() if partial else offset
    typed = text[start:offset]
    if typed.startswith("kernel."):
        return [_proposal(symbol, f"kernel.{symbol.name}") for symbol in symbols.declared("attribute")]
    if _in_comment(text, start):
        return []
    expected = expected_at(text, start)
    tokens = [token for token in _TOKEN.findall(text[statement_start(text, start) : start]) if token[0] != "#"]
    found = [*_names(tokens, symbols)] if expected.name else []
    found += [Proposal(word, "keyword") for word in expected.keywords]
    unique = {proposal.word: proposal for proposal in reversed(found) if proposal.word.startswith(typed)}
    return list(reversed(unique.values()))


def _in_comment(text: str, offset: int) -> bool:
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    return any(token[0] == "#" for token in _TOKEN.findall(line))


def _names(tokens: list[str], symbols: Symbols) -> Iterator[Proposal]:
    enum = _enum(tokens)
    if enum is not None:
        yield from (_proposal(one) for one in symbols.declared("member") if one.owner == enum)
    match _slot(tokens):
        case "kernel":
            kernels = symbols.declared("kernel")
            yield from map(_proposal, kernels)
            backends = dict.fromkeys(kernel.name.partition(".")[0] for kernel in kernels)
            yield from (Proposal(f"{backend}.*", "kernel", "every kernel of the backend") for backend in backends)
        case "scope":
            yield from _scopes(symbols)
        case "value":
            yield from map(_proposal, (*symbols.declared("define"), *symbols.declared("field")))
        case "field":
            yield from map(_proposal, symbols.declared("field"))
        case "feature":
            yield from map(_proposal, symbols.declared("feature"))
        case "attribute":
            yield from map(_proposal, symbols.declared("attribute"))
        case "given":
            yield from _scopes(symbols)
            yield from map(_proposal, (*symbols.declared("bundle"), *symbols.declared("field")))
        case "rule":
            yield from map(_proposal, symbols.declared("rule"))
        case "nothing":
            pass


def _slot(tokens: list[str]) -> Slot:
    """The kind of names that the last governing word asks for."""
    for token in reversed(tokens):
        slot = _GOVERNS.get(token)
        if slot is not None:
            return "nothing" if token == "by" and "boost" in tokens else slot
    return "nothing"


def _enum(tokens: list[str]) -> str | None:
    """The field whose value is asked for: `dtype ==`, `layout =`, `dtype in {fp16,`."""
    if len(tokens) >= 2 and tokens[-1] in _BESIDE:
        return tokens[-2]
    if "{" in tokens:
        brace = len(tokens) - 1 - tokens[::-1].index("{")
        inside = tokens[brace + 1 :]
        if brace >= 2 and tokens[brace - 1] == "in" and all(re.fullmatch(r"[\w,]+", token) for token in inside):
            return tokens[brace - 3] if tokens[brace - 2] == "not" and brace >= 3 else tokens[brace - 2]
    return None


def _scopes(symbols: Symbols) -> Iterator[Proposal]:
    yield from map(_proposal, symbols.declared("operation"))
    yield from (_proposal(view, f"{view.owner}.{view.name}") for view in symbols.declared("view"))


def _proposal(symbol: Symbol, word: str = "") -> Proposal:
    source, line = symbol.span.source, symbol.span.line
    return Proposal(word or symbol.name, symbol.kind, source.line(line).strip())

"""A place where the text leaves the language -> a finding that says what to write instead.

Three sources, the most telling first: slips of the hand (`=` for `==`, `&&`, an open quote), the malformed examples
in error_examples.py (the parser stops in the same state on the same kind of word), and what the state can take.
"""

from __future__ import annotations

import re

from layerzero.syntax import recovery
from layerzero.syntax.automaton import Automaton, StopError
from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.error_examples import example_for, lexeme
from layerzero.syntax.source import Source, Span
from layerzero.syntax.suggest import did_you_mean
from layerzero.syntax.usage import USAGE
from layerzero.syntax.words import RESERVED

_SLIPS = {
    "&&": ("`&&` is written `and`", "write `and`"),
    "&": ("`&` is written `and`", "write `and`"),
    "||": ("`||` is written `or`", "write `or`"),
    "!": ("`!` is written `not`", "write `not`"),
    "===": ("`===` is written `==`", "write `==`"),
    "!==": ("`!==` is written `!=`", "write `!=`"),
    "<>": ("`<>` is written `!=`", "write `!=`"),
    ":=": ("`:=` is written `=`", "write `=`"),
    ";": ("a statement needs no `;`", "remove it: each statement begins with its keyword"),
    "'": ("strings stand in double quotes", 'write `"..."`'),
    "“": ("strings stand in straight double quotes", 'write `"..."`'),
    "”": ("strings stand in straight double quotes", 'write `"..."`'),
    "/": ("there is no `/`; `//` divides and rounds down", "write `//`"),
    "**": ("there is no `**`", "multiply with `*`"),
    "?": ("there is no `?`", "a choice is written `X if C else Y`"),
    "≥": ("`≥` is written `>=`", "write `>=`"),
    "≤": ("`≤` is written `<=`", "write `<=`"),
    "≠": ("`≠` is written `!=`", "write `!=`"),
}
_NUMBER = re.compile(r"(?:[0-9]|\.[0-9])")


def explain(automaton: Automaton, source: Source, text: str, begun: int, stop: StopError) -> Diagnostic:
    """What is wrong at `stop`, in the statement that begins at `begun`."""
    opening = re.match(r"[a-z]+", text[begun : begun + 20])
    statement = opening.group() if opening else ""
    word, start = _word(text, stop.offset)
    span = Span(source, start, start + max(1, len(word)))
    accepted = stop.accepted
    if not word or (not stop.whole and recovery.begins_line(text, start) and recovery.begins_statement(text, start)):
        # What is missing is missed at the end of what stands there.
        at = min(stop.offset, len(text.rstrip())) if stop.last > stop.offset else len(text[: stop.offset].rstrip())
        unclosed = _unclosed(text, begun, statement, word, span, accepted)
        word, span = "", Span(source, max(at, 0), max(at, 0))
        if unclosed:
            return unclosed
    return (
        _literal(word, span)
        or _unclosed(text, begun, statement, word, span, accepted)
        or _unknown_statement(word, span, stop)
        or _after_open_range(text, word, span)
        or _misspelt(automaton, word, span, accepted)
        or _slip(word, span, accepted)
        or _without_else(stop, span)
        or _by_example(automaton, stop, text, word, span, statement)
        or _reserved(text, word, span, accepted)
        or _expected(automaton, statement, word, span, accepted)
    )


def _word(text: str, offset: int) -> tuple[str, int]:
    """The word at `offset`; `<>` and `===` begin before it, for the grammar knows their first halves."""
    for sign in ("===", "!==", "<>", "=<"):
        for start in range(max(0, offset - len(sign) + 1), offset):
            if text.startswith(sign, start):
                return sign, start
    return lexeme(text, offset), offset


def _literal(word: str, span: Span) -> Diagnostic | None:
    """Numbers and strings that are not whole."""
    if word.startswith('"') and (len(word) == 1 or not re.fullmatch(r'"(?:[^"\\]|\\.)*"', word)):
        return Diagnostic("LZ101", "the string is not closed on its line", span, help='end it with `"`')
    if word.startswith("`"):
        return Diagnostic(
            "LZ101",
            f"`{_short(word.strip('`'))}` in backquotes is not a name",
            span,
            help="a name has lower-case letters, digits and `_`, and begins with a letter",
        )
    if not _NUMBER.match(word):
        return None
    help = _number_help(word)
    return Diagnostic("LZ101", f"`{_short(word)}` is not a number", span, help=help) if help else None


def _number_help(word: str) -> str:
    """What is wrong with a malformed number; nothing for a sound one in a wrong place."""
    if re.fullmatch(
        r"(?:0|[1-9][0-9]*(?:_[0-9]+)*)(?:(?:Ki|Mi|Gi)?|(?:\.[0-9]+)?(?:[eE][0-9]+)?|(?:\.[0-9]+)?%)", word
    ):
        return ""
    if re.fullmatch(r"0[0-9_]+(?:\.[0-9]+)?%?", word):
        return f"no leading zero: write `{word.lstrip('0_') or '0'}`" if "." not in word else "no leading zero"
    if word.endswith("."):
        return f"digits stand on both sides of the point: write `{word}0`"
    if word.startswith("."):
        return f"digits stand on both sides of the point: write `0{word}`"
    if re.fullmatch(r"[0-9.]+[eE]", word):
        return "an exponent has digits: `1e-5`"
    if re.match(r"0[xXbBoO]", word):
        return "numbers are decimal"
    if "_" in word:
        return "`_` stands between digits only"
    suffix = re.fullmatch(r"[0-9]+([A-Za-z]+)", word)
    if suffix:
        return "the suffixes of an integer are `Ki`, `Mi` and `Gi`; a name begins with a letter"
    return "integers like `8Ki` or `1_000`, decimals like `0.5` or `1e-5`"


def _slip(word: str, span: Span, accepted: frozenset[str]) -> Diagnostic | None:
    """What other languages write."""
    if word == "=" and "AND" in accepted and "EQUAL" not in accepted:
        return Diagnostic("LZ100", "`=` sets a value; a condition compares with `==`", span, help="write `==`")
    if word in _SLIPS:
        message, help = _SLIPS[word]
        return Diagnostic("LZ100", message, span, help=help)
    if word == "is" and "AND" in accepted:
        return Diagnostic("LZ100", "`is` is written `==`", span, help="write `==`")
    if word == "==" and "EQUAL" in accepted and "AND" not in accepted:
        return Diagnostic("LZ100", "`==` compares; a value is set with `=`", span, help="write `=`")
    if word and word != word.lower() and word.replace("_", "a").isalnum():
        lower = {"None": "null", "True": "true", "False": "false"}.get(word, word.lower())
        what = "keywords are" if lower.upper() in accepted else "names are"
        return Diagnostic("LZ100", f"{what} in lower case, got `{_short(word)}`", span, help=f"write `{_short(lower)}`")
    if word and not word.isascii():
        name = f"U+{ord(word[0]):04X}"
        return Diagnostic(
            "LZ100",
            f"the character {word[0]!r} ({name}) has no meaning outside strings and comments",
            span,
            help="names use the letters a to z, digits and `_`",
        )
    return None


def _reserved(text: str, word: str, span: Span, accepted: frozenset[str]) -> Diagnostic | None:
    compared = re.compile(r"\s*(?:==|!=|<|>)").match(text, span.end)
    if word in RESERVED and "NAME" in accepted and ("INT" not in accepted or compared):
        return Diagnostic(
            "LZ103",
            f"`{word}` is a reserved word and cannot be a name as it stands",
            span,
            help=f"write `` `{word}` `` in backquotes",
        )
    return None


def _unclosed(
    text: str, begun: int, statement: str, word: str, span: Span, accepted: frozenset[str]
) -> Diagnostic | None:
    """A bracket that is open where a statement, a clause or the text ends, or one that closes nothing."""
    open_brackets = _open_brackets(text, begun, span.start)
    if word in (")", "}", "]") and not open_brackets:
        return Diagnostic("LZ100", f"this `{word}` closes nothing", span, help="remove it, or open the bracket before")
    if not open_brackets:
        return None
    bracket, at = open_brackets[-1]
    begins = recovery.begins_statement(text, span.start)
    if begins and bracket == "{" and not recovery.begins_line(text, span.start):
        return Diagnostic(
            "LZ100",
            f"`{word}` is a statement of its own and cannot stand in `{statement}`",
            span,
            help=_form(statement),
        )
    if word and not begins and not (word.isalpha() and bracket == "(" and "RPAR" in accepted):
        return None
    where = f"before `{_short(word)}`" if word else "before the end of the file"
    closer = ")" if bracket == "(" else "}"
    return Diagnostic(
        "LZ100",
        f"this `{bracket}` is not closed",
        Span(span.source, at, at + 1),
        help=f"write `{closer}`",
        labels=(Label(span, f"`{closer}` is missing {where}"),),
    )


def _open_brackets(text: str, start: int, end: int) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for match in re.finditer(r'"(?:[^"\\\n]|\\[^\n])*"?|#[^\n]*|[(){}]', text[:end][start:]):
        piece = match.group()
        if piece in ("(", "{"):
            found.append((piece, start + match.start()))
        elif piece in (")", "}") and found:
            found.pop()
    return found


def _unknown_statement(word: str, span: Span, stop: StopError) -> Diagnostic | None:
    """A word that begins no statement, where one may begin."""
    if not stop.whole or not re.match(r"[a-z_]", word) or not recovery.begins_line(span.source.text, span.start):
        return None
    blocks = [f"`{block}`" for block, items in recovery.ITEMS.items() if word in items]
    if blocks:
        return Diagnostic(
            "LZ100", f"`{word}` stands inside {' or '.join(blocks)} only", span, help="move it into the braces of one"
        )
    help = (
        did_you_mean(word, recovery.STATEMENTS) or "statements begin with a keyword such as `lock`, `deny` or `field`"
    )
    return Diagnostic("LZ100", f"`{_short(word)}` does not begin a statement", span, help=help)


def _without_else(stop: StopError, span: Span) -> Diagnostic | None:
    """`4 if dtype == fp32`: only in the middle of a choice can `else` come where nothing can end."""
    if "ELSE" not in stop.accepted or stop.whole or stop.closable:
        return None
    return Diagnostic("LZ100", "`X if C` needs its `else`", span, help="write `4 if dtype == fp32 else 2`")


def _by_example(
    automaton: Automaton, stop: StopError, text: str, word: str, span: Span, statement: str
) -> Diagnostic | None:
    example = example_for(automaton, stop, text, word, statement)
    if example is None:
        return None
    return Diagnostic("LZ100", example.message.replace("WORD", _short(word)), span, help=example.help)


def _after_open_range(text: str, word: str, span: Span) -> Diagnostic | None:
    """`0..owner`: a bound that is called like a clause."""
    before = re.search(r"\.\.\s*([a-z_]+)\s*$", text[max(0, span.start - 80) : span.start])
    if before is None or not word:
        return None
    name = before.group(1)
    start = max(0, span.start - 80) + before.start(1)
    return Diagnostic(
        "LZ100",
        f"directly after `..` the word `{name}` is a keyword",
        Span(span.source, start, start + len(name)),
        help=f"write `` `{name}` `` in backquotes for the name",
    )


def _misspelt(automaton: Automaton, word: str, span: Span, accepted: frozenset[str]) -> Diagnostic | None:
    if not re.match(r"[a-z_]", word) or word in automaton.tables.words:
        return None
    names = automaton.tables.words
    near = did_you_mean(
        word, [keyword for keyword, terminal in names.items() if terminal in accepted and len(keyword) > 2]
    )
    return Diagnostic("LZ100", f"`{_short(word)}` is not expected here", span, help=near) if near else None


def _expected(automaton: Automaton, statement: str, word: str, span: Span, accepted: frozenset[str]) -> Diagnostic:
    """The last resort: a few words for what can come next, and the form of the statement."""
    got = f"got `{_short(word)}`" if word else "the statement ends"
    help = _form(statement)
    if "AND" in accepted:
        message = (
            f"`{_short(word)}` does not continue the condition before it" if word else "the statement is not complete"
        )
        return Diagnostic("LZ100", message, span, help=help)
    wanted = _wanted(automaton, accepted)
    message = f"expected {wanted}, {got}" if wanted else f"`{_short(word)}` is not expected here"
    return Diagnostic("LZ100", message if wanted or word else "the statement is not complete", span, help=help)


def _form(statement: str) -> str:
    form = USAGE.get(statement)
    return f"the form is `{form}`" if form else "each statement begins with its keyword"


_KINDS = {
    "STRING": "a string in double quotes",
    "PERCENT": "a percentage such as `20%`",
    "DATE": "a date such as `2027-03-01`",
    "PACKAGE_NAME": "the name of a package",
    "SPECIFIER": "a version such as `>=1.4`",
}


def _wanted(automaton: Automaton, accepted: frozenset[str]) -> str:
    """`a value`, `` `for` ``, `` `{` or `=` ``; nothing where the list would be long."""
    if {"INT", "NAME", "LPAR"} <= accepted:
        return "a condition or a value" if "NOT" in accepted else "a value"
    items: list[str] = []
    if "GLOB" in accepted:
        items.append("a kernel, a backend or a pattern")
    elif "DOTTED" in accepted:
        items.append("an id")
    elif "NAME" in accepted:
        items.append("a name")
    if "INT" in accepted or "FLOAT" in accepted:
        items.append("a number")
    items.extend(text for terminal, text in _KINDS.items() if terminal in accepted)
    symbols = {
        name: re.sub(r"\\(.)", r"\1", text) for name, (_, fixed, text) in automaton.tables.patterns.items() if fixed
    }
    words = {terminal: keyword for keyword, terminal in automaton.tables.words.items()}
    items.extend(f"`{(symbols | words)[t]}`" for t in sorted(accepted) if t in symbols or t in words)
    if not items or len(items) > 4:
        return ""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} or {items[-1]}"


def _short(word: str) -> str:
    return word if len(word) <= 40 else f"{word[:37]}..."

"""Malformed examples -> messages. The parser stops on a text as it stops on one of these: then this is what to say.

An example is matched by the state of the automaton in which it stops, the kind of word there, and the statement
(an example that begins with `define` is one of conditions in any statement), so that one line here covers every text
with the same mistake, whatever its names.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

from layerzero.syntax.automaton import Automaton, Several, StopError
from layerzero.syntax.recovery import RULES
from layerzero.syntax.words import RESERVED


@dataclass(frozen=True, slots=True)
class Example:
    """One mistake: what to say (WORD stands for the word written there), what to do, and texts that make it."""

    message: str
    help: str
    texts: tuple[str, ...]


EXAMPLES: tuple[Example, ...] = (
    Example(
        "a chain holds comparisons only",
        "join the two tests with `and`",
        (
            "define a = x == y in {1}", "define a = x in {1} == y", "define a = x in {1} in {2}",
            "define a = x in 1..2 == y", "define a = x in 1.. < y", "define a = x == y not in {1}",
            'define a = x == y like "z"', 'define a = x like "z" == y', 'define a = x like "z" in {1}',
            "define a = x in ..2 == y", "define a = x in {1} != y", "define a = x in {1} < y",
         "define a = x in {1} > y",
            "define a = x in {1} <= y", "define a = x in {1} >= y", 'define a = x in {1} like "y"',
            'define a = x like "z" != y', "define a = x in {1} not in {2}", "define a = x in 1..2 in 3..4",
        ),
    ),
    Example(
        "a set needs at least one member",
        "a test that never holds is written `false`",
        ("define a = x in {}", "define a = x not in {}"),
    ),
    Example(
        "a set of kernels needs at least one pattern",
        "write `*` for every kernel",
        ("lock {}", "deny {}", "boost {} by 2", 'test "t" { given a expect {} }', "order {} > a"),
    ),
    Example(
        "`in` needs a set in braces or a range",
        "for example `in {1, 2}` or `in 1..8`",
        ("define a = x in (1, 2)", "define a = x in [1, 2]", 'define a = x in "s"', "define a = x in true",
         "define a = x not in (1)"),
    ),
    Example(
        "`in` needs a set in braces or a range",
        "one value is compared with `==`, or stands in braces: `in {1}`",
        ("define a = x in 5", "define a = x in y", "define a = x in -5", "define a = x in 5 define",
         "define a = x in y and",
         "define a = x in y, z", "define a = x in 1, 2"),
    ),
    Example(
        "a bound of the range is missing",
        "for example `1..8`, `1..<8`, `1..` or `..8`",
        ("define a = x in 1..<", "define a = x in 1..< and", "define a = x in {1..<}",
         "define a = x in ..", "define a = x in .. and", "field f: int in ..", "define a = x in {..}"),
    ),
    Example(
        "several kernels stand in braces",
        "write `{a, b}`",
        ("lock a, b", "deny a, b", "allow a.*, b", "boost a, b by 2", "quarantine a, b", "order a > b, c"),
    ),
    Example(
        "several kernels stand in braces without `or`",
        "write `{a, b}`",
        ("lock a or b", "deny a or b", "allow a.* or b", "allow a and b"),
    ),
    Example(
        "an order goes from the best to the least with `>`",
        "write `order best > next > *`",
        ("order a < b", "order a, b > c", "order a = b", "order a >= b"),
    ),
    Example(
        "a boost says by how much",
        "write `boost flash_attn by 1.5`",
        ("boost a 2", "boost a for b by 2", "boost a", "boost a when x", "boost {a} 2", "boost a.* 2"),
    ),
    Example(
        "a factor is a number",
        "write `boost flash_attn by 1.5`",
        ("boost a by x", 'boost a by "2"', "boost a by", "boost a by 50%"),
    ),
    Example(
        "a priority is a whole number",
        "write `priority 10`",
        ("deny a priority high", 'deny a priority "1"', "kernel a for b { priority high }"),
    ),
    Example(
        "`for` takes operations and views, not patterns",
        "an operation's name alone means all of its views: `for attention`",
        ("deny a for b.*", "deny a for *", "kernel a for b.* { }", "kernel a for * { }", "deny a for b, *"),
    ),
    Example(
        "`for` takes operations without braces",
        "write `for attention, rms_norm`",
        ("deny a for {b}", "kernel a for {b} {"),
    ),
    Example(
        "a kernel says which operation it is for",
        "write `kernel acme.decode for attention { ... }`",
        ("kernel a {", "kernel a.b {", 'kernel a "doc"', "kernel a"),
    ),
    Example(
        "a field needs a type",
        "write `field NAME: TYPE`, with `bool`, `int`, `float`, `string`, `version` or `enum(a, b)`",
        ("field a int", "field a = 1", "field a", "attribute a bool", "attribute a = 1", "attribute a"),
    ),
    Example(
        "`WORD` is not a type",
        "a type is `bool`, `int`, `float`, `string`, `version` or `enum(a, b)`",
        ("field a: b", "attribute a: b", "field a: {", "field a: 1"),
    ),
    Example(
        "an enum lists its members in brackets",
        "write `enum(full, sliding)`",
        ("field a: enum", "field a: enum {", "field a: enum[", "field a: enum = b"),
    ),
    Example(
        "a member of an enum is a bare name",
        "write `enum(full, sliding)`",
        ('field a: enum("b")', "field a: enum()", 'field a: enum(b, "c")', "field a: enum(1)"),
    ),
    Example(
        "the name of a policy stands in double quotes",
        'write `policy "production" version 1`',
        ("policy production", "policy"),
    ),
    Example(
        "a file to import stands in double quotes",
        'write `import "common.lzp"`',
        ("import common", "import"),
    ),
    Example(
        "a test has a name in double quotes",
        'write `test "what it shows" { ... }`',
        ("test long", "test {"),
    ),
    Example(
        "the name of a rule stands without quotes",
        "write `as pin_long_decode`",
        ('deny a as "b"', "deny a as 1"),
    ),
    Example(
        "a date is written YYYY-MM-DD, without quotes",
        "write `until 2027-03-01`",
        ('deny a until "2027-01-01"', "deny a until 2027/01/01", "deny a until 2027", "deny a until tomorrow",
         "deny a until"),
    ),
    Example(
        "a share is a percentage",
        "write `20%`",
        ("experiment a on b share 20 {", "experiment a on b share 0.5 {", "experiment a on b { arm c 50 }",
         "experiment a on b { arm c { } }", "experiment a on b { arm c }"),
    ),
    Example(
        "an experiment says which field enrols",
        "write `experiment NAME on tenant share 20% { ... }`",
        ("experiment a {", "experiment a share 20%", "experiment a"),
    ),
    Example(
        "`else` is followed by `choose`, `fallback` or `fail`",
        "`choose` goes on without the lock, `fallback` takes the operation's fallback, `fail` raises",
        ("lock a else", "lock a else error", "lock a else deny", "lock a else 1"),
    ),
    Example(
        "`min` and `max` take at least two values",
        "write `min(a, b)`",
        ("define a = min(b)", "define a = max(b)", "define a = min()"),
    ),
    Example(
        "`has` takes a field in brackets",
        "write `has(tenant)`",
        ("define a = has b", 'define a = has("b")', "define a = has()", "define a = has(b.c)", "define a = has"),
    ),
    Example(
        "`kernel` in a condition is followed by an attribute",
        "write `kernel.vendor_support`",
        ("define a = kernel == b", "define a = kernel", "define a = kernel and b", "define a = kernel.",
         "define a = kernel in {b}"),
    ),
    Example(
        "`package` in a condition takes a name in quotes and brackets",
        'write `package("flash-attn") >= "2.7"`',
        ('define a = package "b"', "define a = package(b)", "define a = package b", "define a = package == b"),
    ),
    Example(
        "a package is written without quotes",
        "write `package flash-attn >=2.7`",
        ('kernel a for b { package "c" >=1 }', 'test "t" { given package "c" ==1 }'),
    ),
    Example(
        "a version has its operator before it",
        "write `>=1.4`, `==2.8.*` or `<2`",
        ("kernel a for b { package c 1.4 }", "kernel a for b { package c = 1.4 }",
         "kernel a for b { package c >=1, 2 }", 'test "t" { given package c 1.4 }',
         "kernel a for b { package c >=1, d }",
         'test "t" { given package c = 1.4 }'),
    ),
    Example(
        "`not` stands before the whole comparison",
        "write `!=`, `not in` or `not (...)`",
        ("define a = b not == c", "define a = b == not c", "define a = b not c", "define a = b not > c",
         "define a = b < not c"),
    ),
    Example(
        "`like` needs a pattern in double quotes",
        'write `like "*H100*"`',
        ("define a = b like c", "define a = b like *c*", "define a = b like", "define a = b not like c",
         "define a = b like {"),
    ),
    Example(
        "a reason stands in double quotes",
        'write `because "..."`',
        ("deny a because b", "deny a because", "kernel a for b { require c because d }"),
    ),
    Example(
        "an owner stands in double quotes",
        'write `owner "..."`',
        ("deny a owner b", "deny a owner"),
    ),
    Example(
        "values are given with `=`",
        "write `head_dim = 128`",
        ("context a { b: 1 }", "device a { b: 1 }", "context a { b 1 }", "device a { b }", "context a { b, c }",
         "kernel a for b { set c: 1 }", "kernel a for b { set c }"),
    ),
    Example(
        "a comma is missing between two values",
        "write `a = 1, b = 2`",
        ("context a { b = 1 c = 2 }", 'test "t" { given a = 1 b = 2 expect c }', "device a { b = 1 c = 2 }"),
    ),
    Example(
        "a comma is missing between two items of `given`",
        "write `given attention, h100, batch = 8`",
        ('test "t" { given a b expect c }', 'test "t" { given a arm b.c }'),
    ),
    Example(
        "a view or feature says when it holds",
        "write `view decode when phase == decode`",
        ("operation a { view b }", "operation a { feature b }", "operation a { view b = c }",
         "operation a { feature b = c }",
         "operation a { feature b, c }", "operation a { feature b feature c when d }"),
    ),
    Example(
        "a condition is missing after `when`",
        "write `when batch > 32`, or leave `when` out",
        ("deny a when", "deny a when )", "deny a when }"),
    ),
    Example(
        "a value is missing here",
        "an operator stands between two values",
        ("define a = b ==", "define a = b and", "define a = b or", "define a = b +", "define a = b *",
         "define a = not",
         "define a = -", "define a = b == )", "define a = b and )", "define a = b == and", "define a = b and and",
         "define a =", "define a = )", "define a = b <", "define a = b and or c"),
    ),
    Example(
        "an operator is missing between two values",
        "join conditions with `and` or `or`, compare with `==`",
        ("define a = b (c)", "define a = b 1", "define a = 1 2", "define a = (b) (c)", "define a = b {"),
    ),
)  # fmt: skip


_LEXEME = re.compile(
    r'"(?:[^"\\\n]|\\[^\n])*"?|[0-9][A-Za-z0-9_]*(?:\.[0-9][A-Za-z0-9_]*|\.(?![.A-Za-z0-9]))*%?|\.[0-9]+'
    r"|[A-Za-z_][A-Za-z0-9_]*|`[^`\n]*`?|===|==|=>|!=|<=|>=|<>|&&|\|\||\*\*|//|\.\.<|\.\.|->|:=|\+=|."
)


def lexeme(text: str, offset: int) -> str:
    """What a reader would call the word at `offset`, whatever the grammar thinks of it; nothing at the end."""
    found = _LEXEME.match(text, offset)
    return found.group() if found else ""


def shape(word: str) -> str:
    """The kind of a word: names, numbers and strings are alike; signs, reserved words and the end are themselves."""
    if re.match(r"[a-z_`]", word):
        return word if word in RESERVED else "word"
    if re.match(r"[0-9.]+[0-9A-Za-z]", word) or word.isdigit():
        return "number"
    return '"' if word.startswith('"') else word


def example_for(automaton: Automaton, stop: StopError, text: str, word: str, statement: str) -> Example | None:
    """The example that stops as `stop` does, on such a word, in such a statement or else in any condition."""
    index = _index(automaton)
    kind = shape(word)
    for family in (_family(statement), "define"):
        found = index.get((_place(automaton, stop, text), kind, family)) or index.get((stop.state, kind, family))
        if found is not None:
            return found
    return None


def _place(automaton: Automaton, stop: StopError, text: str) -> tuple[frozenset[str], str]:
    """What could come instead; where that is one thing, and after `when`, also the word before."""
    before = re.search(r"[a-z]+$", text[max(0, stop.last - 20) : stop.last])
    word = before.group() if before else ""
    tells = word == "when" or (len(stop.accepted) == 1 and word in automaton.tables.words)
    return stop.accepted, word if tells else ""


def _family(statement: str) -> str:
    return "rule" if statement in RULES else statement


@functools.cache
def _index(automaton: Automaton) -> dict[tuple[object, str, str], Example]:
    """Where each example stops; the first example of a place has it.

    What could come instead tells most of a place. Where a word is too much after something complete, the state of the
    automaton is enough: it is that of the last word, which is the same in all statements.
    """
    found: dict[tuple[object, str, str], Example] = {}
    for example in EXAMPLES:
        for text in example.texts:
            stop = stop_of(automaton, text)
            kind, family = shape(lexeme(text, stop.offset)), _family(text.split()[0])
            found.setdefault((_place(automaton, stop, text), kind, family), example)
            if stop.whole:
                found.setdefault((stop.state, kind, family), example)
    return found


def stop_of(automaton: Automaton, text: str) -> StopError:
    """Where reading `text` stops.

    Raises:
        ValueError: the text is not malformed, so it is no example.
    """
    try:
        automaton.run(text, 0, _make_nothing, lambda start, end: None)
    except StopError as stop:
        return stop
    raise ValueError(f"this example is part of the language: {text}")


def _make_nothing(rule: str, parts: list[Any], start: int, end: int) -> Any:
    return Several() if rule == "_statement" else None

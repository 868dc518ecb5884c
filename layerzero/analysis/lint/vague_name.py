"""LZ601: a name that says nothing.

**What it does.** Looks at the names of rules, defines, fields, contexts and experiments: general words and numbers
(`rule1`, `tmp`, `test_2`), single letters, and words that are not joined by single underscores (`a__b`, `tmp_`).

**Why.** The name of a rule stands in every decision (`locked_by`), in logs and metrics, and is what people search for
at night. `rule1` tells them nothing, and moves when a rule is added above it.

**Avoid**

    lock flashinfer.decode for attention.decode when kv_len >= 8Ki as rule1

**Prefer**

    lock flashinfer.decode for attention.decode when kv_len >= 8Ki as pin_long_decode
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from layerzero.analysis.lint.subject import Subject
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic

_GENERAL = "rule lock deny allow boost order quarantine tmp temp test foo bar baz name define field context experiment"
_SAYS_NOTHING = re.compile(rf"(?:{_GENERAL.replace(' ', '|')})?_?\d*|[a-z]_?\d*")
_WORDS = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")


def check(subject: Subject) -> Iterator[Diagnostic]:
    for statement in subject.statements():
        for name in _declared(statement):
            if _SAYS_NOTHING.fullmatch(name.text):
                why = "it would suit any other as well"
            elif not _WORDS.fullmatch(name.text):
                why = "words are joined by single underscores"
            else:
                continue
            yield Diagnostic("LZ601", f"the name `{name.text}` says nothing", name.span, why, "name what it is for")


def _declared(statement: nodes.Statement) -> Iterator[nodes.Identifier]:
    match statement:
        case nodes.Define(name=name) | nodes.Field(name=name) | nodes.Context(name=name):
            yield name
        case nodes.Experiment(name=name, arms=arms):
            yield name
            for arm in arms:
                for rule in arm.rules:
                    yield from _declared(rule)
        case nodes.Rule(clauses=nodes.Clauses(name=nodes.Identifier() as name)):
            yield name
        case _:
            return

"""One entry of a YAML file, its shape checked -> a rule of the language."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Literal as OneOf, cast

from layerzero.notations import conditions
from layerzero.notations.conditions import Say
from layerzero.notations.models import Test
from layerzero.notations.shape import fit, is_meant, missing_key
from layerzero.notations.words import Words
from layerzero.notations.yaml_tree import Mapping, Scalar, Sequence, Tree
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.suggest import did_you_mean

EVERY = "*"
Preference = OneOf["lock", "allow", "deny", "boost"]
_ID = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z0-9_]+)*")
_PATTERN = re.compile(r"[a-z0-9_*]+(\.[a-z0-9_*]+)*")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_OTHERWISE: dict[str, OneOf["fail", "choose", "fallback"]] = {
    "fail": "fail",
    "choose": "choose",
    "fallback": "fallback",
}


def preference(kind: Preference, tree: Mapping, words: Words, say: Say) -> nodes.Rule | None:
    """An entry of `locks`, `allows`, `denies` or `boosts`, as far as it is right; None where it has no target."""
    target = _target(kind, tree, say)
    clauses = _clauses(tree, _condition(tree, words, say), say)
    factor = _scalar(tree, "boost_factor")
    if target is None:
        return None
    by = None if factor is None else conditions.number(factor, say)
    return nodes.Rule(kind, (target,), _operations(tree, words), clauses, by, span=tree.span)


def choice(tree: Mapping, rank: int, words: Words, say: Say) -> nodes.Rule | None:
    """A rule of `dispatch_config.yaml`. The first that matches wins, so each is a lock of a lower priority than the one
    before, and `else choose` where its kernel cannot run."""
    kernel = _scalar(tree, "kernel")
    pattern = None if kernel is None else _pattern(kernel, say)
    clauses = replace(
        _clauses(tree, _tests(tree, words, say), say),
        priority=nodes.Literal(rank, str(rank), span=tree.span),
        otherwise="choose",
    )
    if pattern is None:
        return None
    target = nodes.Target((pattern,), span=pattern.span)
    return nodes.Rule("lock", (target,), _operations(tree, words), clauses, span=tree.span)


# ---------------------------------------------------------------- operations and targets


def _operations(tree: Mapping, words: Words) -> tuple[nodes.Identifier, ...]:
    """`attention.*` is the operation with all its views, `*` every operation, another glob each that it matches; a
    name that does not exist stays, for the checker to report."""
    scalar = _scalar(tree, "operation")
    if scalar is None:  # said already
        return ()
    text, span = scalar.text, scalar.inner
    if text == EVERY:
        return ()
    if text.endswith(".*") and text[:-2] in words.operations:
        return (nodes.Identifier(text[:-2], span=span),)
    if "*" in text:
        glob = re.compile(".*".join(map(re.escape, re.split(r"\*+", text))))
        found = sorted(name for name in words.operations if glob.fullmatch(name))
        if found:
            return tuple(nodes.Identifier(name, span=span) for name in found)
    return (nodes.Identifier(text, span=span),)


def _target(kind: Preference, tree: Mapping, say: Say) -> nodes.Target | None:
    one, many = tree.items.get("backend"), tree.items.get("backends")
    if one is not None and many is not None:
        also = (Label(tree.keys["backend"].span, "the other"),)
        say(Diagnostic("LZ109", "`backend` and `backends` say the same thing", tree.keys["backends"].span,
                       help="keep one of them", labels=also))  # fmt: skip
        return None
    if one is None and many is None:
        if not any(is_meant(key, ("backend", "backends")) for key in tree.left_out):  # else it is said already
            say(missing_key(tree, "backend", 'a backend as in "flashinfer"; `backends` is a list of them', f"a {kind}"))
        return None
    if many is None:
        pattern = _pattern(cast(Scalar, one), say)
        return None if pattern is None else nodes.Target((pattern,), span=pattern.span)
    listed = cast(Sequence, many)
    patterns = [_pattern(cast(Scalar, item), say) for item in listed.items]
    found = tuple(pattern for pattern in patterns if pattern is not None)
    if len(found) < len(patterns):
        return None
    return nodes.Target(found, len(found) > 1, span=listed.span)


def _pattern(scalar: Scalar, say: Say) -> nodes.Pattern | None:
    if _PATTERN.fullmatch(scalar.text):
        return nodes.Pattern(scalar.text, span=scalar.inner)
    lower = scalar.text.strip().lower().replace("-", "_")
    help = f"did you mean `{lower}`?" if _PATTERN.fullmatch(lower) else 'as in "flash_attn.v3" or "torch.sdpa_*"'
    say(Diagnostic("LZ204", f"`{scalar.text}` is not a kernel, backend or glob", scalar.inner, help=help))
    return None


# ---------------------------------------------------------------- conditions


def _condition(tree: Mapping, words: Words, say: Say) -> nodes.Expression | None:
    """None for always, and where it cannot be read."""
    match tree.items.get("condition"):
        case Scalar() as text:
            return conditions.expression(text, say)
        case Mapping(items=items) as pairs:
            if not items:
                say(Diagnostic("LZ109", "an empty condition", pairs.span, help="leave `condition` out for always"))
            return conditions.pairs(pairs, words, say)
        case _:
            return None


def _tests(tree: Mapping, words: Words, say: Say) -> nodes.Expression | None:
    listed = tree.items.get("conditions")
    if not isinstance(listed, Sequence):
        return None
    return conditions.conjunction([_test(item, words, say) for item in listed.items], listed.span)


def _test(item: Tree, words: Words, say: Say) -> nodes.Expression | None:
    test, findings = fit(Test, item, "a test")
    for finding in findings:
        say(finding)
    return None if test is None or findings else conditions.test(test, words, say)


# ---------------------------------------------------------------- the rest


def _clauses(tree: Mapping, when: nodes.Expression | None, say: Say) -> nodes.Clauses:
    """The clauses that are right."""
    name, until, otherwise = (_scalar(tree, key) for key in ("name", "until", "else"))
    day = None
    if name is not None and not _ID.fullmatch(name.text):
        help = "lower-case words joined by `_` and `.`, as in pin_long_decode"
        say(Diagnostic("LZ109", f"`{name.text}` is not a rule's name", name.inner, help=help))
    if until is not None:
        day = _day(until.text)
        if day is None:
            say(Diagnostic("LZ101", f"`{until.text}` is not a day", until.inner, help="as in 2027-03-01"))
    if otherwise is not None and otherwise.text not in _OTHERWISE:
        help = did_you_mean(otherwise.text, _OTHERWISE) or "write fail, choose or fallback"
        say(Diagnostic("LZ109", f"`{otherwise.text}` is no way out of a lock", otherwise.inner, help=help))
    priority = _scalar(tree, "priority")
    rank = None
    if priority is not None:
        rank = conditions.number(priority, say)
    return nodes.Clauses(
        when=when,
        priority=rank,
        name=None if name is None or not _ID.fullmatch(name.text) else nodes.Identifier(name.text, span=name.inner),
        because=_text(tree, "because"),
        owner=_text(tree, "owner"),
        until=None if until is None or day is None else nodes.Day(day, span=until.inner),
        otherwise=None if otherwise is None else _OTHERWISE.get(otherwise.text),
        span=tree.span,
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def _scalar(tree: Mapping, key: str) -> Scalar | None:
    item = tree.items.get(key)
    return item if isinstance(item, Scalar) and item.value is not None else None


def _text(tree: Mapping, key: str) -> nodes.Text | None:
    found = _scalar(tree, key)
    return None if found is None else nodes.Text(found.text, span=found.inner)

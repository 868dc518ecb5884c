"""One entry of a YAML file, its shape checked -> a rule of the language."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal as OneOf, cast

from layerzero.notations import conditions
from layerzero.notations.conditions import Say
from layerzero.notations.models import Boost, Choice, Targeted, Test
from layerzero.notations.shape import fit, missing_key
from layerzero.notations.words import Words
from layerzero.notations.yaml_tree import Mapping, Scalar, Sequence, Tree
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.suggest import did_you_mean

EVERY = "*"
_ID = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z0-9_]+)*")
_PATTERN = re.compile(r"[a-z0-9_*]+(\.[a-z0-9_*]+)*")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_OTHERWISE = ("fail", "choose", "fallback")


def preference(kind: str, model: Targeted, tree: Mapping, words: Words, say: Say) -> nodes.Rule | None:
    """An entry of `locks`, `allows`, `denies` or `boosts`."""
    target = _target(kind, tree, say)
    right, when = _condition(tree, words, say)
    clauses = _clauses(tree, when, say)
    factor = None
    if isinstance(model, Boost):
        factor = conditions.number(cast(Scalar, tree.items["boost_factor"]), say)
        if factor is None:
            return None
    if target is None or not right or clauses is None:
        return None
    rule = cast(OneOf["lock", "allow", "deny", "boost"], kind)
    return nodes.Rule(rule, (target,), _operations(tree, words), clauses, factor, span=tree.span)


def choice(model: Choice, tree: Mapping, rank: int, words: Words, say: Say) -> nodes.Rule | None:
    """A rule of `dispatch_config.yaml`; the first that matches wins, so each is a lock of a lower priority than the
    one before, and `else choose` where its kernel cannot run."""
    pattern = _pattern(cast(Scalar, tree.items["kernel"]), say)
    right, when = _tests(tree, words, say)
    clauses = _clauses(tree, when, say)
    if pattern is None or not right or clauses is None:
        return None
    place = tree.span
    ranked = nodes.Clauses(
        when=clauses.when,
        priority=nodes.Literal(rank, str(rank), span=place),
        name=clauses.name,
        because=clauses.because,
        owner=clauses.owner,
        until=clauses.until,
        otherwise="choose",
        span=clauses.span,
    )
    target = nodes.Target((pattern,), span=pattern.span)
    return nodes.Rule("lock", (target,), _operations(tree, words), ranked, span=place)


# ---------------------------------------------------------------- operations and targets


def _operations(tree: Mapping, words: Words) -> tuple[nodes.Identifier, ...]:
    """`attention.*` is the operation with all its views, `*` every operation, another glob each that it matches; a
    name that does not exist stays, for the checker to report."""
    scalar = cast(Scalar, tree.items["operation"])
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


def _target(kind: str, tree: Mapping, say: Say) -> nodes.Target | None:
    one, many = tree.items.get("backend"), tree.items.get("backends")
    if one is not None and many is not None:
        also = (Label(tree.keys["backend"].span, "the other"),)
        say(Diagnostic("LZ109", "`backend` and `backends` say the same thing", tree.keys["backends"].span,
                       help="keep one of them", labels=also))  # fmt: skip
        return None
    if one is None and many is None:
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


def _condition(tree: Mapping, words: Words, say: Say) -> tuple[bool, nodes.Expression | None]:
    """Whether it could be read, and the condition, None for always."""
    item = tree.items.get("condition")
    if item is None:
        return True, None
    if isinstance(item, Mapping):
        found = conditions.pairs(item, words, say)
        if not item.items:
            say(Diagnostic("LZ109", "an empty condition", item.span, help="leave `condition` out for always"))
    else:
        found = conditions.expression(cast(Scalar, item), say)
    return found is not None, found


def _tests(tree: Mapping, words: Words, say: Say) -> tuple[bool, nodes.Expression | None]:
    listed = tree.items.get("conditions")
    if not isinstance(listed, Sequence) or not listed.items:
        return True, None  # an empty list is the usual way to write "always"
    tests = [_test(item, words, say) for item in listed.items]
    found = conditions.conjunction(tests, listed.span)
    return found is not None, found


def _test(item: Tree, words: Words, say: Say) -> nodes.Expression | None:
    shape, findings = fit(Test, item, "a test")
    for finding in findings:
        say(finding)
    return None if shape is None else conditions.test(cast(Mapping, item), words, say)


# ---------------------------------------------------------------- the rest


def _clauses(tree: Mapping, when: nodes.Expression | None, say: Say) -> nodes.Clauses | None:
    """None where a clause is wrong."""
    wrong: list[Diagnostic] = []
    name, until, otherwise = (_scalar(tree, key) for key in ("name", "until", "else"))
    day = None
    if name is not None and not _ID.fullmatch(name.text):
        help = "lower-case words joined by `_` and `.`, as in pin_long_decode"
        wrong.append(Diagnostic("LZ109", f"`{name.text}` is not a rule's name", name.inner, help=help))
    if until is not None:
        day = _day(until.text)
        if day is None:
            wrong.append(Diagnostic("LZ101", f"`{until.text}` is not a day", until.inner, help="as in 2027-03-01"))
    if otherwise is not None and otherwise.text not in _OTHERWISE:
        help = did_you_mean(otherwise.text, _OTHERWISE) or "write fail, choose or fallback"
        wrong.append(Diagnostic("LZ109", f"`{otherwise.text}` is no way out of a lock", otherwise.inner, help=help))
    priority = _scalar(tree, "priority")
    rank = None
    if priority is not None:
        rank = conditions.number(priority, wrong.append)
    for finding in wrong:
        say(finding)
    if wrong:
        return None
    return nodes.Clauses(
        when=when,
        priority=rank,
        name=None if name is None else nodes.Identifier(name.text, span=name.inner),
        because=_text(tree, "because"),
        owner=_text(tree, "owner"),
        until=None if until is None or day is None else nodes.Day(day, span=until.inner),
        otherwise=None if otherwise is None else cast(OneOf["fail", "choose", "fallback"], otherwise.text),
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

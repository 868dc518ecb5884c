"""Rules -> functions that decide: LayerZero, two baselines and a plain call. The peers are in peers.py.

An engine is built once for a set of rules; what it lets one prepare per context is prepared outside of the clock; what
is timed is one call from the prepared context to the name of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

from benchmarks.peers.rules import DEFAULT, ENUMS, FIELDS, KERNELS, RANGES, Between, Context, OneOf, RuleSet, Test
from layerzero.compiler.dump import operation_stats
from layerzero.runtime.policy import Policy

Decide = Callable[[Any], str]
Prepare = Callable[[Context], Any]


@dataclass(frozen=True, slots=True)
class Built:
    """An engine with the rules in it: `decide(prepare(context))` is a kernel's id.

    `notes` say what of its own the engine chose, such as LayerZero's structure.
    """

    decide: Decide
    prepare: Prepare
    notes: str = ""


class Engine(Protocol):
    """`name` is the row of the tables, `package` the distribution whose version is told, None for our own code."""

    name: str
    package: str | None
    how: str

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built: ...


# ---------------------------------------------------------------- baselines


class EmptyCall:
    """The unit: a Python function of one argument that returns a constant."""

    name, package = "empty Python call", None
    how = "`def f(context): return name`"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        def empty(context: Context) -> str:
            return DEFAULT

        return Built(empty, lambda context: context)


class Dictionary:
    """What a cache with an exact key costs when every context has been seen: it never misses here."""

    name, package = "dictionary keyed by the context", None
    how = "a tuple of all fields as the key, filled in with every context beforehand: no miss"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        key = itemgetter(*FIELDS)
        table = {key(context): rules.answer(context) for context in asked}

        def decide(context: Context) -> str:
            return table[key(context)]

        return Built(decide, lambda context: context)


class IfChain:
    """What a person would write by hand, rule by rule."""

    name, package = "generated `if` chain", None
    how = "one Python function with one `if` per rule, fields in locals"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        lines = ["def decide(context):", *(f"    {field} = context[{field!r}]" for field in FIELDS)]
        for rule in rules.rules:
            condition = " and ".join(_python(test) for test in rule.tests)
            lines.append(f"    if {condition}: return {rule.kernel!r}")
        lines.append(f"    return {DEFAULT!r}")
        namespace: dict[str, Any] = {}
        exec(compile("\n".join(lines), "<if chain>", "exec"), namespace)
        return Built(namespace["decide"], lambda context: context)


def _python(test: Test) -> str:
    match test:
        case OneOf(field, (member,)):
            return f"{field} == {member!r}"
        case OneOf():
            return f"{test.field} in {test.members!r}"
        case Between():
            low, high = RANGES[test.field]
            if test.low == test.high:
                return f"{test.field} == {test.low}"
            if test.high == high:
                return f"{test.field} >= {test.low}"
            return f"{test.field} <= {test.high}" if test.low == low else f"{test.low} <= {test.field} <= {test.high}"


# ---------------------------------------------------------------- LayerZero


class LayerZero:
    """`policy.decide(prepared)`, with the Python matcher that serves where there is no native one."""

    name, package = "LayerZero, prepared context", None
    how = "`policy.decide(prepared).kernel`, with `policy.prepare` outside of the clock"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        policy = Policy.from_text(policy_text(rules), prelude=False)
        return Built(
            lambda prepared: policy.decide(prepared).kernel or "",
            lambda context: policy.prepare(with_operation(context)),
            _compiled(policy, asked),
        )


class LayerZeroPlain:
    """The same with the validation of a plain dictionary inside the clock."""

    name, package = "LayerZero, plain dictionary", None
    how = "`policy.decide(dictionary).kernel`: names, types and ranges are checked each time"

    def build(self, rules: RuleSet, asked: Sequence[Context]) -> Built:
        policy = Policy.from_text(policy_text(rules), prelude=False)
        return Built(lambda context: policy.decide(context).kernel or "", with_operation, _compiled(policy, asked))


def with_operation(context: Context) -> dict[str, Any]:
    return {"operation": "attention", **context}


def policy_text(rules: RuleSet) -> str:
    """The list as locks of falling priority: only the highest that applies counts, so the first match wins."""
    lines = [f'policy "{rules.name}"']
    lines += [f"field {field}: enum({', '.join(members)})" for field, members in ENUMS.items()]
    lines += [f"field {field}: int in {low}..{high}" for field, (low, high) in RANGES.items()]
    lines += [f"operation attention {{ needs {', '.join(FIELDS)} fallback {DEFAULT} }}"]
    lines += [f"kernel {DEFAULT} for attention {{ priority 100 }}"]
    lines += [f"kernel {kernel} for attention {{ priority 10 }}" for kernel in KERNELS]
    for number, rule in enumerate(rules.rules):
        condition = " and ".join(_lzp(test) for test in rule.tests)
        rank = len(rules.rules) - number
        lines.append(f"lock {rule.kernel} for attention when {condition} as r{number} priority {rank} else choose")
    return "\n".join(lines)


def _lzp(test: Test) -> str:
    match test:
        case OneOf(field, members):
            return f"{field} in {{{', '.join(str(member) for member in members)}}}"
        case Between():
            low, high = RANGES[test.field]
            if test.low == test.high:
                return f"{test.field} == {test.low}"
            if test.high == high:
                return f"{test.field} >= {test.low}"
            return f"{test.field} <= {test.high}" if test.low == low else f"{test.low} <= {test.field} <= {test.high}"


def _compiled(policy: Policy, asked: Sequence[Context]) -> str:
    """Make the matcher of every device asked about, as a process does at its start; say what the first one is."""
    devices = sorted({context["sm"] for context in asked})
    forms = [policy.snapshot.matcher({"sm": sm}).form for sm in devices]
    first = str(operation_stats(forms[0].operations["attention"])).partition(": ")[2]
    return f"{len(devices)} matchers, one per `sm`; that of {devices[0]}: {first}"


BASELINES: tuple[Engine, ...] = (EmptyCall(), Dictionary(), IfChain())
OWN: tuple[Engine, ...] = (LayerZero(), LayerZeroPlain())

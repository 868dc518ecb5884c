"""A rule and a call -> whether the rule applies, to which kernels, and what is missing where that is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from layerzero.check.expressions import ArmIs, Expression
from layerzero.check.program import Operation, Rule
from layerzero.semantics.assumptions import assumed_packages, unknown_only_by_package
from layerzero.semantics.call import Call
from layerzero.semantics.evaluate import holds, missing, spell_package, values_read
from layerzero.semantics.proof import Reason, RejectionKind
from layerzero.semantics.values import UNKNOWN, Truth, conjunction


@dataclass(frozen=True, slots=True)
class Application:
    """What one rule says about one call.

    `kernels` are the operation's kernels for which its condition is fulfilled; a quarantine's are those for which it
    is not false. `unknown` are those for which it is unknown. `assumed` names, by kernel, the packages whose assumed
    presence alone kept a quarantine from applying.
    """

    rule: Rule
    applies: bool
    kernels: frozenset[str]
    unknown: frozenset[str]
    missing: tuple[str, ...]
    assumed: Mapping[str, tuple[str, ...]]
    expired: bool = False


def applications(call: Call) -> tuple[Application, ...]:
    """Every rule with something to say about a call, in an order of their own: layer, priority, name, place."""
    found = (_remembered(call, rule) for rule in call.program.rules if rule.concerns(call.operation.name))
    return tuple(sorted(filter(_says_something, found), key=lambda one: _rank(one.rule)))


def speaks(call: Call, rule: Rule) -> bool:
    """Whether a rule has something to say about a call."""
    return _says_something(_remembered(call, rule))


def _says_something(found: Application | None) -> TypeGuard[Application]:
    return found is not None and bool(found.applies or found.unknown or found.assumed or found.expired)


def read_by_rule(operation: Operation, rule: Rule) -> list[Expression]:
    """What a rule looks at in an operation: its condition, and the views that it is written for."""
    scopes = (scope for scope in rule.scopes if scope.operation == operation.name)
    views = [operation.views[scope.view] for scope in scopes if scope.view is not None]
    return views if rule.condition is None else [rule.condition, *views]


def _remembered(call: Call, rule: Rule) -> Application | None:
    if call.arms or rule.arm is not None:
        return _application(call, rule)
    (found,) = call.recall(
        (id(rule), call.operation.name),
        lambda: [read_by_rule(call.operation, rule)],
        lambda: (_application(call, rule),),
    )
    return found


def _rank(rule: Rule) -> tuple[int, int, str, str, int]:
    return (-rule.layer, -rule.priority, rule.name, rule.span.source.name, rule.span.start)


def of_kind(applications: Iterable[Application], kind: str) -> tuple[Application, ...]:
    """The rules of one kind that apply."""
    return tuple(one for one in applications if one.rule.kind == kind and one.applies)


def _application(call: Call, rule: Rule) -> Application | None:
    own = rule.kernels.intersection(call.kernels)
    if rule.arm is not None and call.arms.get(rule.arm[0]) != rule.arm[1]:
        return None
    if not own and not _counts_without_kernels(rule):
        return None
    expired = rule.until is not None and rule.until <= call.environment.today
    if expired:
        return Application(rule, False, own, frozenset(), (), {}, expired)
    if rule.kind == "quarantine":
        return _quarantine(call, rule, own)
    if not rule.reads_kernel:
        truth = conjunction((call.inside(rule.scopes), holds(rule.condition, call.lookups)))
        truths = dict.fromkeys(own, truth)
        applies, unknown = truth is True, own if truth is UNKNOWN else frozenset[str]()
    else:
        truths = _truths(call, rule, own)
        applies = True in truths.values()
        unknown = frozenset(kernel for kernel, truth in truths.items() if truth is UNKNOWN)
    kernels = frozenset(kernel for kernel, truth in truths.items() if truth is True)
    return Application(rule, applies, kernels, unknown, _missing(call, rule, unknown), {})


def _counts_without_kernels(rule: Rule) -> bool:
    """An allow, lock or order that is written for an operation counts there even if it matches none of its kernels."""
    return rule.kind in ("allow", "lock", "order") and bool(rule.scopes) and not rule.reads_kernel


def _truths(call: Call, rule: Rule, kernels: Iterable[str]) -> dict[str, Truth]:
    inside = call.inside(rule.scopes)
    return {kernel: conjunction((inside, holds(rule.condition, call.about(kernel)))) for kernel in sorted(kernels)}


def _quarantine(call: Call, rule: Rule, own: frozenset[str]) -> Application:
    """Unknown applies, unless offline only the version of an assumed package keeps it unknown."""
    truths = _truths(call, rule, own)
    unknown = frozenset(kernel for kernel, truth in truths.items() if truth is UNKNOWN)
    assumed = {kernel: _assumed(call, rule, kernel) for kernel in unknown} if call.environment.assume_packages else {}
    assumed = {kernel: packages for kernel, packages in assumed.items() if packages}
    unknown = unknown.difference(assumed)
    kernels = frozenset(kernel for kernel, truth in truths.items() if truth is not False).difference(assumed)
    return Application(rule, bool(kernels), kernels, unknown, _missing(call, rule, unknown), assumed)


def _assumed(call: Call, rule: Rule, kernel: str) -> tuple[str, ...]:
    """The packages whose version alone leaves a quarantine unknown; none where the view is unknown as well."""
    condition, lookups = rule.condition, call.about(kernel)
    if condition is None or call.inside(rule.scopes) is UNKNOWN or not unknown_only_by_package(condition, lookups):
        return ()
    return tuple(spell_package(name) for name in assumed_packages(condition, lookups))


def _missing(call: Call, rule: Rule, unknown: frozenset[str]) -> tuple[str, ...]:
    if not unknown:
        return ()
    names = list(call.missing_views(rule.scopes)) if call.inside(rule.scopes) is UNKNOWN else []
    if rule.condition is not None:
        for kernel in sorted(unknown):
            names.extend(missing(rule.condition, call.about(kernel)))
    return tuple(dict.fromkeys(names))


def reason(kind: RejectionKind, call: Call, rule: Rule, kernel: str) -> Reason:
    """Why a rule removes a kernel: its condition as written (its own text, where it has none) and what that read."""
    condition, lookups = rule.condition, call.about(kernel)
    views = call.missing_views(rule.scopes) if call.inside(rule.scopes) is UNKNOWN else ()
    if condition is None or isinstance(condition, ArmIs):
        return Reason(kind, rule.span.text, {}, str(rule.span), rule.because, rule.name, missing=views)
    # Inside an arm the condition is `arm and written`, with the place of what is written.
    text, got = condition.span.text, values_read(condition, lookups)
    absent = tuple(dict.fromkeys((*views, *missing(condition, lookups))))
    return Reason(kind, text, got, str(rule.span), rule.because, rule.name, missing=absent)

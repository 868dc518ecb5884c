"""Wrong compilers: each changes one thing that the language says. A property run that misses one is too weak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from layerzero.compiler import codegen, context_fields, expressions, lower, probes, reduce, specialise, terms
from layerzero.compiler.codegen import _Function
from layerzero.compiler.lower import _Lowering
from layerzero.compiler.specialise import Specialiser
from layerzero.compiler.stages import Stages, union
from layerzero.compiler.terms import FALSE, TRUE, UNKNOWN, Pool
from layerzero.semantics.proof import Outcome


@dataclass(frozen=True)
class Mutation:
    name: str
    apply: Callable[[pytest.MonkeyPatch], None]


MUTATIONS: list[Mutation] = []


def replaces(owner: Any, attribute: str, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A mutation that puts a function in the place of another; the function gets the original first."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        original = getattr(owner, attribute)

        def patched(*arguments: Any, **named: Any) -> Any:
            return function(original, *arguments, **named)

        MUTATIONS.append(Mutation(name, lambda patch: patch.setattr(owner, attribute, patched)))
        return function

    return register


# ---------------------------------------------------------------- three values


@replaces(_Lowering, "applies", "an unknown quarantine does not apply")
def _(original: Any, self: Any, rule: Any, asked: Any) -> Any:
    return original(self, replace(rule, kind="deny") if rule.kind == "quarantine" else rule, asked)


@replaces(_Lowering, "applies", "an unknown rule applies")
def _(original: Any, self: Any, rule: Any, asked: Any) -> Any:
    condition = self.pool.conjunction((self.inside(rule), asked.condition(rule.condition)))
    return self.pool.truth(condition, TRUE | UNKNOWN)


@replaces(_Lowering, "inside", "a quarantine for a view applies in every view")
def _(original: Any, self: Any, rule: Any) -> Any:
    return self.pool.true if rule.kind == "quarantine" else original(self, rule)


@replaces(_Lowering, "true_or_assumed", "an unknown requirement holds")
def _(original: Any, self: Any, condition: Any, asked: Any) -> Any:
    return self.pool.truth(asked.term(condition), TRUE | UNKNOWN)


@replaces(_Lowering, "served", "an unknown feature is not demanded")
def _(original: Any, self: Any, kernel: Any, feature: str) -> Any:
    term = self.specialiser.term(self.operation.features[feature])
    return self.pool.any_of((self.pool.truth(term, UNKNOWN), original(self, kernel, feature)))


@replaces(_Lowering, "served", "an unknown `supports when` supports")
def _(original: Any, self: Any, kernel: Any, feature: str) -> Any:
    asked = self.asked[kernel.id]
    lines = [line for line in kernel.supports if line.feature == feature]
    said = [self.pool.truth(asked.condition(line.when), TRUE | UNKNOWN) for line in lines]
    return self.pool.any_of((self.not_demanded[feature], *said))


@replaces(Pool, "_truth", "a conjunction is false only where all of it is")
def _(original: Any, self: Any, term: int, allowed: int) -> Any:
    node = self.nodes[term]
    if node[0] == "and" and allowed == FALSE:
        return self.all_of(tuple(self.truth(part, FALSE) for part in node[1:]))
    return original(self, term, allowed)


@replaces(Pool, "_truth", "`X if C else Y` takes Y where C is unknown")
def _(original: Any, self: Any, term: int, allowed: int) -> Any:
    node = self.nodes[term]
    if node[0] != "either":
        return original(self, term, allowed)
    yes = self.all_of((self.truth(node[1], TRUE), self.truth(node[2], allowed)))
    no = self.all_of((self.truth(node[1], FALSE | UNKNOWN), self.truth(node[3], allowed)))
    return self.any_of((yes, no))


@replaces(expressions.Block, "_literal", "what is not known to be true is false")
def _(original: Any, self: Any, atom: int, allowed: int) -> Any:
    return original(self, atom, {FALSE: FALSE | UNKNOWN}.get(allowed, allowed))


@replaces(probes, "_value_of", "an absent field fails a comparison instead of leaving it unknown")
def _(original: Any, pool: Any, atom: Any, value: Any) -> Any:
    found = original(pool, atom, value)
    return FALSE if found == UNKNOWN else found


# ---------------------------------------------------------------- comparison and arithmetic


@replaces(Pool, "compare", "`<=` for `<`")
def _(original: Any, self: Any, operator: str, left: int, right: int) -> Any:
    return original(self, "<=" if operator == "<" else operator, left, right)


@replaces(Specialiser, "_matches", "`..<` includes its end")
def _(original: Any, self: Any, operand: Any, item: Any) -> Any:
    return original(self, operand, replace(item, high_open=False) if getattr(item, "high_open", False) else item)


@replaces(Specialiser, "_matches", "a range excludes its low end")
def _(original: Any, self: Any, operand: Any, item: Any) -> Any:
    low = getattr(item, "low", None)
    found = original(self, operand, item)
    return found if low is None else self.pool.conjunction((found, self._compare("!=", operand, low)))


@replaces(Specialiser, "_like", "`like` matches everything")
def _(original: Any, self: Any, text: int, pattern: str) -> Any:
    return original(self, text, "*")


@replaces(Pool, "arithmetic", "`%` by a negative number truncates, as in C")
def _(original: Any, self: Any, operator: str, kind: str, left: int, right: int) -> Any:
    if operator != "%":
        return original(self, operator, kind, left, right)
    quotient = self.arithmetic("//", kind, left, self.extremum("max", kind, (right, self.constant(1))))
    return self.arithmetic("-", kind, left, self.arithmetic("*", kind, quotient, right))


@replaces(Pool, "extremum", "`max` is `min`")
def _(original: Any, self: Any, function: str, kind: str, parts: Any) -> Any:
    return original(self, "min", kind, parts)


@replaces(expressions.Block, "_limited", "integers do not overflow")
def _(original: Any, self: Any, term: int, kind: str, guards: Any, text: str) -> Any:
    return (guards, text) if kind == "int" else original(self, term, kind, guards, text)


@replaces(expressions.Block, "_may_be_zero", "a division by zero is not looked for")
def _(original: Any, self: Any, term: int) -> Any:
    return False


@replaces(probes, "_start", "a class of integers begins one later")
def _(original: Any, key: Any, kind: str) -> Any:
    start, above = original(key, kind)
    return (start + 1, above) if kind == "int" else (start, above)


@replaces(probes, "_start", "a double that equals a bound counts as above it")
def _(original: Any, key: Any, kind: str) -> Any:
    return original(key, kind) if kind == "int" else (key[0], 1)


def _versions_as_text(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(terms, "holds", _holds_as_text)


def _holds_as_text(operator: str, one: Any, other: Any) -> bool:
    if not isinstance(one, int | float):
        one, other = str(one), str(other)
    return bool({"==": one == other, "<": one < other, "<=": one <= other}[operator])


MUTATIONS.append(Mutation("versions compare as text", _versions_as_text))


# ---------------------------------------------------------------- context


@replaces(_Function, "_fitted", "a derived default is not held to its range")
def _(original: Any, self: Any, block: Any, value: str, load: Any) -> Any:
    return original(self, block, value, replace(load, low=None, high=None))


@replaces(context_fields, "_as_field", "defaults are not filled in")
def _(original: Any, pool: Any, default: Any, field: Any) -> Any:
    return None


@replaces(codegen, "_may_be_nan", "NaN is a number")
def _(original: Any, load: Any) -> Any:
    return False


@replaces(_Function, "lookup", "an absent field is in the first class")
def _(original: Any, self: Any, probe: Any, slots: Any) -> Any:
    return original(self, probe, (*slots[:-1], slots[0]))


@replaces(_Function, "load", "a needed field may be absent")
def _(original: Any, self: Any, index: int, load: Any, invalid: Any) -> Any:
    return [line for line in original(self, index, load, invalid) if "return" not in line]


@replaces(Specialiser, "about", "`kernel.X` is unknown")
def _(original: Any, self: Any, attributes: Any) -> Any:
    return original(self, {})


# ---------------------------------------------------------------- feasible


@replaces(_Lowering, "present", "packages, adapters and breakers are not asked")
def _(original: Any, self: Any, kernel: Any) -> Any:
    return True


@replaces(_Lowering, "present", "an open breaker does not matter")
def _(original: Any, self: Any, kernel: Any) -> Any:
    self.environment = replace(self.environment, open_breakers={})
    return original(self, kernel)


@replaces(lower, "_accepted", "a package that does not import counts as installed")
def _(original: Any, line: Any, environment: Any) -> Any:
    return original(line, replace(environment, broken={}))


@replaces(lower, "_accepted", "any alternative of a package line will do")
def _(original: Any, line: Any, environment: Any) -> Any:
    return any(original(replace(line, alternatives=(one,)), environment) for one in line.alternatives)


@replaces(lower, "unknown_only_by_package", "nothing is assumed about packages")
def _(original: Any, condition: Any, asked: Any) -> Any:
    return asked.pool.false


@replaces(lower, "unknown_only_by_package", "everything unknown beside a package is assumed")
def _(original: Any, condition: Any, asked: Any) -> Any:
    pool = asked.pool
    return pool.false if original(condition, asked) == pool.false else pool.truth(asked.term(condition), UNKNOWN)


@replaces(lower, "_expired", "a rule still applies on its last day")
def _(original: Any, rule: Any, environment: Any) -> Any:
    return rule.until is not None and rule.until < environment.today


# ---------------------------------------------------------------- lock, allow, deny


@replaces(Stages, "highest", "rules of every rank count")
def _(original: Any, self: Any, kind: Any, parts: int) -> Any:
    return self.about(parts & self.kinds.get(kind, 0))


@replaces(Stages, "targets", "the targets of locks are united")
def _(original: Any, self: Any, applied: Any, locks: Any) -> Any:
    return applied.feasible & union(locks)


@replaces(Stages, "targets", "deny before lock")
def _(original: Any, self: Any, applied: Any, locks: Any) -> Any:
    return original(self, applied, locks) & ~union(applied.of("deny"))


@replaces(Stages, "outcome", "a lock that misses always goes on")
def _(original: Any, self: Any, parts: int) -> Any:
    return original(replace(self, lowered=_otherwise(self.lowered, "choose")), parts)


@replaces(Stages, "outcome", "`else fallback` fails")
def _(original: Any, self: Any, parts: int) -> Any:
    return original(replace(self, lowered=_otherwise(self.lowered, "fail", only="fallback")), parts)


def _otherwise(lowered: Any, wanted: str, only: str | None = None) -> Any:
    rules = [replace(one, otherwise=wanted) if only in (None, one.otherwise) else one for one in lowered.rules]
    return replace(lowered, rules=tuple(rules))


@replaces(Stages, "allowed_and_not_denied", "allows are not asked")
def _(original: Any, self: Any, applied: Any, candidates: int) -> Any:
    return candidates & ~union(applied.of("deny"))


@replaces(Stages, "allowed_and_not_denied", "every allow must match")
def _(original: Any, self: Any, applied: Any, candidates: int) -> Any:
    for kernels in applied.of("allow").values():
        candidates &= kernels
    return candidates & ~union(applied.of("deny"))


# ---------------------------------------------------------------- score and order


def _scores(sort: Callable[[list[float]], list[float]]) -> Callable[..., Any]:
    def scores(original: Any, self: Any, applied: Any, kernels: int) -> dict[int, float]:
        found = original(self, replace(applied, rules={}), kernels)
        for kernel in found:
            boosts = applied.of("boost").items()
            for factor in sort([self.lowered.rules[rule].factor for rule, about in boosts if about >> kernel & 1]):
                found[kernel] *= factor
        return dict(found)

    return scores


replaces(Stages, "scores", "factors are multiplied in descending order")(_scores(lambda all: sorted(all, reverse=True)))
replaces(Stages, "scores", "only the strongest boost counts")(_scores(lambda all: sorted(all)[-1:]))
replaces(Stages, "scores", "a boost by 0 is no boost")(_scores(lambda all: sorted(one for one in all if one)))


@replaces(Stages, "rank", "ties go to the larger id")
def _(original: Any, self: Any, *arguments: Any) -> Any:
    *before, last = original(self, *arguments)
    return (*before, -last)


@replaces(Stages, "rank", "equal scores do not ask for the priority")
def _(original: Any, self: Any, *arguments: Any) -> Any:
    positions, score, _, last = original(self, *arguments)
    return positions, score, 0, last


@replaces(Stages, "rank", "score before order")
def _(original: Any, self: Any, *arguments: Any) -> Any:
    positions, score, priority, last = original(self, *arguments)
    return score, positions, priority, last


@replaces(Stages, "position", "what no target matches comes first")
def _(original: Any, self: Any, order: int, about: int, kernel: int) -> Any:
    found = original(self, order, about, kernel)
    return -1 if found == len(self.lowered.rules[order].positions) else found


@replaces(Stages, "agreeing", "orders that disagree apply")
def _(original: Any, self: Any, parts: int, candidates: int) -> Any:
    return self.highest("order", parts)


# ---------------------------------------------------------------- fallback


@replaces(Stages, "fallback", "`strict` does not matter")
def _(original: Any, self: Any, applied: Any, ordered_by: Any) -> Any:
    return original(replace(self, lowered=replace(self.lowered, strict=False)), applied, ordered_by)


@replaces(Stages, "fallback", "a denied kernel is a fallback")
def _(original: Any, self: Any, applied: Any, ordered_by: Any) -> Any:
    applied.rules.pop("deny", None)
    return original(self, applied, ordered_by)


@replaces(Stages, "fallback", "a degraded decision has no boosts")
def _(original: Any, self: Any, applied: Any, ordered_by: Any) -> Any:
    applied.rules.pop("boost", None)
    return original(self, applied, ordered_by)


@replaces(Stages, "fallback", "the strongest fallback, not the first")
def _(original: Any, self: Any, applied: Any, ordered_by: Any) -> Any:
    found: Outcome = original(self, applied, ordered_by)
    usable = [k for k in self.lowered.fallback if applied.feasible & ~union(applied.of("deny")) >> k & 1]
    if found.kernel is None or not usable:
        return found
    best = min(usable, key=lambda kernel: self.lowered.priorities[kernel])
    return replace(found, kernel=self.lowered.kernels[best], score=self.scores(applied, 1 << best)[best])


# ---------------------------------------------------------------- the tree


@replaces(reduce._Step, "score_bounds", "the tree forgets boosts that may still apply")
def _(original: Any, self: Any) -> Any:
    kept, self.state = self.state, self.state & ~self.open
    found = original(self)
    self.state = kept
    return found


@replaces(reduce._Step, "remove_quarantined", "the tree forgets quarantines that may still apply")
def _(original: Any, self: Any) -> Any:
    original(self)
    self.may_be_quarantined = 0


@replaces(reduce._Step, "trim_fallbacks", "the tree keeps the first fallback only")
def _(original: Any, self: Any) -> Any:
    self.keep_kernels(1 << self.lowered.fallback[0] if self.lowered.fallback else 0)


@replaces(reduce._Step, "look_at_allows", "the tree takes an allow that may apply for one that does")
def _(original: Any, self: Any) -> Any:
    possible, _ = original(self)
    return possible, self.kernels


@replaces(specialise, "_stored_kind", "doubles are cut as integers are")
def _(original: Any, kind: str) -> Any:
    return "int" if kind == "float" else original(kind)


__all__ = ["MUTATIONS", "Mutation"]

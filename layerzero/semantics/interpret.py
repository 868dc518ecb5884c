"""Program, environment and context -> the decision and its proof: section 4 of the language, stage by stage.

This is the definition. It is slow, reads like the text it implements, and every other engine is held equal to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal as OneOf

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ContextError
from layerzero.semantics.applicability import Application, applications, of_kind, reason
from layerzero.semantics.call import Call
from layerzero.semantics.context import complete
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import stopped_notes
from layerzero.semantics.feasibility import feasibility
from layerzero.semantics.memory import Memory
from layerzero.semantics.proof import AppliedRule, Boost, Failure, Proof, Reason, RejectionKind, Stage, Verdict

_EMPTY: Mapping[str, str] = {}


def decide(
    program: Program,
    environment: Environment,
    scope: Scope,
    values: Mapping[str, Value],
    arms: Mapping[str, str] = _EMPTY,
    memory: Memory | None = None,
) -> Proof:
    """Which kernel serves a call, and why.

    Args:
        values: given values under canonical names, as `read_context` returns them; completed here.
        arms: `{experiment: arm}` that the call is enrolled in.
        memory: Of this program and environment, to decide many contexts.

    A context that cannot be completed gives a proof with the error `invalid_context` and no verdicts.
    """
    try:
        completed = complete(program, scope, values)
    except ContextError as problem:
        failure = Failure("invalid_context", str(problem))
        return Proof(scope, values, values, None, None, False, (), (), arms, (), {}, (), failure)
    call = Call(program, environment, program.operations[scope.operation], completed.values, arms, memory)
    trial = _Trial(call, applications(call))
    trial.decide()
    return Proof(
        scope=scope,
        given=values,
        values=completed.values,
        kernel=trial.chosen,
        score=None if trial.chosen is None else trial.score(trial.chosen),
        degraded=trial.degraded,
        locked_by=trial.locked_by,
        ordered_by=_names(trial.orders),
        arms=arms,
        assumed=trial.assumed,
        verdicts={kernel: trial.verdict(kernel) for kernel in call.kernels},
        rules=trial.applied_rules(),
        error=trial.error,
        notes=(*completed.notes, *trial.notes, *stopped_notes(program, environment, values)),
        features=call.features,
        views=tuple(name for name, truth in call.views.items() if truth is True),
    )


@dataclass
class _Trial:
    """The state of one decision as it passes the stages. `removed` holds the first stage that removed a kernel."""

    call: Call
    applications: tuple[Application, ...]
    removed: dict[str, tuple[Stage, tuple[Reason, ...]]] = field(default_factory=dict)
    candidates: frozenset[str] = frozenset()
    feasible: frozenset[str] = frozenset()
    assumed: tuple[str, ...] = ()
    locked_by: tuple[str, ...] = ()
    orders: tuple[Application, ...] = ()
    chosen: str | None = None
    degraded: bool = False
    error: Failure | None = None
    notes: list[str] = field(default_factory=list)
    comments: dict[int, tuple[bool, str]] = field(default_factory=dict)  # id of an application -> asked, note

    def decide(self) -> None:
        self.find_feasible()
        then = self.ask_locks()
        if then in ("locked", "fail"):
            self.not_asked(("allow", "deny"), "a lock decides")
        elif then == "fallback":
            self.not_asked(("allow",), "a lock decides")
        else:
            self.ask_allows()
            self.ask_denies()
        if then == "fail":
            return
        if then != "fallback" and self.candidates:
            self.ask_orders()
            self.chosen = min(self.candidates, key=self.rank)
        else:
            self.fall_back()

    # ------------------------------------------------------------ 1 and 2: candidates, feasible

    def find_feasible(self) -> None:
        """Safety is not a preference: nothing after this brings back a kernel that is not feasible."""
        quarantines = [one for one in self.applications if one.rule.kind == "quarantine"]
        assumed: set[str] = set()
        for name, kernel in self.call.kernels.items():
            found = feasibility(self.call, kernel, quarantines)
            if found.reasons:
                self.removed[name] = ("infeasible", found.reasons)
            else:
                assumed.update(found.assumed)
        self.feasible = self.candidates = frozenset(self.call.kernels).difference(self.removed)
        self.assumed = tuple(sorted(assumed))

    # ------------------------------------------------------------ 3: lock

    def ask_locks(self) -> OneOf["locked", "choose", "fallback", "fail"]:
        """`locked`; without a lock, or where all that count say so on a miss, `choose`; else `fallback` or `fail`."""
        locks = of_kind(self.applications, "lock")
        if not locks:
            return "choose"
        counting = _highest(locks)
        self.comment([one for one in locks if one not in counting], False, "not asked: a lock of higher rank applies")
        targets = frozenset.intersection(*(one.kernels for one in counting))
        left = self.candidates & targets
        if left:
            self.remove_unmatched("lock", "not_locked", counting, targets)
            self.locked_by = _names(counting)
            return "locked"
        otherwise = {one.rule.otherwise for one in counting}
        self.comment(counting, True, "missed: no feasible target")
        if otherwise == {"choose"}:
            self.notes.append(f"{_listed(_names(counting))} missed: no target is feasible, so the rest is asked")
            return "choose"
        self.remove_unmatched("lock", "not_locked", counting, targets)
        if "fail" not in otherwise:
            self.notes.append(f"{_listed(_names(counting))} missed: no target is feasible, so the fallback is asked")
            return "fallback"
        self.error = Failure(
            "lock_failed",
            f"no kernel that {_listed(_names(counting))} asks for may serve `{self.call.operation.name}`",
        )
        return "fail"

    # ------------------------------------------------------------ 4 and 5: allow, deny

    def ask_allows(self) -> None:
        allows = of_kind(self.applications, "allow")
        if allows:
            allowed = frozenset[str]().union(*(one.kernels for one in allows))
            self.remove_unmatched("allow", "not_allowed", allows, allowed)

    def ask_denies(self) -> None:
        for kernel in sorted(self.candidates):
            reasons = tuple(reason("denied", self.call, one.rule, kernel) for one in self.denies(kernel))
            if reasons:
                self.removed[kernel] = ("deny", reasons)
        self.candidates = self.candidates.difference(self.removed)

    def denies(self, kernel: str) -> list[Application]:
        return [one for one in of_kind(self.applications, "deny") if kernel in one.kernels]

    def remove_unmatched(
        self, stage: Stage, kind: RejectionKind, asked: Sequence[Application], kept: frozenset[str]
    ) -> None:
        """Remove the candidates outside `kept`, each with a reason for every rule that does not match it."""
        for kernel in self.candidates - kept:
            unmatched = [one.rule for one in asked if kernel not in one.kernels]
            self.removed[kernel] = (stage, tuple(reason(kind, self.call, rule, kernel) for rule in unmatched))
        self.candidates &= kept

    # ------------------------------------------------------------ 6: score

    def boosts(self, kernel: str) -> tuple[Boost, ...]:
        """Those that apply, by ascending factor: doubles multiplied in one order give one score."""
        applying = [one.rule for one in of_kind(self.applications, "boost") if kernel in one.kernels]
        boosts = [Boost(rule.name, rule.factor, str(rule.span)) for rule in applying]
        return tuple(sorted(boosts, key=lambda boost: (boost.factor, boost.rule, boost.at)))

    def score(self, kernel: str) -> float:
        score = float(self.call.kernels[kernel].priority)
        for boost in self.boosts(kernel):
            score *= boost.factor
        return score

    # ------------------------------------------------------------ 7: order

    def ask_orders(self) -> None:
        orders = of_kind(self.applications, "order")
        if not orders:
            return
        counting = _highest(orders)
        lower = [one for one in orders if one not in counting]
        self.comment(lower, False, "not asked: an order of higher rank applies")
        pairs = [(one, other) for one, other in combinations(counting, 2) if self.disagree(one, other)]
        if pairs:
            self.notes.append(f"no order applies: {_listed(_names(pairs[0]))} disagree")
            self.comment(counting, False, "not asked: orders of equal rank disagree")
        else:
            self.orders = counting

    def disagree(self, one: Application, other: Application) -> bool:
        """Whether some candidate stands before another in one order and after it in the other."""
        places = [(position(one, kernel), position(other, kernel)) for kernel in self.candidates]
        return any((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(places, 2))

    def rank(self, kernel: str) -> tuple[tuple[int, ...], float, int, str]:
        positions = tuple(position(order, kernel) for order in self.orders)
        return (positions, -self.score(kernel), -self.call.kernels[kernel].priority, kernel)

    # ------------------------------------------------------------ 8: nothing left

    def fall_back(self) -> None:
        """The first fallback that is feasible and not denied, unless the policy is strict."""
        operation = self.call.operation
        if not self.call.program.strict:
            for kernel in operation.fallback:
                if kernel in self.feasible and not self.denies(kernel):
                    self.chosen, self.degraded = kernel, True
                    return
        why = "the policy is strict" if self.call.program.strict else "no fallback is feasible and undenied"
        counted = {stage: sum(found == stage for found, _ in self.removed.values()) for stage in _STAGES}
        removed = ", ".join(f"{count} {_STAGES[stage]}" for stage, count in counted.items() if count)
        message = f"no kernel may serve `{operation.name}` ({removed or 'none is declared'}), and {why}"
        self.error = Failure("no_kernel", message)

    # ------------------------------------------------------------ the proof

    def verdict(self, kernel: str) -> Verdict:
        priority = self.call.kernels[kernel].priority
        stage, reasons = self.removed.get(kernel, ("outranked", ()))
        if kernel == self.chosen:
            stage = "fallback" if self.degraded else "chosen"
        elif reasons or self.chosen is None:
            return Verdict(kernel, stage, reasons, priority)
        place = position(self.orders[0], kernel) if self.orders else None
        return Verdict(kernel, stage, reasons, priority, self.score(kernel), self.boosts(kernel), place)

    def comment(self, asked: Iterable[Application], applied: bool, note: str) -> None:
        for one in asked:
            self.comments[id(one)] = (applied, note)

    def not_asked(self, kinds: Sequence[str], why: str) -> None:
        passed = [one for one in self.applications if one.rule.kind in kinds and one.applies]
        self.comment(passed, False, f"not asked: {why}")

    def applied_rules(self) -> tuple[AppliedRule, ...]:
        rules = []
        for one in self.applications:
            applied, note = self.comments.get(id(one), (one.applies, None))
            if one.expired:
                note = f"expired on {one.rule.until}"
            elif one.assumed and not one.applies:
                packages = sorted({package for packages in one.assumed.values() for package in packages})
                note = f"does not apply: {', '.join(packages)} is assumed to be at a version that it does not concern"
            kernels = one.kernels if one.applies or one.expired else one.unknown.union(one.assumed)
            rules.append(AppliedRule(one.rule, applied, kernels, one.missing, note))
        return tuple(rules)


_STAGES: dict[Stage, str] = {"infeasible": "infeasible", "lock": "not locked", "allow": "not allowed", "deny": "denied"}


def position(order: Application, kernel: str) -> int:
    """The place of the first target that matches a kernel; one past the last where none does."""
    targets = order.rule.targets
    if kernel in order.kernels:
        for place, target in enumerate(targets):
            if kernel in target.kernels:
                return place
    return len(targets)


def _highest(applications: Sequence[Application]) -> tuple[Application, ...]:
    """Those of the highest layer and, there, of the highest priority."""
    top = max((one.rule.layer, one.rule.priority) for one in applications)
    return tuple(one for one in applications if (one.rule.layer, one.rule.priority) == top)


def _names(applications: Iterable[Application]) -> tuple[str, ...]:
    return tuple(sorted(one.rule.name for one in applications))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)

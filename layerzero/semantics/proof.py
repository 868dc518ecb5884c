"""A decision with everything that led to it: what the interpreter writes and every explanation reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal as OneOf

from layerzero.check.expressions import Value
from layerzero.check.program import Rule, Scope

RejectionKind = OneOf[
    "requirement", "feature", "package", "breaker", "quarantine", "not_locked", "not_allowed", "denied"
]
Stage = OneOf["infeasible", "lock", "allow", "deny", "outranked", "chosen", "fallback"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one kernel was removed: `head_dim in {64, 128}`, got head_dim = 80, at acme.lzp:11:24.

    `text` is the smallest failing conjunct as written, `got` the values it read (None where absent), `at` its
    file:line:column. `feature` and `rule` name what it belongs to; `missing` the absent fields that made it unknown.
    """

    kind: RejectionKind
    text: str
    got: Mapping[str, Value | None]
    at: str
    because: str | None = None
    rule: str | None = None
    feature: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.kind


@dataclass(frozen=True, slots=True)
class Boost:
    rule: str
    factor: float
    at: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one kernel. `score` is None where the scoring stage was not reached."""

    kernel: str
    stage: Stage
    reasons: tuple[Reason, ...] = ()
    priority: int = 50
    score: float | None = None
    boosts: tuple[Boost, ...] = ()  # in the order multiplied: ascending factors
    position: int | None = None  # in the order that counted; None without one


@dataclass(frozen=True, slots=True)
class AppliedRule:
    """A rule that applied, or that its unknown condition kept from applying (or, a quarantine, made apply)."""

    rule: Rule
    applied: bool
    kernels: frozenset[str]  # of the operation's kernels, those it spoke about
    missing: tuple[str, ...] = ()  # absent fields that left the condition unknown
    note: str | None = None  # "missed: no feasible target", "not asked: a lock of higher rank applies"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no kernel: a code such as `no_kernel` or `lock_failed`, and a message for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Proof:
    """The whole decision. `kernel` is None exactly when `error` is not."""

    scope: Scope
    given: Mapping[str, Value]
    values: Mapping[str, Value]  # completed: given, filled in by the asserted view, defaults
    kernel: str | None
    score: float | None
    degraded: bool
    locked_by: tuple[str, ...]
    ordered_by: tuple[str, ...]
    arms: Mapping[str, str]
    assumed: tuple[str, ...]
    verdicts: Mapping[str, Verdict]
    rules: tuple[AppliedRule, ...]
    error: Failure | None = None
    notes: tuple[str, ...] = ()  # `v_head_dim: default 2000 is outside 1..1024, left absent`
    features: tuple[str, ...] = ()  # demanded by the call
    views: tuple[str, ...] = ()  # that the call is in

    @property
    def rejected(self) -> dict[str, tuple[Reason, ...]]:
        return {name: v.reasons for name, v in self.verdicts.items() if v.reasons and v.stage != "fallback"}

    @property
    def outranked(self) -> dict[str, float]:
        return {name: v.score for name, v in self.verdicts.items() if v.stage == "outranked" and v.score is not None}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision alone, as matchers return it; equal to the proof's fields of the same names."""

    kernel: str | None
    score: float | None
    degraded: bool
    locked_by: tuple[str, ...] = ()
    ordered_by: tuple[str, ...] = ()
    error: str | None = None  # the failure's code

    @classmethod
    def of(cls, proof: Proof) -> Outcome:
        error = proof.error.code if proof.error else None
        return cls(proof.kernel, proof.score, proof.degraded, proof.locked_by, proof.ordered_by, error)

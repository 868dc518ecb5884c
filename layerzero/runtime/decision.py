"""What was decided, small enough to keep for every call; its whole proof is rebuilt when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.runtime.vocabulary import Identity
from layerzero.semantics.proof import Outcome, Proof

if TYPE_CHECKING:
    from layerzero.runtime.explanation import Explanation
    from layerzero.runtime.region import Region
    from layerzero.runtime.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision with the inputs that led to it.

    `values` are those given, before defaults; `arms` the experiments' arms that the call was in. It holds the snapshot
    that decided, so its proof stays right after a swap. `recovered_from` are the kernels that raised in this call
    before the chosen one was asked.
    """

    snapshot: Snapshot = field(repr=False)
    scope: Scope
    values: Mapping[str, Value] = field(repr=False)
    arms: Mapping[str, str]
    outcome: Outcome
    cached: bool = False
    recovered_from: tuple[str, ...] = ()
    _proof: Proof | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def kernel(self) -> str | None:
        """The id of the chosen kernel; None exactly when `error` is set."""
        return self.outcome.kernel

    @property
    def score(self) -> float | None:
        return self.outcome.score

    @property
    def degraded(self) -> bool:
        """Whether nothing but the operation's fallback was left, or another kernel had failed in this call."""
        return self.outcome.degraded or bool(self.recovered_from)

    @property
    def locked_by(self) -> tuple[str, ...]:
        return self.outcome.locked_by

    @property
    def ordered_by(self) -> tuple[str, ...]:
        return self.outcome.ordered_by

    @property
    def error(self) -> str | None:
        """The code of the failure (`no_kernel`, ...); the message is in `explain()`."""
        return self.outcome.error

    @property
    def arm(self) -> Mapping[str, str] | None:
        return self.arms or None

    @property
    def policy(self) -> Identity:
        """Name, version and digest of the policy that decided."""
        return self.snapshot.identity

    @property
    def epoch(self) -> int:
        """Which publication of the engine decided; 0 for a policy asked directly."""
        return self.snapshot.epoch

    @property
    def program(self) -> Program:
        return self.snapshot.program

    @property
    def region(self) -> Region:
        """The contexts around this one with the same kernel, score, degraded, arm and lock under this snapshot."""
        return self.snapshot.region(self.scope, self.values, self.arms)

    @property
    def proof(self) -> Proof:
        """The interpreter's account of this decision.

        Raises:
            AssertionError: The matcher and the interpreter disagree, which is a bug of LayerZero.
        """
        from layerzero.semantics.interpret import decide

        if self._proof is not None:
            return self._proof
        proof = decide(self.program, self.snapshot.environment, self.scope, self.values, self.arms)
        if Outcome.of(proof) != self.outcome:
            raise AssertionError(
                f"matcher decided {self.outcome}, the interpreter {Outcome.of(proof)}: please report this"
            )
        object.__setattr__(self, "_proof", proof)
        return proof

    def explain(self) -> Explanation:
        """The provenance of the decision, for people and programs."""
        from layerzero.runtime.explanation import Explanation

        return Explanation(self)

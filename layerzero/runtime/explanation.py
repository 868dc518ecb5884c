"""What `lz.explain` returns: one decision's provenance, as objects, text, JSON and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layerzero.semantics.proof import Proof, Reason

if TYPE_CHECKING:
    from layerzero.analysis.why_not import Remedy
    from layerzero.runtime.decision import Decision
    from layerzero.runtime.vocabulary import Identity


@dataclass(frozen=True)
class WhyNot:
    """Why a kernel was not chosen; `str()` is the tree, `changes` what would make it win (empty: nothing was found,
    or it is the one that was chosen)."""

    kernel: str
    text: str
    changes: tuple[Remedy, ...]

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        from layerzero.analysis.why_not import remedy_json

        return {"kernel": self.kernel, "text": self.text, "changes": [remedy_json(one) for one in self.changes]}


@dataclass(frozen=True)
class Explanation:
    """Reads a decision; `str()` is the provenance tree."""

    decision: Decision

    @property
    def proof(self) -> Proof:
        return self.decision.proof

    @property
    def selected_kernel(self) -> str | None:
        return self.decision.kernel

    @property
    def score(self) -> float | None:
        return self.decision.score

    @property
    def cached(self) -> bool:
        return self.decision.cached

    @property
    def degraded(self) -> bool:
        return self.decision.degraded

    @property
    def arm(self) -> Mapping[str, str] | None:
        return self.decision.arm

    @property
    def policy(self) -> Identity:
        return self.decision.policy

    @property
    def rejection_reasons(self) -> dict[str, tuple[Reason, ...]]:
        """Kernel id -> why it was removed; kernels that merely lost are in `outranked`."""
        return self.proof.rejected

    @property
    def outranked(self) -> dict[str, float]:
        """Kernel id -> the score with which it lost."""
        return self.proof.outranked

    @property
    def why(self) -> str:
        """Why the chosen kernel: the rules and the arithmetic that decided, in a few lines."""
        from layerzero.semantics.explain_text import draw
        from layerzero.semantics.explanation import why

        return "\n".join(draw(why(self.decision.program, self.proof)))

    def why_not(self, kernel: str, seconds: float = 20.0) -> WhyNot:
        """Why not this kernel: each reason that removed it or what outranked it, and the smallest changes of context,
        packages and policy with which it would be chosen, each decided again.

        Args:
            kernel: Its id.
            seconds: How long to look for changes.

        Raises:
            UnknownNameError: The operation has no such kernel.
        """
        from layerzero.analysis.why_not import Question, answer_tree, remedies
        from layerzero.semantics.explain_text import draw
        from layerzero.semantics.explanation import why_not

        decision = self.decision
        reasons = why_not(decision.program, self.proof, kernel)
        asked = Question(decision.program, decision.snapshot.environment, decision.scope, decision.values, kernel)
        found = tuple(remedies(asked, seconds))
        return WhyNot(kernel, "\n".join(draw(answer_tree(reasons, self.proof, kernel, found))), found)

    def __str__(self) -> str:
        from layerzero.semantics.explain_text import explain_text

        return explain_text(self.decision.program, self.proof)

    def to_dict(self) -> dict[str, Any]:
        """The stable object `lz.decision/1`, and the rest of the provenance beside it."""
        from layerzero.semantics.explain_json import explain_json

        return explain_json(self.decision.program, self.proof)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_html(self) -> str:
        """A page that stands alone: no script, style or font from elsewhere, everything escaped."""
        from layerzero.semantics.explain_html import explain_html

        return explain_html(self.decision.program, self.proof)

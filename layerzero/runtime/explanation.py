"""What `lz.explain` returns: one decision's provenance, as objects, text, JSON and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layerzero.semantics.proof import Proof, Reason

if TYPE_CHECKING:
    from layerzero.runtime.decision import Decision
    from layerzero.runtime.vocabulary import Identity


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

    def why_not(self, kernel: str) -> str:
        """Why not this kernel: each reason that removed it, or what outranked it.

        Raises:
            UnknownNameError: The operation has no such kernel.
        """
        from layerzero.semantics.explain_text import explain_text

        return explain_text(self.decision.program, self.proof, kernel)

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

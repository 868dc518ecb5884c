"""A proof -> the tree that fits a screen: a line for every kernel. `str(lz.explain(...))` has everything."""

from __future__ import annotations

from pathlib import PurePath

from layerzero.semantics.explanation import Branch, headline, number
from layerzero.semantics.proof import Proof, Reason, Verdict

_SHAPE = ("dtype", "device", "batch", "q_len", "kv_len", "q_heads", "kv_heads", "head_dim")


def condensed(proof: Proof) -> Branch:
    """The choice and its arithmetic, the call, and for every other kernel the first reason against it."""
    others = [verdict for name, verdict in sorted(proof.verdicts.items()) if name != proof.kernel]
    # Those that could have served come first: they lost by preference, the rest by what they are.
    others.sort(key=lambda verdict: verdict.stage == "infeasible")
    wide = max((len(verdict.kernel) for verdict in others), default=0)
    chosen = proof.verdicts[proof.kernel] if proof.kernel is not None else None
    parts = [
        *([Branch(_arithmetic(chosen, proof))] if chosen is not None else []),
        Branch("call: " + ", ".join(f"{name} {_text(proof.values.get(name))}" for name in _SHAPE)),
        Branch(f"views: {', '.join(proof.views) or 'none'}; demanded: {', '.join(proof.features) or 'nothing'}"),
        Branch(
            "against every other kernel",
            tuple(Branch(f"{other.kernel:<{wide}}  {_against(other)}") for other in others),
        ),
    ]
    return Branch(headline(proof), tuple(parts))


def _arithmetic(chosen: Verdict, proof: Proof) -> str:
    factors = "".join(f" x {number(boost.factor)} ({boost.rule})" for boost in chosen.boosts)
    rules = [f"locked by {name}" for name in proof.locked_by] + [f"ordered by {name}" for name in proof.ordered_by]
    return ", ".join([f"score {number(proof.score)} = priority {chosen.priority}{factors}", *rules])


def _against(verdict: Verdict) -> str:
    if not verdict.reasons:
        place = "" if verdict.position is None else f"place {verdict.position + 1} of the order, "
        return f"could serve; {place}score {number(verdict.score)}"
    first, more = verdict.reasons[0], len(verdict.reasons) - 1
    return _reason(first) + (f"; {more} more" if more else "")


def _reason(reason: Reason) -> str:
    got = ", ".join(f"{name} = {_text(value)}" for name, value in reason.got.items())
    wanted = reason.text if reason.kind == "requirement" else f"{reason.kind.replace('_', ' ')} {reason.text}"
    return wanted + (f", got {got}" if got else "") + f" ({PurePath(reason.at).name})"


def _text(value: object) -> str:
    if value is None:
        return "absent"
    return str(value).lower() if isinstance(value, bool) else str(value)

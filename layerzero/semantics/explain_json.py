"""Proof -> the whole provenance as JSON: the `lz.decision/1` object, and beside it all that the tree shows."""

from __future__ import annotations

from layerzero.check.program import Program
from layerzero.semantics.decision_json import Json, decision_json, json_value, reason_json, values_json
from layerzero.semantics.proof import AppliedRule, Proof, Verdict


def explain_json(program: Program, proof: Proof) -> Json:
    """The keys of `decision_json`, then the operation, its context, views and features, all kernels, rules and notes.

    `kernels` has every candidate with the arithmetic of its score and the source of its facts.
    """
    return {
        **decision_json(program, proof),
        "operation": str(proof.scope),
        "given": values_json(proof.given),
        "values": values_json(proof.values),
        "views": list(proof.views),
        "features": list(proof.features),
        "kernels": {name: _kernel(program, verdict) for name, verdict in sorted(proof.verdicts.items())},
        "rules": [_rule(applied) for applied in proof.rules],
        "notes": list(proof.notes),
    }


def _kernel(program: Program, verdict: Verdict) -> Json:
    kernel = program.kernels[verdict.kernel]
    return {
        "stage": verdict.stage,
        "priority": verdict.priority,
        "score": None if verdict.score is None else json_value(verdict.score),
        "boosts": [{"rule": boost.rule, "factor": boost.factor, "at": boost.at} for boost in verdict.boosts],
        "position": verdict.position,
        "reasons": [reason_json(reason) for reason in verdict.reasons],
        "doc": kernel.doc,
        "at": str(kernel.span),
        "sources": list(kernel.sources),
    }


def _rule(applied: AppliedRule) -> Json:
    rule = applied.rule
    return {
        "rule": rule.name,
        "kind": rule.kind,
        "applied": applied.applied,
        "kernels": sorted(applied.kernels),
        "text": rule.span.text,
        "at": str(rule.span),
        "because": rule.because,
        "owner": rule.owner,
        "missing": list(applied.missing),
        "note": applied.note,
    }

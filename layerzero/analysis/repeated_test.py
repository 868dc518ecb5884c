"""LZ516: a test that covers nothing new.

**What it does.** Decides each `given` and compares what the decision hung on (the rules that applied, what became of
each kernel, and why) with the tests before it. A test that goes the same way and expects nothing more is reported; so
is a `whenever` whose calls another one with the same claims covers.

**Why it is bad.** It costs a reader's time and suggests more coverage than there is.

**Avoid**

    test "decode" { given attention, h100, llama, batch = 8, q_len = 1, kv_len = 4Ki  expect torch.sdpa_cudnn }
    test "decode, larger" { given attention, h100, llama, batch = 9, q_len = 1, kv_len = 4Ki  expect torch.sdpa_cudnn }

**Prefer** a test on the other side of a boundary

    test "a large batch" { given attention, h100, llama, batch = 33, q_len = 1, kv_len = 4Ki  expect not torch.* }
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from layerzero.analysis.findings import Answer
from layerzero.analysis.ground import Ground
from layerzero.check.program import Claim, Given, Test, Whenever
from layerzero.regions.region import Nowhere, Region
from layerzero.regions.translate import TooComplexError
from layerzero.semantics.environment import Environment
from layerzero.semantics.interpret import decide
from layerzero.syntax.diagnostics import Diagnostic, Label


def check(ground: Ground) -> Iterator[Answer]:
    tests = [test for test in ground.program.tests if ground.reports(test.span)]
    earlier: list[tuple[Test, object]] = []
    for test in tests:
        way = _way(ground, test)
        for other, its in earlier:
            if _claims(test) <= _claims(other) and _covered(ground, test, way, other, its):
                yield Diagnostic(
                    "LZ516",
                    f'test "{test.name}" covers nothing new',
                    test.span,
                    f'it goes the way of "{other.name}"',
                    "delete it, or move it to the other side of a boundary",
                    (Label(other.span, "this test covers it"),),
                )
                break
        earlier.append((test, way))


def _covered(ground: Ground, test: Test, way: object, other: Test, its: object) -> bool:
    one, two = test.subject, other.subject
    if isinstance(one, Given) and isinstance(two, Given):
        return way == its
    if not isinstance(one, Whenever) or not isinstance(two, Whenever) or one.scope.operation != two.scope.operation:
        return False
    space = ground.space(one.scope.operation)
    try:
        inner, outer = (
            Region.of(space, subject.condition) & Region(space, space.within([subject.scope])) for subject in (one, two)
        )
        return isinstance((inner - outer).find(), Nowhere)
    except TooComplexError:
        return False


def _claims(test: Test) -> frozenset[tuple[object, ...]]:
    def key(claim: Claim) -> tuple[object, ...]:
        return (claim.negated, claim.kernels, claim.outcome, claim.rule)

    return frozenset(map(key, test.claims))


def _way(ground: Ground, test: Test) -> object:
    """What the decision of a `given` hung on."""
    subject = test.subject
    if not isinstance(subject, Given):
        return None
    packages = {choice.name: choice.specifiers[0].lstrip("=").strip() for choice in subject.packages}
    environment = replace(Environment(assume_packages=True, today=ground.today), packages=packages)
    proof = decide(ground.program, environment, subject.scope, subject.values, subject.arms)
    verdicts = frozenset(
        (name, verdict.stage, frozenset((reason.kind, reason.text, reason.at) for reason in verdict.reasons))
        for name, verdict in proof.verdicts.items()
    )
    rules = frozenset((id(applied.rule), applied.applied, applied.kernels) for applied in proof.rules)
    error = None if proof.error is None else proof.error.code
    return (subject.scope, proof.kernel, proof.degraded, error, proof.views, proof.features, verdicts, rules)

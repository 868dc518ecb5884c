"""Run the `test` blocks of policies: each `given` is decided, each `whenever` proved, or refuted by a counterexample.

A `whenever` that is too large to decide is sampled, and said to be. --coverage tells which rules of the policy applied
in no test and which outcomes of their conditions were not met, each with a call that would.

Every program in PATHS is loaded with its imports; a test that several programs reach counts once, unless it comes out
differently. Exit code 1 where a claim does not hold."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from layerzero.analysis.coverage import Coverage, coverage
from layerzero.analysis.findings import shown
from layerzero.analysis.ground import Ground
from layerzero.analysis.proving import examined
from layerzero.check import load, require
from layerzero.check.loader import TEST_SUFFIX, Root
from layerzero.check.program import Given, Program
from layerzero.cli.budget import add_budget, spent
from layerzero.cli.output import code_of, counted, print_findings, print_json, style
from layerzero.cli.programs import (
    add_environment_options,
    add_json,
    add_paths,
    add_program_options,
    catalogs,
    environment,
    roots,
    today,
)
from layerzero.errors import PolicyError
from layerzero.resources import shipped
from layerzero.semantics.claims import Broken, TestResult
from layerzero.semantics.context import read_device
from layerzero.semantics.decision_json import decision_json, values_json
from layerzero.syntax.diagnostics import Diagnostic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "the tests of the shipped policy")
    parser.add_argument("--coverage", action="store_true", help="which rules and conditions the tests reach")
    add_budget(parser)
    add_json(parser)
    add_program_options(parser)
    add_environment_options(parser)


def run(args: argparse.Namespace) -> int:
    over = spent(args.budget)
    results: list[tuple[Program, TestResult]] = []
    findings: list[Diagnostic] = []
    broken = 0
    for root in _roots(args):
        try:
            results.extend(_results(args, root, over))
        except PolicyError as error:  # the tests of the other programs still tell something
            broken += 1
            findings.extend(one for one in error.diagnostics if isinstance(one, Diagnostic) and one not in findings)
    covered = list(_coverages(args, results)) if args.coverage else []
    results = _once(results)
    failed = [result for _, result in results if not result.passed]
    if findings:
        print_findings([one for one in findings if one.severity == "error"], sys.stderr)
        print(
            f"{counted(broken, 'program')} with errors: no test of {'it' if broken == 1 else 'them'} ran",
            file=sys.stderr,
        )
    if args.json:
        counts = {"passed": len(results) - len(failed), "failed": len(failed)}
        tests = [_plain(program, result) for program, result in results]
        told = {"coverage": [_plain_coverage(name, one) for name, one in covered]} if args.coverage else {}
        print_json({"tests": tests, **counts, **told})
    else:
        _print(results, nothing="no tests ran" if findings else "no tests found")
        for name, one in covered:
            print("\n".join(_coverage_lines(name, one)))
    return code_of(findings) or int(bool(failed))


def _roots(args: argparse.Namespace) -> list[Root]:
    if args.paths:
        return roots(args.paths, tests=True)
    folder = shipped("policies") / "rules"
    return [Root((path,), path.parent) for path in sorted(folder.glob(f"*{TEST_SUFFIX}"))]


def _results(args: argparse.Namespace, root: Root, over: Callable[[], bool]) -> Iterator[tuple[Program, TestResult]]:
    program = require(load(root, prelude=not args.no_prelude, catalogs=catalogs(args)))
    if args.device is not None:
        program = _on_device(program, args.device)
    for test in program.tests:
        yield program, examined(program, environment(args, program), test, over)


def _on_device(program: Program, name: str) -> Program:
    """The tests with the device's values where their `given` has none; a `whenever` keeps ranging over all."""
    device = read_device(program, name)
    tests = tuple(
        replace(test, subject=replace(test.subject, values={**device, **test.subject.values}))
        if isinstance(test.subject, Given)
        else test
        for test in program.tests
    )
    return replace(program, tests=tests)


def _once(results: Iterable[tuple[Program, TestResult]]) -> list[tuple[Program, TestResult]]:
    found: dict[object, tuple[Program, TestResult]] = {}
    for program, result in results:
        span = result.test.span
        wrong = tuple(broken.message for broken in result.broken)
        found.setdefault((str(Path(span.source.name).resolve()), span.start, wrong), (program, result))
    return list(found.values())


# ---------------------------------------------------------------- printing


def _print(results: list[tuple[Program, TestResult]], nothing: str) -> None:
    paint = style()
    for program, result in results:
        if not result.passed:
            print(f"{paint.bad('FAILED')} {result.test.span} {paint.quiet(chr(34) + result.test.name + chr(34))}")
            for broken in result.broken:
                print("\n".join(f"  {line}" for line in _lines(program, broken)))
            print()
    sampled = [result.sampled for _, result in results if result.passed and result.sampled is not None]
    failed = sum(not result.passed for _, result in results)
    if not results:
        print(nothing)
        return
    parts = [paint.bad(f"{failed} failed")] if failed else []
    proved = sum(result.proved for _, result in results)
    parts.append(paint.good(f"{len(results) - failed - proved - len(sampled)} passed"))
    if proved:
        parts.append(paint.good(f"{proved} proved"))
    if sampled:
        parts.append(paint.warn(f"{len(sampled)} sampled, not proved ({sum(sampled)} contexts)"))
    print(f"{counted(len(results), 'test')}: {', '.join(parts)}")
    for _, result in results:
        if result.undecided is not None:
            print(f"  {result.test.span}: not decided: {result.undecided}")
        if result.vacuous:
            print(f"  {result.test.span}: its `whenever` is about no context")
        if result.passed and result.sampled == 0:
            print(f"  {result.test.span}: no context of its `whenever` was found, so nothing was tried")


def _coverages(args: argparse.Namespace, results: list[tuple[Program, TestResult]]) -> Iterator[tuple[str, Coverage]]:
    """The coverage of each program by its own tests."""
    programs = {id(program): program for program, _ in results}
    for key, program in programs.items():
        proofs = [proof for other, result in results if id(other) == key for proof in result.proofs]
        yield program.name or "without a name", coverage(Ground(program, today(args)), proofs)


def _coverage_lines(name: str, found: Coverage) -> Iterator[str]:
    rules = f"{found.rules_met} of {counted(found.rules, 'rule')}"
    yield f"coverage of `{name}`: {rules}, {found.outcomes_met} of {counted(found.outcomes, 'outcome')} of conditions"
    for gap in found.gaps:
        yield f"  {gap.span}: {gap.text}"
        if gap.where is not None and gap.kind == "rule":
            yield f"    its region: {gap.where}"
        if gap.example is not None:
            yield f"    a test could give {shown(gap.example)}"


def _plain_coverage(name: str, found: Coverage) -> dict[str, object]:
    gaps = [
        {
            "kind": gap.kind,
            "text": gap.text,
            "at": str(gap.span),
            "where": gap.where,
            "example": None if gap.example is None else gap.example.context,
        }
        for gap in found.gaps
    ]
    return {
        "policy": name,
        "rules": found.rules,
        "rules_met": found.rules_met,
        "outcomes": found.outcomes,
        "outcomes_met": found.outcomes_met,
        "gaps": gaps,
    }


def _lines(program: Program, broken: Broken) -> Iterator[str]:
    """The claim, what was decided, and where; then why."""
    from layerzero.semantics.explain_text import draw
    from layerzero.semantics.explanation import why, why_not

    situation = broken.situation
    yield f"{broken.claim.span}: {broken.message}"
    yield f"context: {spelled(situation.values)}"
    for name, values in (("arms", situation.arms), ("packages", situation.packages)):
        if values:
            yield f"{name}: {spelled(values)}"
    if any(rule.until is not None for rule in program.rules):
        yield f"day: {situation.today}"
    yield from draw(why(program, broken.proof))
    claim = broken.claim
    if claim.kernels is not None and not claim.negated:
        for kernel in sorted(claim.kernels & broken.proof.verdicts.keys() - {broken.proof.kernel})[:4]:
            yield from draw(why_not(program, broken.proof, kernel))


def spelled(values: Any) -> str:
    """`batch = 8, causal = true`"""
    return ", ".join(f"{name} = {_word(value)}" for name, value in values.items()) or "nothing given"


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(program: Program, result: TestResult) -> dict[str, object]:
    span = result.test.span
    return {
        "name": result.test.name,
        "policy": program.name or None,
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "verdict": result.verdict,
        "sampled": result.sampled,
        "not_decided": result.undecided,
        "broken": [_plain_claim(program, broken) for broken in result.broken],
    }


def _plain_claim(program: Program, broken: Broken) -> dict[str, object]:
    situation = broken.situation
    return {
        "claim": broken.claim.span.text,
        "at": str(broken.claim.span),
        "message": broken.message,
        "context": {"operation": str(situation.scope), **values_json(situation.values)},
        "arms": dict(situation.arms),
        "packages": dict(situation.packages),
        "now": situation.today.isoformat(),
        "decision": decision_json(program, broken.proof),
    }

"""Run the `test` blocks of policies: each `given` is decided, each `whenever` sampled and not yet proved.

Every program in PATHS is loaded with its imports; a test that several programs reach counts once, unless it comes out
differently. Exit code 1 where a claim does not hold."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from layerzero.check import load, require
from layerzero.check.loader import TEST_SUFFIX, Root
from layerzero.check.program import Given, Program
from layerzero.cli.output import code_of, counted, print_findings, print_json, style
from layerzero.cli.programs import (
    add_environment_options,
    add_json,
    add_paths,
    add_program_options,
    catalogs,
    environment,
    roots,
)
from layerzero.errors import ArgumentError, PolicyError
from layerzero.resources import shipped
from layerzero.semantics.claims import Broken, TestResult, run_tests
from layerzero.semantics.context import read_device
from layerzero.semantics.decision_json import decision_json, values_json
from layerzero.syntax.diagnostics import Diagnostic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser, "the tests of the shipped policy")
    parser.add_argument("--coverage", action="store_true", help="which rules and conditions the tests reach (not yet)")
    add_json(parser)
    add_program_options(parser)
    add_environment_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.coverage:
        raise ArgumentError("`--coverage` is not built yet; run the tests without it")
    results: list[tuple[Program, TestResult]] = []
    findings: list[Diagnostic] = []
    broken = 0
    for root in _roots(args):
        try:
            results.extend(_results(args, root))
        except PolicyError as error:  # the tests of the other programs still tell something
            broken += 1
            findings.extend(one for one in error.diagnostics if isinstance(one, Diagnostic) and one not in findings)
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
        print_json({"tests": [_plain(program, result) for program, result in results], **counts})
    else:
        _print(results)
    return code_of(findings) or int(bool(failed))


def _roots(args: argparse.Namespace) -> list[Root]:
    if args.paths:
        return roots(args.paths, tests=True)
    folder = shipped("policies") / "rules"
    return [Root((path,), path.parent) for path in sorted(folder.glob(f"*{TEST_SUFFIX}"))]


def _results(args: argparse.Namespace, root: Root) -> Iterator[tuple[Program, TestResult]]:
    program = require(load(root, prelude=not args.no_prelude, catalogs=catalogs(args)))
    if args.device is not None:
        program = _on_device(program, args.device)
    for result in run_tests(program, environment(args, program)):
        yield program, result


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


def _print(results: list[tuple[Program, TestResult]]) -> None:
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
        print("no tests found")
        return
    parts = [paint.bad(f"{failed} failed")] if failed else []
    parts.append(paint.good(f"{len(results) - failed - len(sampled)} passed"))
    if sampled:
        parts.append(paint.warn(f"{len(sampled)} sampled, not proved ({sum(sampled)} contexts)"))
    print(f"{counted(len(results), 'test')}: {', '.join(parts)}")
    for _, result in results:
        if result.passed and result.sampled == 0:
            print(f"  {result.test.span}: no context of its `whenever` was found, so nothing was tried")


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

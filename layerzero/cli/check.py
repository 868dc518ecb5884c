"""Find what is wrong in policies: syntax, names, types and, unless --fast, what rules do to each other.

Every program in PATHS is checked with its imports and its tests: each file with a `policy` header, each `*_test.lzp`,
and all files of a folder without any header together. Exit code 1 where there is any finding, warnings included."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path

from layerzero import __version__
from layerzero.analysis.findings import Doubt
from layerzero.check import Checked, load
from layerzero.check.loader import TEST_SUFFIX, Root, installed_catalogs, shipped_files
from layerzero.cli.budget import add_budget, spent, told
from layerzero.cli.covered import files_of, tested_files
from layerzero.cli.output import code_of, counted, print_findings, print_json, style
from layerzero.cli.programs import add_json, add_paths, add_program_options, catalogs, checked, day, roots, today
from layerzero.errors import ArgumentError
from layerzero.syntax.diagnostics import Diagnostic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument("--fast", action="store_true", help="without the analyses that search over contexts")
    add_budget(parser)
    parser.add_argument("--explain", metavar="CODE", help="what a code such as LZ201 means")
    parser.add_argument("--now", type=day, metavar="DATE", help="the day on which `until` is judged (default: today)")
    output = parser.add_mutually_exclusive_group()
    add_json(output, 'print {"findings": [...]}')  # type: ignore[arg-type]
    output.add_argument("--sarif", action="store_true", help="print SARIF 2.1.0")
    add_program_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.explain is not None:
        return explain(args.explain, args.json)
    programs = roots(args.paths, tests=True)
    doubts: list[Doubt] = []
    found = loaded(args, programs)
    over = spent(args.budget)
    findings = once(one for each in found for one in findings_of(each, today(args), args.fast, doubts, over))
    if args.json:
        from layerzero.syntax.report_formats import to_json

        left = {"not_decided": list(told(doubts))} if doubts else {}
        print_json({"findings": [to_json(finding) for finding in findings], **left})
    elif args.sarif:
        from layerzero.syntax.report_formats import to_sarif

        print_json(to_sarif(findings, __version__))
    else:
        _print(findings, max(len(programs), 1), doubts)
    return code_of(findings)


def loaded(args: argparse.Namespace, programs: list[Root]) -> Iterator[Checked]:
    """Each program but those that a test program without errors holds entirely: it has all their findings. Without
    programs, the shipped one."""
    if not programs:
        yield checked(args, ())
        return
    trusted = catalogs(args)
    other = frozenset(map(os.path.realpath, (*shipped_files(), *installed_catalogs(), *trusted)))
    covered: set[tuple[Path, frozenset[str]]] = set()
    for root in sorted(programs, key=lambda root: not root.name.endswith(TEST_SUFFIX)):
        if (root.folder, files_of(root) - other) in covered:
            continue
        found = load(root, prelude=not args.no_prelude, catalogs=trusted)
        if root.name.endswith(TEST_SUFFIX) and found.program is not None:
            tested = tested_files(root, found.files)
            if tested is not None:
                covered.add((root.folder, tested - other))
        yield found


def findings_of(
    checked: Checked, today: date, fast: bool, doubts: list[Doubt], over: Callable[[], bool] = lambda: False
) -> tuple[Diagnostic, ...]:
    """Of a program with errors those alone: what its rules do together is not known yet. Questions that were too
    large to decide go to `doubts`: they are no findings, and nobody should take them for proofs."""
    if checked.program is None:
        return checked.diagnostics
    from layerzero.analysis import study

    found = study(checked.program, today, fast, over)
    doubts.extend(found.doubts)
    return (*checked.diagnostics, *found.findings)


def once(findings: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Files that several programs share, the shipped ones above all, are reported once; in order of place."""
    found: dict[tuple[str, str, int, int], Diagnostic] = {}
    for finding in findings:
        span = finding.span
        found.setdefault((os.path.realpath(span.source.name), finding.code, span.start, span.end), finding)
    return sorted(found.values(), key=lambda one: (one.span.source.name, one.span.start, one.code))


def _print(findings: list[Diagnostic], programs: int, doubts: list[Doubt]) -> None:
    if findings:
        print_findings(findings, sys.stdout)
    errors = sum(finding.severity == "error" for finding in findings)
    parts = [counted(n, noun) for n, noun in ((errors, "error"), (len(findings) - errors, "warning")) if n]
    paint = style()
    for line in told(doubts):
        print(paint.quiet(line))
    shade = paint.bad if errors else paint.warn if parts else paint.good
    print(f"{counted(programs, 'program')} checked: {shade(', '.join(parts) or 'no findings')}")


# ---------------------------------------------------------------- --explain


def explain(code: str, json: bool) -> int:
    """The meaning of one code: a line from the table, and its page where the documentation is at hand."""
    from layerzero.syntax.codes import CODES

    found = CODES.get(code.upper())
    if found is None:
        raise ArgumentError(f"unknown code `{code}`; known: {min(CODES)} to {max(CODES)}")
    page = _page(found.code)
    if json:
        print_json({**asdict(found), "page": page})
    else:
        print(page or f"{found.severity}[{found.code}] {found.name}: {found.summary}")
    return 0


def _page(code: str) -> str | None:
    """Pages live beside the checkout; a wheel has the table alone."""
    for path in sorted((Path(__file__).resolve().parents[2] / "docs" / "errors").glob(f"{code}*.md")):
        return path.read_text(encoding="utf-8").strip()
    return None

"""Advice about policies that are right: names that say nothing, quarantines without a reason or an end, defines that
nothing uses, globs that match more devices than meant, facts that contradict each other.

A finding is turned off where it stands: `# lint: allow endless_quarantine` behind the statement, in it, or directly
above; a comment that no finding needs is itself reported. `--explain NAME` prints a lint's page. Exit code 1 where
there is any finding.

  lz lint policies/"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter

from layerzero import __version__
from layerzero.check import Checked
from layerzero.cli.check import loaded, once
from layerzero.cli.output import code_of, counted, print_findings, print_json, style
from layerzero.cli.programs import add_json, add_paths, add_program_options, roots
from layerzero.errors import ArgumentError
from layerzero.syntax.diagnostics import Diagnostic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument("--explain", metavar="NAME", help="the page of one lint; `all` names them")
    output = parser.add_mutually_exclusive_group()
    add_json(output, 'print {"findings": [...]}')  # type: ignore[arg-type]
    output.add_argument("--sarif", action="store_true", help="print SARIF 2.1.0")
    add_program_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.explain is not None:
        return explain(args.explain, args.json)
    programs = roots(args.paths, tests=True)
    findings = lint_all(list(loaded(args, programs)))
    if args.json:
        from layerzero.syntax.report_formats import to_json

        print_json({"findings": [to_json(finding) for finding in findings]})
    elif args.sarif:
        from layerzero.syntax.report_formats import to_sarif

        print_json(to_sarif(findings, __version__, "lz lint"))
    else:
        if findings:
            print_findings(findings, sys.stdout)
        shade = style().warn if findings else style().good
        print(f"{counted(max(len(programs), 1), 'program')} read: {shade(counted(len(findings), 'finding'))}")
    return code_of(findings)


def lint_all(programs: list[Checked]) -> list[Diagnostic]:
    """The findings of all programs. A file that several share has those that each of them finds: what one does not
    use, another may. Of a program with errors those alone."""
    from layerzero.analysis.lint import lint
    from layerzero.analysis.lint.subject import Subject

    errors = [one for checked in programs if checked.program is None for one in checked.diagnostics]
    readers: Counter[str] = Counter()
    found: Counter[tuple[str, str, int]] = Counter()
    findings: list[Diagnostic] = []
    for program in (checked.program for checked in programs):
        if program is not None:
            readers.update({_file(source.name) for source in Subject(program).sources})
            own = lint(program)
            found.update({_key(one) for one in own})
            findings += own
    return once([*errors, *(one for one in findings if found[_key(one)] == readers[_key(one)[0]])])


def _key(finding: Diagnostic) -> tuple[str, str, int]:
    return (_file(finding.span.source.name), finding.code, finding.span.start)


def _file(name: str) -> str:
    return os.path.realpath(name)


def explain(name: str, json: bool) -> int:
    """The page of a lint."""
    from layerzero.analysis.lint import LINTS
    from layerzero.syntax.suggest import did_you_mean

    pages = {one.name: one.page for one in LINTS}
    if name == "all":
        print_json(pages) if json else print("\n".join(f"{one}: {page.splitlines()[0]}" for one, page in pages.items()))
        return 0
    if name not in pages:
        hint = did_you_mean(name, list(pages)) or f"known: {', '.join(pages)}"
        raise ArgumentError(f"no lint is called `{name}`: {hint}")
    print_json({name: pages[name]}) if json else print(pages[name])
    return 0

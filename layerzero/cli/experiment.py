"""Show how the arms of experiments do in running processes, or let an arm that a guard ended serve again.

    lz experiment status [FILE] [--json]
    lz experiment resume NAME.ARM [FILE]

A process shares its experiments after `lz.share_experiments()`; FILE is what it was given there. Without FILE all of
your own running processes that share are shown, or asked."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from layerzero.cli.output import counted, print_json, style


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    status = actions.add_parser("status", help="requests, errors and latencies by arm, with 95 %% intervals; guards")
    status.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the file that a process shares")
    status.add_argument("--json", action="store_true", help="machine-readable")
    resume = actions.add_parser("resume", help="let a stopped arm serve again")
    resume.add_argument("arm", metavar="NAME.ARM", help="experiment and arm: faster_decode.acme")
    resume.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the file that a process shares")
    resume.add_argument("--wait", type=float, default=10.0, metavar="SECONDS", help="for the answer (default: 10)")
    resume.add_argument("--json", action="store_true", help="machine-readable")


def run(args: argparse.Namespace) -> int:
    from layerzero.experiments.sharing import running

    files = running() if args.file is None else [args.file]
    if not files:
        print(
            "lz experiment: no process of yours shares its experiments: call `lz.share_experiments()` in it",
            file=sys.stderr,
        )
        return 2
    return _status(files, args.json) if args.action == "status" else _resume(files, args)


def _status(files: list[Path], as_json: bool) -> int:
    """Exit code 1 where an arm is stopped or a sample ratio is off: something wants to be looked at."""
    from layerzero.experiments.report_text import report_text
    from layerzero.experiments.sharing import read_report

    reports = [(file, read_report(file)) for file in files]
    if as_json:
        print_json({"processes": [{"file": str(file), **report} for file, report in reports]})
    for number, (file, report) in enumerate(reports):
        if not as_json:
            age = max(time.time() - file.stat().st_mtime, 0.0)
            stale = age > 5 * report["every"] + 5
            note = f"written {age:.0f} s ago" + (": the process seems to be gone" if stale else "")
            title = f"process {report['process']}, policy {report['policy']}, epoch {report['epoch']}, {note}"
            print(("\n" if number else "") + style().quiet(title))
            print(report_text(report))
    return 1 if any(_wants_a_look(report) for _, report in reports) else 0


def _wants_a_look(report: dict[str, Any]) -> bool:
    return any(
        one["sample_ratio_mismatch"] or any(arm["stopped"] for arm in one["arms"]) for one in report["experiments"]
    )


def _resume(files: list[Path], args: argparse.Namespace) -> int:
    from layerzero.experiments.sharing import resume_file
    from layerzero.runtime.whole_file import replace_file

    asked = [file for file in files if _stopped(file, args.arm)]
    if not asked:
        print(f"lz experiment resume: arm `{args.arm}` is not stopped", file=sys.stderr)
        return 2
    for file in asked:
        replace_file(resume_file(file), f"{args.arm}\n".encode(), 0o600)
    until = time.monotonic() + args.wait
    while (left := [file for file in asked if _stopped(file, args.arm)]) and time.monotonic() < until:
        time.sleep(0.1)
    if args.json:
        print_json({"arm": args.arm, "resumed": len(asked) - len(left), "no_answer": len(left)})
    elif left:
        print(f"no answer from {counted(len(left), 'process')} within {args.wait:g} s", file=sys.stderr)
    else:
        print(f"arm `{args.arm}` serves again in {counted(len(asked), 'process')}")
    return 1 if left else 0


def _stopped(file: Path, name: str) -> bool:
    from layerzero.experiments.sharing import read_report

    return any(
        f"{one['experiment']}.{arm['arm']}" == name and arm["stopped"]
        for one in read_report(file)["experiments"]
        for arm in one["arms"]
    )

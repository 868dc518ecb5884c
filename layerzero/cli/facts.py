"""Hold what catalogs state against the libraries themselves.

    lz facts verify [PATH|PATTERN ...] [--backend NAME] [--budget 5m] [--json FILE] [--resume]

Every kernel is called at and just past each boundary that its facts state and that this machine can cross, and its
answers are compared with the plain definition in fp64. The columns:

    right      the facts accept the call, and the answer is right
    WRONG, REFUSED, CRASHED
               the facts accept it, and the library does not keep them: contradictions, exit code 1
    refused    the facts refuse it, and so does the library, or it answers wrongly, or crashes
    stricter   the facts refuse it, though the library answers rightly
    not run    there was no time left, or no answer came"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from layerzero.cli.output import counted, style
from layerzero.cli.programs import add_program_options, program, split_paths
from layerzero.errors import ArgumentError, UnknownNameError

if TYPE_CHECKING:
    from layerzero.check.program import Kernel, Program

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    verify = actions.add_parser("verify", help="call kernels at the boundaries of their facts", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    verify.add_argument(
        "words",
        nargs="*",
        metavar="PATH|PATTERN",
        help="a policy whose kernels count too; which ones (default: all)",
    )
    verify.add_argument("--backend", metavar="NAME", help="kernels, backends or operations, as PATTERN")
    verify.add_argument("--budget", type=_seconds, default=300.0, metavar="TIME", help="for all calls: 90s, 5m, 1h")
    verify.add_argument("--each", type=_seconds, default=60.0, metavar="TIME", help="patience with one call (60s)")
    verify.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="calls at a time, in processes of their own (1)"
    )
    verify.add_argument("--on", metavar="DEVICE", help="only on this kind of device: cpu, cuda")
    verify.add_argument("--json", type=Path, metavar="FILE", help="write the report here, as it goes")
    verify.add_argument("--markdown", type=Path, metavar="FILE", help="write it as a page, too")
    verify.add_argument("--resume", action="store_true", help="keep what the report of --json holds, and go on")
    add_program_options(verify)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"wanted a time as in 90s, 5m or 1h, got `{text}`")
    return float(found[1]) * _UNITS[found[2]]


def run(args: argparse.Namespace) -> int:
    from layerzero.facts.report import page, read_report, table
    from layerzero.facts.verify import Options, verify

    paths, pattern = split_paths(args.words, "PATTERN")
    if pattern is not None and args.backend is not None:
        raise ArgumentError(f"give either `{pattern}` or `--backend {args.backend}`")
    loaded = program(args, paths)
    if args.jobs < 1:
        raise ArgumentError(f"`--jobs` wants at least 1, got {args.jobs}")
    if args.resume and args.json is None:
        raise ArgumentError("`--resume` goes on with the report of `--json FILE`")
    earlier = read_report(args.json) if args.resume and args.json.exists() else None
    options = Options(args.budget, args.each, args.jobs, args.on, args.json, earlier)
    report = verify(loaded, _kernels(loaded, pattern or args.backend), options, _progress if _shown() else None)
    if _shown():
        print("\r\033[K", end="", file=sys.stderr)
    if args.markdown is not None:
        args.markdown.write_text(page(report, "" if args.json is None else args.json.name), encoding="utf-8")
    print("\n".join(table(report)))
    wrong = len(report.contradictions)
    calls = sum(len(one.results) for one in report.examined)
    verdict = f"{counted(calls, 'call')}, {counted(wrong, 'contradiction')}, {report.seconds:.0f} s"
    print(f"\n{style().bad(verdict) if wrong else style().good(verdict)}")
    return int(wrong > 0)


def _kernels(loaded: Program, pattern: str | None) -> list[Kernel]:
    from layerzero.dispatch.availability import catalog

    found = [loaded.kernels[one.id] for one in catalog(loaded, pattern, {}, [])]
    if not found:
        raise UnknownNameError(f"no kernel matches `{pattern}`")
    return found


def _shown() -> bool:
    return sys.stderr.isatty()


def _progress(number: int, of: int, kernel: str) -> None:
    print(f"\r\033[K{number + 1}/{of} {kernel}", end="", file=sys.stderr, flush=True)

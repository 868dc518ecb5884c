"""What a recorded decision log would have been under another policy: per pair of kernels and per rule, in shares of
traffic.

LOG is a JSON lines or Parquet file of `lz.log_decisions` (`-`: JSON lines from standard input). Each record is decided
in the environment that it was decided in, where the log's snapshots were exported (LOG.snapshots, or --snapshots), else
as if every package were installed. Rules that the recorded process made by calls are not part of the new policy.
A large log in Parquet is grouped by Polars first (--polars), or spread over the machines of a Ray cluster (--ray): the
report is the same. Exit code 1 where anything would have changed, 0 where nothing would, 2 for wrong usage.

  lz replay decisions.jsonl --policy next.lzp"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from layerzero.check import load, require
from layerzero.check.program import Program
from layerzero.cli.output import counted, print_json, style
from layerzero.cli.programs import (
    add_environment_options,
    add_json,
    add_program_options,
    catalogs,
    environment,
    one_root,
)
from layerzero.errors import ArgumentError
from layerzero.runtime.building import adopt
from layerzero.runtime.changes import Changes, Pair, Tally
from layerzero.runtime.comparison import Question, compare, compare_on
from layerzero.runtime.export import ExportError, SnapshotStore
from layerzero.runtime.log_files import beside
from layerzero.runtime.log_groups import read_groups
from layerzero.runtime.log_reader import Entry, read_counts, read_lines, read_log
from layerzero.runtime.spread import Cluster
from layerzero.syntax.source import Source
from layerzero.syntax.visible import visible

_SHOWN = 40  # pairs, and rules
_RECORD = "record"
_LOOKED_THROUGH = 1000  # first entries, for catalogs that the recorded process brought


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("logs", nargs="+", metavar="LOG", help="decision logs; `-` reads JSON lines")
    parser.add_argument("--policy", required=True, metavar="PATH", help="the policy to try: a file or a folder")
    large = parser.add_mutually_exclusive_group()
    large.add_argument("--polars", action="store_true", help="decide alike records of Parquet logs once")
    large.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="in parts, on a Ray cluster (default: one started here)",
    )
    parser.add_argument("--snapshots", metavar="FOLDER", help="exported snapshots (default: LOG.snapshots)")
    add_json(parser, "print the whole report as JSON (`lz.replay/1`)")
    add_program_options(parser)
    add_environment_options(parser, device=False)


def run(args: argparse.Namespace) -> int:
    store = _store(args)
    if args.ray is not None and "-" in args.logs:
        raise ArgumentError("--ray reads files that every machine sees; standard input is none")
    entries = _entries(args)
    first: list[tuple[Entry, int]] = []
    for entry in entries:
        first.append(entry)
        if entry[0].record is not None or len(first) >= _LOOKED_THROUGH:
            break
    program = _program(args, store, first[-1][0] if first else None)
    counts = {id: count for log in args.logs if log != "-" for id, count in read_counts(Path(log)).items()}
    question = Question(program, environment(args, program), store, counts, not args.installed, args.now)
    if args.ray is None:
        changes = compare(question, chain(first, entries))
    else:
        with Cluster(args.ray) as cluster:
            changes = compare_on(cluster, question, [Path(log) for log in args.logs])
    if changes.unreadable and not changes.traffic.records:
        problem = changes.problems[0]
        raise ArgumentError(f"{problem['file']} is no decision log: line {problem['line']}: {problem['problem']}")
    if args.json:
        print_json(changes.report())
    else:
        print("\n".join(visible(line) for line in _report(changes)))
    return int(changes.changed.records > 0)


def _store(args: argparse.Namespace) -> SnapshotStore | None:
    if args.snapshots is not None:
        if not Path(args.snapshots).is_dir():
            raise FileNotFoundError(f"no such folder: {args.snapshots}")
        return SnapshotStore(args.snapshots)
    folders = [beside(_unrotated(Path(log))) for log in args.logs if log != "-"]
    return next((SnapshotStore(folder) for folder in folders if folder.is_dir()), None)


def _unrotated(log: Path) -> Path:
    """`decisions.jsonl` for `decisions.jsonl.2`"""
    return log.with_suffix("") if log.suffix[1:].isdigit() else log


def _entries(args: argparse.Namespace) -> Iterator[tuple[Entry, int]]:
    """Entries, and how many records each stands for."""
    for log in args.logs:
        if args.polars:
            yield from read_groups(Path(log))
        else:
            entries = read_lines("-", sys.stdin.buffer) if log == "-" else read_log(Path(log))
            yield from ((entry, 1) for entry in entries)


def _program(args: argparse.Namespace, store: SnapshotStore | None, entry: Entry | None) -> Program:
    """The new policy, on the catalogs that the recorded process brought by calls."""
    brought: list[Source] = []
    registered: list[str] = []
    if store is not None and entry is not None and entry.record is not None:
        try:
            brought, registered = store.brought(entry.record["snapshot"])
        except ExportError as error:
            print(f"lz replay: {style(sys.stderr).warn('warning')}: {visible(str(error))}", file=sys.stderr)
    trusted: list[Path | Source] = [*catalogs(args), *brought]
    program = require(load(one_root([args.policy]), prelude=not args.no_prelude, catalogs=trusted))
    return adopt(program, frozenset(registered))


# ---------------------------------------------------------------- text


def _report(changes: Changes) -> Iterator[str]:
    traffic, new = changes.traffic, changes.policy
    version = f" version {new.version}" if new.version else ""
    yield (
        f"{counted(traffic.records, 'record')}, {_calls(traffic)}; "
        f'against policy "{new.name}"{version} {new.digest[:12]}: {_of(changes, changes.changed)} changed'
    )
    for pair in changes.pairs[:_SHOWN]:
        yield from _pair(changes, pair)
    if len(changes.pairs) > _SHOWN:
        yield f"... and {len(changes.pairs) - _SHOWN} more pairs (--json has them all)"
    if changes.rules:
        yield "by rule (a call with several causes counts for each):"
        for cause, tally in changes.rules[:_SHOWN]:
            yield f"  {_of(changes, tally)}  {cause.side}: {cause.text}{f', at {cause.at}' if cause.at else ''}"
    if changes.errors.records:
        yield f"without a kernel under the new policy: {_of(changes, changes.errors)}"
    if changes.degraded_before.records or changes.degraded_after.records:
        before, after = _of(changes, changes.degraded_before), _of(changes, changes.degraded_after)
        yield f"degraded: {before} before, {after} under the new policy"
    for text, tally in changes.notes:
        yield f"note: {text}{f' ({counted(tally.records, _RECORD)})' if tally.records else ''}"
    if changes.unreadable:
        yield f"{counted(changes.unreadable, 'line')} could not be read:"
        for problem in changes.problems:
            yield f"  {problem['file']}:{problem['line']}: {problem['problem']}"


def _pair(changes: Changes, pair: Pair) -> Iterator[str]:
    yield f"{pair.old} -> {pair.new}: {_of(changes, pair.total)}"
    if pair.message is not None:
        yield f"  {pair.message}"
    for cause, tally in sorted(pair.causes.items(), key=lambda item: -item[1].calls)[:_SHOWN]:
        partly = "" if tally.records == pair.total.records else f" ({_calls(tally)})"
        yield f"  {cause.side}: {cause.text}{f', at {cause.at}' if cause.at else ''}{partly}"
    example = pair.example
    values = ", ".join(f"{name} = {value}" for name, value in sorted(example["values"].items()))
    arms = "".join(f", arm {name}.{arm}" for name, arm in sorted(example["arms"].items()))
    yield f"  e.g. {example['file']}:{example['line']}: {example['operation']} {values}{arms}"


def _of(changes: Changes, tally: Tally) -> str:
    return f"{_calls(tally)} ({changes.share(tally):.2%})"


def _calls(tally: Tally) -> str:
    whole = round(tally.calls)
    return counted(whole, "call") if abs(tally.calls - whole) < 1e-6 else f"about {tally.calls:.1f} calls"

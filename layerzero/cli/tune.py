"""Measure the kernels of this machine and write rules that pick the fastest, each with its measurement as the reason.

A grid is measured point by point: every kernel that may serve the call, in turn, over and over. What is measured goes
into a database; the command goes on where it was stopped. The rules are boosts over ranges of contexts, in a `.lzp`
file to read, change and import: nothing is decided by the database. A difference inside the noise makes no rule.

  lz tune --grid small -o tuned.lzp
  lz tune prod.lzp --given attention.decode dtype=bf16 q_heads=32 kv_heads=8 head_dim=128 q_len=1 causal=true \\
          --over batch=1,8,64 --over kv_len=512..32Ki:*4 --graph both -o tuned.lzp

Exit code 1 where a kernel failed that its facts accept, or the time was over before the end of the grid."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from layerzero.check import load, require
from layerzero.check.program import Program
from layerzero.cli.given import fold
from layerzero.cli.grid import read_axes
from layerzero.cli.output import counted, print_json, style
from layerzero.cli.programs import add_json, add_paths, add_program_options, catalogs, one_root, program, today
from layerzero.errors import ArgumentError
from layerzero.resources import measurements
from layerzero.runtime.spread import Cluster
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.context import read_context

if TYPE_CHECKING:
    from layerzero.perf.database import Database, MachineInfo
    from layerzero.perf.grids import Grid
    from layerzero.perf.survey import Decider, Progress, Sample
    from layerzero.perf.tune import Tuned

REGIMES = {"eager": (False,), "graph": (True,), "both": (False, True)}
BAR = 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--grid", choices=("standard", "held_out", "small"), help="one of the grids that come with it; or"
    )
    what.add_argument("--given", nargs="+", action="extend", default=[], metavar="ITEM", help="what all points share")
    what.add_argument("--over", action="append", default=[], metavar="AXIS", help="what varies, as for `lz table`")
    what.add_argument("--name", default="grid", help="of the grid, for its rules (default: grid)")
    what.add_argument("--beyond", default="", metavar="FIELD,...", help="given fields that the rules shall not name")
    what.add_argument("--only", default="", metavar="GRID,...", help="of --grid, these alone: decode,rms_norm")
    what.add_argument("--skip", action="append", default=[], metavar="GLOB", help="kernels that are not measured")
    how = parser.add_argument_group("how")
    how.add_argument("--on", metavar="DEVICE", help="cuda:0, cpu (default: the first GPU, else the CPU)")
    how.add_argument("--graph", choices=tuple(REGIMES), default="eager", help="in CUDA graphs too (default: eager)")
    how.add_argument("--repeats", type=_count, default=7, metavar="N", help="rounds over all kernels (default: 7)")
    how.add_argument(
        "--noise", type=_percent, default=0.05, metavar="P", help="differences that mean nothing (default: 5%%)"
    )
    how.add_argument("--seconds", type=float, metavar="S", help="stop after that time; the next run goes on")
    how.add_argument("--again", action="store_true", help="try what failed before once more")
    how.add_argument(
        "--ray", nargs="?", const="local", metavar="ADDRESS", help="on the machines of a Ray cluster, all like this one"
    )
    how.add_argument("--measured", action="store_true", help="measure nothing: rules from what the database has")
    how.add_argument("--database", metavar="FILE", help="where measurements are kept (default: in the cache folder)")
    parser.add_argument(
        "-o", "--output", metavar="FILE.lzp", help="write the rules there, instead of to standard output"
    )
    parser.add_argument("--force", action="store_true", help="with -o: replace a file that exists")
    add_json(parser)
    add_program_options(parser)


def run(args: argparse.Namespace) -> int:
    from layerzero.backends.machine import ThisMachine
    from layerzero.operations.device import device_fields, present_devices
    from layerzero.perf.database import Database
    from layerzero.perf.here import device_named, machine_info
    from layerzero.perf.survey import Decider, Survey, check_grids, measure_grids, survey
    from layerzero.perf.survey_apart import measure_apart
    from layerzero.perf.tune import tune

    args.now = None
    output = _output(args)
    loaded = program(args)
    device = device_named(args.on)
    machine = ThisMachine(present_devices)
    decider = Decider(loaded, machine.environment(Vocabulary.of(loaded), today(args)))
    if args.graph != "eager" and device.type != "cuda":
        raise ArgumentError(f"--graph {args.graph}: a {device.type} has no CUDA graphs")
    grids = [grid.on(device_fields(device), REGIMES[args.graph]) for grid in _grids(args, loaded)]
    check_grids(decider, grids)
    info = machine_info(device, decider.environment)
    with Database(_database(args), info) as database:
        finished = True
        if not args.measured:
            how = Survey(args.repeats, skip=tuple(args.skip), seconds=args.seconds, again=args.again)
            bar = _Bar()
            if args.ray is None:
                progress = measure_grids(decider, machine, database, grids, device, how, bar.show)
            else:
                with Cluster(args.ray) as cluster:
                    progress = measure_apart(cluster, decider, info, database, grids, str(device), how, bar.show)
            bar.end()
            finished = progress.done == progress.points
            database.prune()
        samples = survey(decider, database, grids)
        quoted = (name for name, field in loaded.fields.items() if field.type.kind in ("string", "version"))
        tuned = tune(samples, args.noise, frozenset(quoted))
        text = _text(args, info, tuned, samples)
        after = _after(args, output, text, decider, database, grids)
    return _show(args, output, text, tuned, samples, after, finished)


# ---------------------------------------------------------------- arguments


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("wanted a number, at least 1")
    return number


def _percent(text: str) -> float:
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"wanted a part as in 5% or 0.05, got `{text}`")
    return number


def _output(args: argparse.Namespace) -> Path | None:
    """Where the rules go; that nothing is lost is found out before an hour of measuring."""
    if args.output is None:
        return None
    path = Path(args.output)
    if path.suffix != ".lzp":
        raise ArgumentError(f"{path}: wanted a name that ends in .lzp")
    if path.exists() and not args.force:
        raise ArgumentError(f"{path} exists; --force replaces it")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}")
    return path


def _database(args: argparse.Namespace) -> Path:
    if args.database is not None:
        return Path(args.database)
    kept = measurements()
    if kept is None:
        raise ArgumentError("there is no cache folder (LAYERZERO_CACHE=off): say where with --database FILE")
    return kept


def _grids(args: argparse.Namespace, loaded: Program) -> list[Grid]:
    from layerzero.perf.grids import GRIDS

    if args.grid is not None:
        if args.given or args.over:
            raise ArgumentError("give either --grid, or --given and --over")
        grids = list(GRIDS[args.grid]())
        only = [name for name in args.only.split(",") if name]
        unknown = [name for name in only if name not in {grid.name for grid in grids}]
        if unknown:
            raise ArgumentError(f"--only {unknown[0]}: the grid has {', '.join(grid.name for grid in grids)}")
        return [grid for grid in grids if not only or grid.name in only]
    if not args.given or args.only:
        raise ArgumentError("say what to measure: --grid small, or --given attention.decode dtype=bf16 ... --over ...")
    return [_own_grid(args, loaded)]


def _own_grid(args: argparse.Namespace, loaded: Program) -> Grid:
    from layerzero.perf.grids import Axis, Grid

    axes = read_axes(loaded, args.over)
    bundle = next((axis for axis in axes if axis.name == "given"), None)
    if bundle is not None:
        raise ArgumentError(f"--over {','.join(bundle.shown)}: an axis of a measurement is a field, NAME=A,B")
    given = fold(loaded, args.given)
    if "operation" not in given:
        raise ArgumentError("--given names no operation, as `attention.decode`")
    first = {axis.name: axis.values[0] for axis in axes}
    scope, values = read_context(loaded, {**given, **first})
    names = [loaded.aliases.fields.get(axis.name, axis.name) for axis in axes]
    read = [
        tuple(read_context(loaded, {"operation": given["operation"], name: value})[1][name] for value in axis.values)
        for name, axis in zip(names, axes, strict=True)
    ]
    beyond = frozenset(name for name in args.beyond.split(",") if name)
    unknown = sorted(beyond - loaded.fields.keys())
    if unknown:
        raise ArgumentError(f"--beyond {unknown[0]}: there is no such field")
    return Grid(
        args.name,
        str(scope),
        {name: value for name, value in values.items() if name not in names and name != "device"},
        tuple(Axis(name, found) for name, found in zip(names, read, strict=True)),
        beyond,
    )


# ---------------------------------------------------------------- rules


def _text(args: argparse.Namespace, info: MachineInfo, tuned: Tuned, samples: Sequence[Sample]) -> str:
    from layerzero.perf.tune import rules_text
    from layerzero.syntax.formatter import format_source
    from layerzero.syntax.source import Source

    device = info.device.get("device_name", info.device.get("device", ""))
    kept = {name: info.versions[name] for name in sorted(info.versions)}
    heading = [
        f"Measured with `lz tune` on {datetime.now(UTC).date()}: {device}, {counted(len(samples), 'point')}, each the",
        f"median of interleaved calls; differences within {args.noise:.0%} count as none.",
        "",
        *_wrapped(", ".join(f"{name} {version}" for name, version in kept.items()), 100),
        f"machine {info.digest[:16]}",
    ]
    text = rules_text(tuned, heading)
    formatted = format_source(Source("tuned.lzp", text))
    assert isinstance(formatted, str), formatted
    return formatted


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)


def _after(
    args: argparse.Namespace,
    output: Path | None,
    text: str,
    decider: Decider,
    database: Database,
    grids: Sequence[Grid],
) -> list[Sample]:
    """What the policy picks with the rules: they are written, read back as the user will read them, and asked."""
    from layerzero.perf.survey import Decider, survey

    with tempfile.TemporaryDirectory() as folder:
        path = output or Path(folder) / "tuned.lzp"
        path.write_text(text, encoding="utf-8", newline="\n")
        paths = [*args.paths, str(path)]
        tuned = require(load(one_root(paths), prelude=not args.no_prelude, catalogs=catalogs(args)))
        return survey(Decider(tuned, decider.environment), database, grids)


def _show(
    args: argparse.Namespace,
    output: Path | None,
    text: str,
    tuned: Tuned,
    before: Sequence[Sample],
    after: Sequence[Sample],
    finished: bool,
) -> int:
    from layerzero.perf.report import failures, median, percentile_95, regrets, summary

    failed = failures(before)
    if args.json:
        print_json(
            {
                "schema": "lz.tune/1",
                "points": len(before),
                "rules": [rule.text for rule in tuned.rules],
                "output": None if output is None else str(output),
                "regret": {
                    when: {"median": median(found), "p95": percentile_95(found)}
                    for when, found in (("before", regrets(before)), ("after", regrets(after)))
                },
                "failed": failed,
                "finished": finished,
            }
        )
        return int(bool(failed) or not finished)
    stream = sys.stderr if output is None else sys.stdout
    paint = style(stream)
    for title, samples in (("before", before), ("with the rules", after)):
        first, *rest = summary(samples)
        print(f"{title}: {first}", *rest, sep="\n", file=stream)
    for one in tuned.unruled:
        from layerzero.perf.survey import described

        print(f"no rule at {described(one.sample.grid, one.sample.place)}: {one.why}", file=stream)
    for line in failed:
        print(f"{paint.bad('failed')}: {line}", file=stream)
    if not finished:
        command = shlex.join(["lz", *sys.argv[1:]])
        print(f"{paint.warn('not finished')}: the time was over; go on with `{command}`", file=stream)
    if output is None:
        print(text, end="")
    else:
        print(f"{counted(len(tuned.rules), 'rule')} in {output}", file=stream)
    return int(bool(failed) or not finished)


# ---------------------------------------------------------------- progress


class _Bar:
    """One line on a terminal, written over and over; nothing where nobody watches."""

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()

    def show(self, progress: Progress) -> None:
        if not self._watched:
            return
        full = BAR * progress.done // max(1, progress.points)
        line = f"{'█' * full}{'░' * (BAR - full)} {progress.done}/{progress.points} {progress.current}"
        print(f"\r\033[K{line[:110]}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._watched:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

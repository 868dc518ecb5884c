"""How far is LayerZero's pick from the fastest kernel? Every operation over a grid of shapes, on a GPU.

    python benchmarks/gpu/regret.py --database gpu.sqlite                # measures, then prints the tables
    python benchmarks/gpu/regret.py --database gpu.sqlite --report       # prints again, on any machine

At each point every feasible kernel and the plain torch expression are timed in turn, in two regimes: eager, where the
larger of the device's and the host's time counts, and inside a CUDA graph. Shapes that no rule was made from are
reported apart. A kernel that takes the device's context with it ends a child process, and another goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from layerzero.check import load, load_text, require
from layerzero.check.program import Program
from layerzero.cli.programs import one_root
from layerzero.perf.database import Database, MachineInfo, machines
from layerzero.perf.grids import GRIDS, Grid
from layerzero.perf.report import failures, summary, table
from layerzero.perf.survey import Decider, Sample, Survey, measure_grids, survey
from layerzero.perf.tune import rules_text, tune
from layerzero.semantics.environment import Environment
from layerzero.syntax.formatter import format_source
from layerzero.syntax.source import Source

LOST = 75  # a child's exit code: the device is lost, start another
PARTS = {"standard": "shapes that rules are made from", "held_out": "held-out shapes"}
ALL = {**PARTS, "small": "few and small, to try the program on a CPU"}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", type=Path, default=Path("gpu.sqlite"))
    parser.add_argument("--policy", metavar="FILE", help="rules beside the shipped ones")
    parser.add_argument("--part", choices=tuple(ALL), action="append", help="default: both")
    parser.add_argument("--only", default="", help="of the grids, these alone: decode,rms_norm")
    parser.add_argument("--skip", action="append", default=[], metavar="GLOB", help="kernels that are not measured")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1e9, help="for the measuring; the next run goes on")
    parser.add_argument("--again", action="store_true", help="try what failed before once more")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--rules", type=Path, metavar="FILE.lzp", help="write rules from the standard grid there")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return measure(args)
    if not args.report:
        deadline = time.monotonic() + args.seconds
        while (left := deadline - time.monotonic()) > 0:
            words = [sys.executable, __file__, *sys.argv[1:], "--child", "--seconds", str(left)]
            code = subprocess.run(words, check=False).returncode
            if code == 0:
                break
            print(f"a measuring process ended with {code}; another goes on", file=sys.stderr, flush=True)
    report(args)
    return 0


def program(args: argparse.Namespace) -> Program:
    return require(load(one_root([args.policy])) if args.policy else load_text("", name="<shipped>"))


def grids(args: argparse.Namespace, part: str, device: dict[str, object]) -> list[Grid]:
    only = [name for name in args.only.split(",") if name]
    found = [grid for grid in GRIDS[part]() if not only or grid.name in only]
    regimes = (False, True) if device.get("device") == "cuda" else (False,)
    return [grid.on(device, regimes) for grid in found]  # type: ignore[arg-type]


def notes(args: argparse.Namespace) -> Path:
    """What decisions took for granted about the machine, beside the database."""
    return Path(f"{args.database}.environment.json")


def measure(args: argparse.Namespace) -> int:
    from layerzero.backends.machine import ThisMachine
    from layerzero.operations.device import device_fields, present_devices
    from layerzero.perf.here import device_named, machine_info
    from layerzero.perf.measure import DeviceLostError
    from layerzero.runtime.vocabulary import Vocabulary

    loaded, device, machine = program(args), device_named(None), ThisMachine(present_devices)
    environment = machine.environment(Vocabulary.of(loaded), datetime.now(UTC).date())
    info = machine_info(device, environment)
    kept = {"packages": dict(environment.packages), "no_adapter": dict(environment.no_adapter)}
    kept |= {"device": dict(device_fields(device)), "digest": info.digest}  # type: ignore[dict-item]
    notes(args).write_text(json.dumps(kept, indent=1))
    how = Survey(repeats=args.repeats, skip=tuple(args.skip), seconds=args.seconds, again=args.again)
    started = time.monotonic()
    with Database(args.database, info) as database:
        for part in args.part or PARTS:
            wanted = grids(args, part, dict(device_fields(device)))
            left = args.seconds - (time.monotonic() - started)
            try:
                done = measure_grids(
                    Decider(loaded, environment), machine, database, wanted, device,
                    Survey(how.repeats, how.laps, how.skip, max(0.0, left), how.again),
                )  # fmt: skip
            except DeviceLostError as error:
                print(error, file=sys.stderr, flush=True)
                return LOST
            print(f"{part}: {done.done} of {done.points} points, {time.monotonic() - started:.0f} s", flush=True)
    return 0


def report(args: argparse.Namespace) -> None:
    kept = json.loads(notes(args).read_text())
    info = next(one for one in machines(args.database) if one.digest == kept["digest"])
    environment = Environment(packages=kept["packages"], no_adapter=kept["no_adapter"], today=datetime.now(UTC).date())
    decider = Decider(program(args), environment)
    print(f"# Regret on one GPU\n\n{heading(info)}")
    with TemporaryDirectory() as folder, Database(shutil.copy(args.database, folder), info) as database:
        if args.rules is not None:
            found = tune(survey(decider, database, grids(args, "standard", kept["device"])))
            text = format_source(Source("rules.lzp", rules_text(found, [heading(info)])))
            args.rules.write_text(text if isinstance(text, str) else "")
        for part in args.part or PARTS:
            samples = survey(decider, database, grids(args, part, kept["device"]))
            print(f"\n## {part}: {ALL[part]}\n")
            for regime in (False, True):
                own = [one for one in samples if bool(one.fields.get("graph_capture")) == regime]
                if own:
                    print(f"### {'Inside a CUDA graph' if regime else 'Eager'}\n\n{shown(own)}\n")
                    print("\n".join(table(own)) + "\n")
            print("Kernels that raised:\n")
            print("\n".join(f"- {line}" for line in failures(samples)) or "- none")


def shown(samples: Sequence[Sample]) -> str:
    return "\n".join(f"- {line.strip()}" for line in summary(samples))


def heading(info: MachineInfo) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(info.versions.items()))
    return f"{info.device.get('device_name', info.device['device'])}: {versions}"


if __name__ == "__main__":
    sys.exit(main())

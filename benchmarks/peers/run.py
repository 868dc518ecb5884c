"""How long does one decision take, in LayerZero and in the engines that people would use instead?

    python benchmarks/peers/run.py            # installs the peers, measures all, writes docs/benchmarks/
    python benchmarks/peers/run.py --quick    # a look in two minutes; writes nothing

All engines get the same rules and the same contexts, in one process and one run, in turn. Every answer on every
context that is timed is first compared with the plain meaning of the list of rules; an engine that differs is not
timed, and the command ends with 1. Compare ratios, and only within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)  # the checkout, in place of this folder

from benchmarks.peers import install  # noqa: E402 -- the line above is what makes it importable

RESULTS = ROOT / "docs" / "benchmarks"
CHECK_SECONDS, LEAST_CHECKED = 8.0, 100
UNIT, OWN = "empty Python call", "LayerZero, prepared context"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer contexts and rounds; nothing is written")
    parser.add_argument("--no-install", action="store_true", help="use what the environment holds already")
    parser.add_argument("--failed", default="{}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if install.is_inside():
        return measure_all(options.quick, json.loads(options.failed))
    interpreter = install.python()
    failed = {} if options.no_install else install.install(install.PEERS)
    passed = ["--quick"] if options.quick else []
    command = [str(interpreter), str(Path(__file__).resolve()), *passed, "--failed", json.dumps(failed)]
    return subprocess.run(command).returncode


def measure_all(quick: bool, failed: dict[str, str]) -> int:
    from benchmarks.peers.rules import adversarial, realistic

    sets = (realistic(10), realistic(100), realistic(1000), realistic(10_000), adversarial(1000))
    result: dict[str, Any] = {
        "command": "python benchmarks/peers/run.py",
        "python": platform.python_version(),
        "machine": {"architecture": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
        "versions": install.versions(install.PEERS),
        "not_installed": failed,
        "sets": [],
    }
    for package, why in failed.items():
        print(f"{package} did not install, and is not measured: {why}")
    for rules in sets:
        measured = measure_set(rules, 200 if quick else 1000, 3 if quick else 10)
        result["sets"].append(measured)
        print("\n" + describe(measured) + "\n\n" + as_table(measured), flush=True)
    if not quick:
        write(result)
    return 1 if any(one["not_measured"] for one in result["sets"]) else 0


# ---------------------------------------------------------------- one set of rules


def measure_set(rules: Any, count: int, rounds: int) -> dict[str, Any]:
    from benchmarks.peers.engines import BASELINES, OWN as LAYERZERO
    from benchmarks.peers.measure import Case, measure, stopwatch
    from benchmarks.peers.peers import PEERS
    from benchmarks.peers.rules import contexts, description

    asked = contexts(rules, count)
    kinds = [(engine, "baseline") for engine in BASELINES] + [(engine, "own") for engine in LAYERZERO]
    kinds += [(engine, "peer") for engine in PEERS]
    present = install.versions([engine.package for engine, _ in kinds if engine.package])
    cases: dict[str, Case] = {}
    rows: list[dict[str, Any]] = []
    not_measured: dict[str, str] = {}
    for engine, kind in kinds:
        if engine.package is not None and engine.package not in present:
            continue
        try:
            with stopwatch() as elapsed:
                built = engine.build(rules, asked)
                seconds = elapsed() / 1e9
            inputs = [built.prepare(context) for context in asked]
            checked = len(asked) if engine.name == UNIT else check(rules, asked, built.decide, inputs)
        except Exception as error:  # noqa: BLE001 -- peers raise types of their own; the reader is told, and exit is 1
            not_measured[engine.name] = f"{type(error).__name__}: {error}"[:300]
            print(f"{rules.name}: {engine.name} is not measured: {not_measured[engine.name]}", flush=True)
            continue
        cases[engine.name] = Case(built.decide, inputs[:checked])
        rows.append(
            {"name": engine.name, "kind": kind, "how": engine.how, "build_s": round(seconds, 3)}
            | {"notes": built.notes, "checked": checked}
        )
    timings = measure(cases, rounds)
    for row in rows:
        timing = timings[row["name"]]
        row |= {"p50_ns": timing.p50, "p99_ns": timing.p99, "calls": timing.calls}
        row["to_empty_call"] = round(timing.p50 / timings[UNIT].p50, 2)
        row["to_layerzero"] = round(timing.p50 / timings[OWN].p50, 3)
    return {"name": rules.name, "seed": rules.seed, **description(rules, asked)} | {
        "rows": rows,
        "not_measured": not_measured,
    }


def check(rules: Any, asked: Sequence[Any], decide: Any, inputs: Sequence[Any]) -> int:
    """Compare answers with the meaning of the rules; slow engines on as many contexts as fit, of the same order.

    Raises:
        ValueError: An answer differs.
    """
    end = time.perf_counter() + CHECK_SECONDS
    for number, (context, given) in enumerate(zip(asked, inputs, strict=True)):
        wanted, answer = rules.answer(context), decide(given)
        if answer != wanted:
            raise ValueError(f"wrong answer {answer!r}, not {wanted!r}, for {context}")
        if number + 1 >= LEAST_CHECKED and time.perf_counter() > end:
            return number + 1
    return len(asked)


# ---------------------------------------------------------------- what is told


def describe(measured: dict[str, Any]) -> str:
    return (
        f"**{measured['name']} rules**: {measured['contexts']} distinct contexts; no rule matches"
        f" {measured['unmatched_share']:.0%} of them; in order, half of the contexts look at"
        f" {measured['median_rules_looked_at_in_order']} rules or more."
    )


def as_table(measured: dict[str, Any]) -> str:
    from benchmarks.peers.report import figure, microseconds, table

    head = ("engine", "p50, us", "p99, us", "empty calls", "x LayerZero", "build, s", "contexts checked")
    rows = [
        (
            row["name"],
            microseconds(row["p50_ns"]),
            microseconds(row["p99_ns"]),
            figure(row["to_empty_call"]),
            f"{row['to_layerzero']:.2f}" if row["to_layerzero"] < 1 else figure(row["to_layerzero"]),
            f"{row['build_s']:.2f}",
            str(row["checked"]) if row["name"] != UNIT else "-",
        )
        for row in measured["rows"]
    ]
    return table(head, rows)


def write(result: dict[str, Any]) -> None:
    from benchmarks.peers.report import bars, replace_section, table

    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "peers.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    panels = {
        f"{one['name']} rules": [(row["name"], row["kind"], row["to_empty_call"]) for row in one["rows"]]
        for one in result["sets"]
    }
    plot = bars("One decision: p50", "multiples of an empty Python call of the same run", panels)
    (RESULTS / "peers.svg").write_text(plot, encoding="utf-8")
    machine = result["machine"]
    parts = [
        f"Python {result['python']}, {machine['architecture']}, {machine['cores']} cores, load {machine['load']} at the"
        f" start; {', '.join(f'{name} {version}' for name, version in result['versions'].items())}."
    ]
    for one in result["sets"]:
        parts += ["", describe(one), "", as_table(one)]
        notes = next(row["notes"] for row in one["rows"] if row["name"] == OWN)
        parts += ["", f"LayerZero compiled {notes}."]
        parts += [f"Not measured: {name}: {why}." for name, why in one["not_measured"].items()]
    parts += [f"Did not install: {name}: {why}." for name, why in result["not_installed"].items()]
    rows = [(row["name"], row["how"]) for row in result["sets"][0]["rows"]]
    parts += ["", "How each was used:", "", table(("engine", "one decision is"), rows).replace("---:", "---")]
    replace_section(ROOT / "docs" / "benchmarks.md", "peers", "\n".join(parts))
    print(f"\nwritten: {', '.join(str(path.relative_to(ROOT)) for path in sorted(RESULTS.glob('peers.*')))}")


if __name__ == "__main__":
    sys.exit(main())

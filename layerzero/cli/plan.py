"""Choose kernels for all layers of a model together: one page size, one layout, one graph mode, the best total score.

FILE holds a JSON line for each layer and phase, as `lz decide` reads them; "layer" is a number, or a list of numbers of
layers that are alike. All layers share one value of each field that is chosen, or with `--per` those that agree in
another field. What layers give up for the others is told, with the fact that wants it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from layerzero.check.program import Program
from layerzero.cli.contexts import Line, read_lines
from layerzero.cli.given import value
from layerzero.cli.output import print_json
from layerzero.cli.programs import (
    add_environment_options,
    add_json,
    add_paths,
    add_program_options,
    environment,
    program,
)
from layerzero.errors import ArgumentError, ContextError
from layerzero.syntax.suggest import did_you_mean


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument("--layers", required=True, metavar="FILE", help="JSON lines; `-` reads standard input")
    parser.add_argument(
        "--choose",
        action="append",
        required=True,
        type=pair,
        metavar="FIELD=VALUES",
        help="the values of a field between which there is a choice, the preferred first (may be repeated)",
    )
    parser.add_argument(
        "--per",
        action="append",
        default=[],
        type=pair,
        metavar="FIELD=OTHER",
        help="who shares a value of FIELD: those that agree in OTHER (may be repeated)",
    )
    parser.add_argument("--rules", action="store_true", help="print the plan as locks of a policy")
    add_json(parser)
    add_program_options(parser)
    add_environment_options(parser)


def pair(text: str) -> tuple[str, str]:
    name, separator, words = text.partition("=")
    if not separator or not name.strip() or not words.strip():
        raise argparse.ArgumentTypeError(f"wanted FIELD=... as in page_size=16,64, got `{text}`")
    return name.strip(), words.strip()


def run(args: argparse.Namespace) -> int:
    from layerzero.cli.decide import opened
    from layerzero.planning import plan_layers
    from layerzero.runtime.snapshot import Snapshot
    from layerzero.semantics.context import read_device

    loaded = program(args)
    with opened(args.layers) as (stream, _):
        layers = [_layer(line) for line in read_lines(stream) if isinstance(line, Line)]
    here = read_device(loaded, args.device) if args.device else {}
    choose = {name: _values(loaded, name, words) for name, words in args.choose}
    plan = plan_layers(Snapshot.compiled(loaded, environment(args, loaded)), layers, choose, dict(args.per), here)
    if args.json:
        print_json(plan.to_data())
    else:
        print(plan.rules().rstrip() if args.rules else plan.explain())
    return 0


def _layer(line: Line) -> Mapping[str, Any]:
    if line.context is None:
        assert line.problem is not None
        raise ContextError(f"line {line.number}: {line.problem[1]}")
    return line.context


def _values(loaded: Program, name: str, words: str) -> Sequence[object]:
    field = loaded.fields.get(loaded.aliases.fields.get(name, name))
    if field is None:
        hint = did_you_mean(name, [*loaded.fields, *loaded.aliases.fields])
        raise ArgumentError(f"--choose {name}: unknown field{f'; {hint}' if hint else ''}")
    return [value(field.type, word.strip(), name) for word in words.split(",")]

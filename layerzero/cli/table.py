"""Show the decisions over a grid: every combination of the values of --over, on top of what is --given.

An axis is NAME=A,B or NAME=LOW..HIGH:STEP (`:*2` doubles), or a bare list of operations, contexts or devices. The last
axis runs across. A `*` marks a decision that only a fallback serves. Exit code 1 where a cell is an error.

With the name of a field alone (`--over head_dim`: every value), or with --ranges, a row stands for all values that are
decided alike: `head_dim 65..128`. Rows that relate fields say how in a column of their own.

  lz table prod.lzp --given attention.prefill llama batch=1 q_len=4Ki kv_len=4Ki --over h100,a100
  lz table prod.lzp --given attention.decode h100 llama batch=8 q_len=1 --over kv_len --over head_dim=64..256"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, cast

from layerzero.check.program import Program
from layerzero.cli.answers import Answer, Compiled, Interpreted, answer_context
from layerzero.cli.budget import add_budget
from layerzero.cli.given import fold
from layerzero.cli.grid import Axis, points, read_axes
from layerzero.cli.merged import axes_of, merge, merged_json, merged_rows
from layerzero.cli.output import counted, print_json, style
from layerzero.cli.programs import (
    add_environment_options,
    add_json,
    add_paths,
    add_program_options,
    environment,
    program,
)
from layerzero.cli.shown import print_document
from layerzero.semantics.environment import Environment
from layerzero.semantics.proof import Failure

WIDEST = 9  # more columns than that are written one below the other
COMPILED_FROM = 100  # cells that take longer to interpret than the policy to compile


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination: its place and shown value on each axis, and what was decided."""

    places: tuple[int, ...]
    point: tuple[str, ...]
    kernel: str | None
    score: float | None
    degraded: bool
    error: Failure | None

    @property
    def text(self) -> str:
        if self.error is not None:
            return f"error {self.error.code}"
        return f"{self.kernel}{' *' if self.degraded else ''}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument(
        "--over", action="append", required=True, metavar="AXIS", help="sm=80,90 or head_dim=64..256:64"
    )
    parser.add_argument(
        "--given",
        nargs="+",
        action="extend",
        default=[],
        metavar="ITEM",
        help="what all cells share, as for `lz explain`",
    )
    parser.add_argument("--format", choices=("text", "csv", "markdown", "html"), default="text", help="default: text")
    parser.add_argument("--ranges", action="store_true", help="merge values that are decided alike, instead of points")
    add_budget(parser, "30s")
    add_json(parser)
    add_program_options(parser)
    add_environment_options(parser)


def run(args: argparse.Namespace) -> int:
    loaded = program(args)
    if args.ranges or any("=" not in text and text.split(",")[0].strip() in _fields(loaded) for text in args.over):
        return _ranges(args, loaded)
    axes = read_axes(loaded, args.over)
    cells = list(decide_grid(loaded, environment(args, loaded), axes, args.given, args.device))
    if args.json:
        print_json(_plain(axes, cells))
    elif args.format == "csv":
        _print_csv(axes, cells)
    elif args.format == "html":
        print_document(html(_rows(axes, cells)) + "\n")
    else:
        rows = _rows(axes, cells)
        print("\n".join(markdown(rows) if args.format == "markdown" else aligned(rows)))
        _print_notes(cells)
    return int(any(cell.error is not None for cell in cells))


def _fields(program: Program) -> set[str]:
    return {*program.fields, *program.aliases.fields}


def _ranges(args: argparse.Namespace, loaded: Program) -> int:
    """Every value of the axes, in as few rows as the decisions allow."""
    over = axes_of(loaded, args.over)
    found = merge(args, loaded, environment(args, loaded), over)
    rows = merged_rows(over, found)
    if args.json:
        print_json(merged_json(over, found))
    elif args.format == "csv":
        csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    elif args.format == "html":
        print_document(html(rows) + "\n")
    else:
        print("\n".join(markdown(rows) if args.format == "markdown" else aligned(rows)))
        if any(row.outcome.degraded for row in found.rows):
            print("\n* degraded: only a fallback is left")
    if found.gap is not None:
        print(f"not all was examined: {found.gap}", file=sys.stderr)
    return int(found.gap is not None or any(row.outcome.error is not None for row in found.rows))


def _rows(axes: Sequence[Axis], cells: Sequence[Cell]) -> Rows:
    return grid_rows(axes, cells) if len(axes) > 1 and len(axes[-1].shown) <= WIDEST else list_rows(axes, cells)


def decide_grid(
    program: Program, environment: Environment, axes: Sequence[Axis], given: Sequence[str], device: str | None
) -> list[Cell]:
    """A cell for every combination, the last axis fastest; what an axis says wins over what is given."""
    places = list(points(axes))
    answer: Answer = (Compiled if len(places) > COMPILED_FROM else Interpreted)(program, environment)
    return [_cell(answer, axes, place, given, device) for place in places]


def _cell(
    answer: Answer, axes: Sequence[Axis], places: tuple[int, ...], given: Sequence[str], device: str | None
) -> Cell:
    items = [axis.items[place] for axis, place in zip(axes, places, strict=True)]
    found = cast(dict[str, Any], answer_context(answer, fold(answer.program, [*given, *items]), device))
    shown = tuple(axis.shown[place] for axis, place in zip(axes, places, strict=True))
    error = None if found["error"] is None else Failure(**found["error"])
    return Cell(places, shown, found["kernel"], found["score"], found["degraded"], error)


# ---------------------------------------------------------------- shapes

Rows = list[list[str]]  # the first holds the headings


def grid_rows(axes: Sequence[Axis], cells: Sequence[Cell]) -> Rows:
    """The last axis across, the others down."""
    *down, across = axes
    wide = len(across.shown)
    rows = [[*(axis.name for axis in down), *(f"{across.name}={value}" for value in across.shown)]]
    for start in range(0, len(cells), wide):
        rows.append([*cells[start].point[:-1], *(cell.text for cell in cells[start : start + wide])])
    return rows


def list_rows(axes: Sequence[Axis], cells: Sequence[Cell]) -> Rows:
    rows = [[*(axis.name for axis in axes), "kernel", "score"]]
    for cell in cells:
        rows.append([*cell.point, cell.text, "" if cell.score is None else f"{cell.score:g}"])
    return rows


def aligned(rows: Rows) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("─" * width for width in widths), *lines[1:]]


def markdown(rows: Rows) -> list[str]:
    lines = [f"| {' | '.join(word.replace('|', chr(92) + '|') for word in row)} |" for row in rows]
    return [lines[0], f"|{' --- |' * len(rows[0])}", *lines[1:]]


def html(rows: Rows) -> str:
    """A table that stands alone in a page, everything escaped."""
    head = "".join(f"<th>{escape(word)}</th>" for word in rows[0])
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(word)}</td>' for word in row)}</tr>" for row in rows[1:])
    return f"{_PAGE}<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


_PAGE = (
    '<!doctype html>\n<meta charset="utf-8">\n<title>decisions</title>\n'
    "<style>body{font:14px sans-serif}table{border-collapse:collapse}th,td{border:1px solid #999;padding:3px 8px;"
    "text-align:left}</style>\n"
)


# ---------------------------------------------------------------- printing


def _print_notes(cells: Sequence[Cell]) -> None:
    if any(cell.degraded for cell in cells):
        print("\n* degraded: only a fallback is left")
    messages = dict.fromkeys(f"{cell.error.code}: {cell.error.message}" for cell in cells if cell.error is not None)
    if messages:
        print(f"{style(sys.stderr).bad(counted(len(messages), 'error'))} in the grid:", file=sys.stderr)
        for message in list(messages)[:10]:
            print(f"  {message}", file=sys.stderr)
        if len(messages) > 10:
            print(f"  ... and {len(messages) - 10} more", file=sys.stderr)


def _print_csv(axes: Sequence[Axis], cells: Sequence[Cell]) -> None:
    """One row a cell; spreadsheets read it, and so does `csv`."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*(axis.name for axis in axes), "kernel", "score", "degraded", "error"])
    for cell in cells:
        score = "" if cell.score is None else cell.score
        error = "" if cell.error is None else f"{cell.error.code}: {cell.error.message}"
        writer.writerow([*cell.point, cell.kernel or "", score, str(cell.degraded).lower(), error])


def _plain(axes: Sequence[Axis], cells: Sequence[Cell]) -> dict[str, object]:
    return {
        "schema": "lz.table/1",
        "over": {axis.name: list(axis.values) for axis in axes},
        "cells": [
            {
                "at": {axis.name: axis.values[place] for axis, place in zip(axes, cell.places, strict=True)},
                "kernel": cell.kernel,
                "score": cell.score,
                "degraded": cell.degraded,
                "error": None if cell.error is None else {"code": cell.error.code, "message": cell.error.message},
            }
            for cell in cells
        ],
    }

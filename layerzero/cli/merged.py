"""The decisions over all values of some fields -> the rows of a table: ranges instead of points."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from layerzero.analysis.model import Model
from layerzero.analysis.ranges import Ranges, Row, over_ranges
from layerzero.check.program import Program
from layerzero.cli.budget import spent
from layerzero.cli.given import fold
from layerzero.cli.over import Over, read_over
from layerzero.errors import ArgumentError
from layerzero.regions.sets import Members, Ordered, ValueSet
from layerzero.regions.spell import constant, member_of
from layerzero.regions.terms import FieldDimension, full
from layerzero.semantics.context import read_context
from layerzero.semantics.environment import Environment

ANYTHING = "any"


def axes_of(program: Program, texts: Sequence[str]) -> Over:
    """The axes of `--over`: `head_dim` (every value), `sm=80,90`, `kv_len=1..64Ki`.

    Raises:
        ArgumentError: An axis that is no field.
    """
    named = [text if "=" in text else f"{name}=" for text in texts for name in text.split(",")]
    whole = [text for text in named if text.endswith("=")]
    sets = read_over(program, [text for text in named if text not in whole])
    fields = dict(sets.fields)
    for text in whole:
        name = program.aliases.fields.get(text[:-1].strip(), text[:-1].strip())
        if name not in program.fields:
            raise ArgumentError(f"--over {text[:-1]}: ranges are taken over fields, and this is none")
        known = FieldDimension(name, program.fields[name].type)
        fields.setdefault(known, _everything(known))
    order = [text.partition("=")[0].strip() for text in named]
    names = [program.aliases.fields.get(name, name) for name in order]
    return Over(program, (), tuple(sorted(fields.items(), key=lambda item: names.index(item[0].name))))


def _everything(dimension: FieldDimension) -> ValueSet:
    return full(dimension)


def merge(args: argparse.Namespace, program: Program, environment: Environment, over: Over) -> Ranges:
    """The decisions of the call that is `--given`, over all values of the axes."""
    context = fold(program, args.given)
    names = {dimension.name for dimension, _ in over.fields}
    if args.device is not None:
        context = {**dict(program.devices[args.device].values), **context}
    scope, values = read_context(program, {name: value for name, value in context.items() if name not in names})
    operation = program.operations[scope.operation]
    missing = [name for name in operation.needs if name not in values and name not in names
               and program.fields[name].default is None]  # fmt: skip
    if missing:
        raise ArgumentError(
            f"`{scope}` needs {', '.join(f'`{name}`' for name in missing)}: give it, or name it in --over"
        )
    model = Model(program, operation, environment)
    return over_ranges(model, scope, values, dict(over.fields), spent(args.budget))


# ---------------------------------------------------------------- shapes


def merged_rows(over: Over, found: Ranges) -> list[list[str]]:
    """One row for each box; the column `and` holds what relates fields, where anything does."""
    related = any(row.besides for row in found.rows)
    rows = [[*(dimension.name for dimension, _ in over.fields), *(["and"] if related else []), "kernel"]]
    for row in found.rows:
        cells = [shown(row.sets.get(dimension), dimension) for dimension, _ in over.fields]
        rows.append([*cells, *([row.besides] if related else []), _kernel(row)])
    return rows


def _kernel(row: Row) -> str:
    if row.outcome.error is not None:
        return f"error {row.outcome.error}"
    return f"{row.outcome.kernel}{' *' if row.outcome.degraded else ''}"


def shown(values: ValueSet | None, dimension: FieldDimension) -> str:
    """`64..128, 256`, `bf16, fp16`, `>= "2.10"`, `absent`."""
    if values is None:
        return ANYTHING
    words = _plain(values.known, dimension)
    if values.absent:
        words.append("absent")
    if values.broken:
        words.append("not finite")
    return ", ".join(words)


def _plain(known: Ordered | Members, dimension: FieldDimension) -> list[str]:
    kind = dimension.type.kind
    if isinstance(known, Members):
        listed = sorted((constant(value, kind == "enum") for value in known.values), key=str)
        return [f"any but {', '.join(listed)}" if listed else ANYTHING] if known.others else listed
    if kind == "version":
        return [member_of("", known, full(dimension).known).strip()]
    bottom, top = dimension.type.low, dimension.type.high
    words = []
    for span in known.spans:
        low, high = Ordered(known.kind, (span,)).hull
        if low == high:
            words.append(f"{low}")
        else:
            words.append(f"{low if low != bottom or bottom is not None else ''}..{high if high != top else ''}")
    return words


def merged_json(over: Over, found: Ranges) -> dict[str, object]:
    return {
        "schema": "lz.ranges/1",
        "over": [dimension.name for dimension, _ in over.fields],
        "rows": [
            {
                "where": {dimension.name: shown(row.sets.get(dimension), dimension) for dimension, _ in over.fields},
                "and": row.besides or None,
                "kernel": row.outcome.kernel,
                "degraded": row.outcome.degraded,
                "error": row.outcome.error,
            }
            for row in found.rows
        ],
        "unexamined": found.gap,
    }

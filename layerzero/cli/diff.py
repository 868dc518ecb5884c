"""The contexts that two policies, or one policy on two machines, decide otherwise: each region with what is chosen
before and after, the rules responsible, and a call that shows it. Outside of what is printed no call is decided
otherwise; what was not examined is named.

OLD and NEW are files, folders, or REV:PATH for a path as a git revision has it. Without NEW, OLD is compared with
itself: `--device h100..b200`, `--package flash-attn=2.7.0..2.8.3` and `--now DATE..DATE` give the two sides different
values, either of which may be left out. Exit code 0 where nothing differs, 1 where something does or was not examined.

  lz diff HEAD:policies/prod.lzp policies/prod.lzp --over attention.decode"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date

from layerzero.analysis.difference import Change, Difference, Side, Unexamined, difference
from layerzero.analysis.difference.changes import Example
from layerzero.analysis.findings import shown
from layerzero.analysis.settle import Outcome, outcome_of
from layerzero.check.expressions import Value
from layerzero.check.program import Program
from layerzero.cli.budget import add_budget, spent
from layerzero.cli.output import counted, print_json, style
from layerzero.cli.over import Over, read_over
from layerzero.cli.programs import add_json, add_program_options, day, package, today
from layerzero.cli.revisions import read_program
from layerzero.cli.weights import Weights, weigh
from layerzero.errors import ArgumentError
from layerzero.semantics.causes import Cause
from layerzero.semantics.context import read_device
from layerzero.semantics.environment import Environment
from layerzero.syntax.visible import visible

SCHEMA = "lz.diff/1"
_LONGEST = 160  # an exact condition past this is for programs
_SHOWN = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="a file, a folder, or REV:PATH")
    parser.add_argument("new", metavar="NEW", nargs="?", help="the same; left out, OLD on another machine")
    parser.add_argument(
        "--over", action="append", default=[], metavar="ITEM", help="sm=80,90, head_dim=64..256, attention.decode, h100"
    )
    parser.add_argument(
        "--weights", action="append", default=[], metavar="LOG", help="count the calls of a decision log"
    )
    parser.add_argument("--format", choices=("text", "markdown"), default="text", help="default: text")
    add_json(parser, f"print the whole difference as JSON (`{SCHEMA}`)")
    add_budget(parser, "30s")
    add_program_options(parser)
    group = parser.add_argument_group("machine")
    group.add_argument("--device", metavar="NAME[..NAME]", help="the device of both sides, or of each")
    group.add_argument(
        "--package", action="append", default=[], metavar="NAME=VERSION[..VERSION]", help="assume versions of a package"
    )
    group.add_argument("--now", metavar="DATE[..DATE]", help="the day of both sides, or of each (default: today)")


def run(args: argparse.Namespace) -> int:
    programs = [read_program(args, args.old)]
    programs.append(programs[0] if args.new is None else read_program(args, args.new))
    old, new = sides(args, programs[0], programs[1])
    over = read_over(new.program, args.over)
    settled = sorted({*old.device, *new.device} & {dimension.name for dimension, _ in over.fields})
    if settled:
        raise ArgumentError(f"--over {settled[0]}: --device gives `{settled[0]}` already")
    found = difference(
        old, new, over.operations, lambda pair: over.within(pair.old.space, pair.new.space), spent(args.budget)
    )
    weights = weigh(args.weights, old, new, found) if args.weights else None
    if weights is not None:
        found, weights = by_calls(found, weights)
    if args.json:
        print_json(plain(found, weights))
    else:
        write = markdown if args.format == "markdown" else text
        print("\n".join(visible(line) for line in write(found, weights, over)))
    return int(bool(found.changes or found.unexamined or found.only_old or found.only_new))


def by_calls(found: Difference, weights: Weights) -> tuple[Difference, Weights]:
    """The changes that move most calls first."""
    places = sorted(range(len(found.changes)), key=lambda place: -weights.moved.get(place, 0.0))
    moved = {place: weights.moved.get(before, 0.0) for place, before in enumerate(places)}
    changes = tuple(found.changes[place] for place in places)
    return replace(found, changes=changes), replace(weights, moved=moved)


# ---------------------------------------------------------------- the two machines


def sides(args: argparse.Namespace, old: Program, new: Program) -> tuple[Side, Side]:
    devices = _both(args.device)
    days = [today(argparse.Namespace(now=None)) if text is None else _day(text) for text in _both(args.now)]
    packages: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for item in args.package:
        name, separator, versions = item.partition("=")
        if not separator:
            raise ArgumentError(f"wanted NAME=VERSION or NAME=VERSION..VERSION, got `{item}`")
        for given, version in zip(packages, _both(versions), strict=True):
            if version:
                try:
                    key, text = package(f"{name}={version}")
                except argparse.ArgumentTypeError as error:
                    raise ArgumentError(f"--package: {error}") from None
                given[key] = text
    if old is new and devices[0] == devices[1] and packages[0] == packages[1] and days[0] == days[1]:
        raise ArgumentError("nothing differs: give NEW, or two values as in --device h100..b200")
    first, second = (
        Side(program, _environment(given, now), _device(program, name))
        for program, given, now, name in zip((old, new), packages, days, devices, strict=True)
    )
    return first, second


def _both(text: str | None) -> tuple[str | None, str | None]:
    """`a..b` -> (a, b), either of which may be empty; `a` stands for both."""
    if text is None:
        return None, None
    first, separator, second = text.partition("..")
    return (first or None, second or None) if separator else (text, text)


def _day(text: str) -> date:
    try:
        return day(text)
    except argparse.ArgumentTypeError as error:
        raise ArgumentError(f"--now: {error}") from None


def _device(program: Program, name: str | None) -> Mapping[str, Value]:
    return {} if name is None else read_device(program, name)


def _environment(packages: Mapping[str, str], now: date) -> Environment:
    return Environment(packages=packages, assume_packages=True, call_kernels=False, today=now)


# ---------------------------------------------------------------- text


def text(found: Difference, weights: Weights | None, over: Over) -> Iterator[str]:
    paint = style()
    for place, change in enumerate(found.changes[:_SHOWN]):
        yield paint.warn(f"{change.operation}: {_outcomes(change.before)} -> {_outcomes(change.after)}")
        yield f"  {_where(change)}"
        yield from (f"  {_cause(cause)}" for cause in change.causes[:6])
        yield f"  e.g. {_example(change.example)}"
        if weights is not None:
            yield f"  {_calls(weights, place)}"
    if len(found.changes) > _SHOWN:
        yield f"... and {len(found.changes) - _SHOWN} more (--json has them all)"
    yield from _rest(found, weights)
    yield paint.good(_summary(found)) if not found.changes and not found.unexamined else _summary(found)


def markdown(found: Difference, weights: Weights | None, over: Over) -> Iterator[str]:
    """For the description of a pull request."""
    yield f"**{_summary(found)}**"
    if found.changes:
        calls = " | calls" if weights is not None else ""
        yield ""
        yield f"| operation | before | after | where | because{calls} |"
        yield f"|{' --- |' * (6 if weights is not None else 5)}"
        for place, change in enumerate(found.changes[:_SHOWN]):
            reasons = "<br>".join(_code(_cause(cause)) for cause in change.causes[:3])
            cells = [change.operation, _code(_outcomes(change.before)), _code(_outcomes(change.after)),
                     _code(_where(change)), reasons]  # fmt: skip
            if weights is not None:
                cells.append(_calls(weights, place))
            yield f"| {' | '.join(cells)} |"
        yield ""
        yield "<details><summary>a call for each</summary>"
        yield ""
        yield from (f"- {_code(_example(change.example))}" for change in found.changes[:_SHOWN])
        yield ""
        yield "</details>"
    rest = list(_rest(found, weights))
    if rest:
        yield ""
        yield from (f"- {line}" for line in rest)


def _code(words: str) -> str:
    return "`" + words.replace("|", "\\|").replace("`", "'") + "`"


def _summary(found: Difference) -> str:
    changes = len(found.changes) + len(found.only_old) + len(found.only_new)
    if found.unexamined and not changes:
        return "no change was found; outside of what was not examined nothing is decided otherwise"
    if found.unexamined:
        return f"{counted(changes, 'change')} found; outside of them and of what was not examined, nothing differs"
    if not changes:
        return "nothing is decided otherwise"
    return f"{counted(changes, 'change')}; nothing else is decided otherwise"


def _rest(found: Difference, weights: Weights | None) -> Iterator[str]:
    yield from (f"the operation `{name}` is only in OLD" for name in found.only_old)
    yield from (f"the operation `{name}` is only in NEW" for name in found.only_new)
    yield from _unexamined(found.unexamined)
    if weights is not None:
        moved = sum(weights.moved.values()) + weights.beside
        yield f"of {weights.calls:.0f} calls in the log {moved:.0f} are decided otherwise ({_share(moved, weights)})"
        if weights.beside:
            yield f"{weights.beside:.0f} of them lie in what was not examined"
        if weights.unreadable:
            yield f"{counted(weights.unreadable, 'record')} could not be read"


def _unexamined(left: tuple[Unexamined, ...]) -> Iterator[str]:
    """A line for each region, or one for the operation where all of it is among them."""
    wheres: dict[tuple[str, str], dict[str | None, None]] = {}
    for one in left:
        where = None if one.where == "true" else one.where
        wheres.setdefault((one.operation, one.reason), {})[where] = None
    for (operation, reason), regions in wheres.items():
        if None in regions:
            yield f"not examined: {operation}: {reason}"
        else:
            yield from (f"not examined: {operation} when {where}: {reason}" for where in regions)


def _outcomes(outcomes: tuple[Outcome, ...]) -> str:
    words = [outcome.text for outcome in outcomes[:4]]
    more = len(outcomes) - len(words)
    listed = " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 and not more else ", ".join(words)
    return f"{listed} or {more} more" if more else listed


def _where(change: Change) -> str:
    """The shortest true account of the region."""
    if change.condition is not None and change.exact and len(change.condition) <= _LONGEST:
        return f"when {change.condition}"
    said = f"when {change.where}" if change.where not in (None, "true") else "anywhere"
    if len(change.before) == 1 and change.before[0].kernel is not None:
        return f"{said}, of the calls that got {change.before[0].text}"
    if len(change.after) == 1 and change.after[0].kernel is not None:
        return f"{said}, of the calls that will get {change.after[0].text}"
    return f"{said}, of some calls"


def _cause(cause: Cause) -> str:
    return f"{cause.side}: {cause.text}{f', at {cause.at}' if cause.at else ''}"


def _example(example: Example) -> str:
    return f"{shown(example.witness)}: {outcome_of(example.old).text} -> {outcome_of(example.new).text}"


def _calls(weights: Weights, place: int) -> str:
    calls = weights.moved.get(place, 0.0)
    return f"{calls:.0f} calls of the log ({_share(calls, weights)})"


def _share(calls: float, weights: Weights) -> str:
    return f"{calls / weights.calls if weights.calls else 0.0:.2%}"


# ---------------------------------------------------------------- JSON


def plain(found: Difference, weights: Weights | None) -> dict[str, object]:
    """The stable object `lz.diff/1`."""
    return {
        "schema": SCHEMA,
        "changes": [_change(change, place, weights) for place, change in enumerate(found.changes)],
        "unexamined": [
            {"operation": one.operation, "where": one.where, "reason": one.reason} for one in found.unexamined
        ],
        "only_old": list(found.only_old),
        "only_new": list(found.only_new),
        "log": None
        if weights is None
        else {
            "calls": weights.calls,
            "changed": sum(weights.moved.values()) + weights.beside,
            "unexamined": weights.beside,
            "unreadable": weights.unreadable,
        },
    }


def _change(change: Change, place: int, weights: Weights | None) -> dict[str, object]:
    example = change.example
    return {
        "operation": change.operation,
        "before": [_outcome(one) for one in change.before],
        "after": [_outcome(one) for one in change.after],
        "where": change.where,
        "condition": change.condition,
        "exact": change.exact,
        "rules": [
            {"kind": one.kind, "rule": one.rule, "side": one.side, "text": one.text, "at": one.at}
            for one in change.causes
        ],
        "witness": {
            "context": example.witness.context,
            "packages": example.witness.packages,
            "before": _outcome(outcome_of(example.old)),
            "after": _outcome(outcome_of(example.new)),
        },
        "calls": None if weights is None else weights.moved.get(place, 0.0),
    }


def _outcome(outcome: Outcome) -> dict[str, object]:
    return {"kernel": outcome.kernel, "degraded": outcome.degraded, "error": outcome.error}

"""`10s`, `500ms`, `2m` -> seconds, whether they are over, and what the analyses did not come to by then."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterable, Iterator

from layerzero.analysis.findings import Doubt
from layerzero.analysis.ground import BUDGET_SPENT

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_NAMED = 4  # subjects of one check that are named
_UNITS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0}


def budget(text: str) -> float:
    """For argparse. A number alone is seconds."""
    found = _BUDGET.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"wanted a time as in 10s, 500ms or 2m, got `{text}`")
    return float(found[1]) * _UNITS[found[2]]


def add_budget(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--budget",
        type=budget,
        default=None if default is None else budget(default),
        metavar="TIME",
        help=f"how long to look; what is left then is named (default: {default or 'no end by the clock'})",
    )


def spent(seconds: float | None) -> Callable[[], bool]:
    """Whether the time from now on is over."""
    if seconds is None:
        return lambda: False
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def told(doubts: Iterable[Doubt]) -> Iterator[str]:
    """One line for each question that was too large, and one for each check that the budget ended."""
    left: dict[str, list[str]] = {}
    for doubt in dict.fromkeys(doubts):
        if doubt.reason == BUDGET_SPENT:
            left.setdefault(doubt.check, []).append(doubt.subject)
        else:
            yield f"not decided: {doubt.check}: {doubt.subject}: {doubt.reason}"
    for check, subjects in left.items():
        more = f" and {len(subjects) - _NAMED} more" if len(subjects) > _NAMED else ""
        yield f"not examined, the budget is spent: {check}: {', '.join(subjects[:_NAMED])}{more}"

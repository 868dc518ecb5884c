"""`10s`, `500ms`, `2m` -> seconds, and whether they are over."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_UNITS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0}


def budget(text: str) -> float:
    """For argparse. A number alone is seconds."""
    found = _BUDGET.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"wanted a time as in 10s, 500ms or 2m, got `{text}`")
    return float(found[1]) * _UNITS[found[2]]


def add_budget(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--budget",
        type=budget,
        default=budget(default),
        metavar="TIME",
        help=f"how long to look; what is left then is named (default: {default})",
    )


def spent(seconds: float) -> Callable[[], bool]:
    """Whether the time from now on is over."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end

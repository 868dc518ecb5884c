"""`lz demo`: a small transformer on kernels that a policy chose, and what one changed rule does to it."""

from __future__ import annotations

import argparse
import json
import sys

from layerzero.errors import MissingDependencyError

HELP = "a small transformer runs on the kernels that a policy chose; then one rule changes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=_count, default=32, metavar="N", help="how many tokens to write (32; 16..400)")
    parser.add_argument("--full", action="store_true", help="show whole provenance trees, a line for every fact")
    parser.add_argument("--json", action="store_true", help="print what the tour showed as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 1 when the logits are further from the plain model's than the tolerance."""
    try:
        from layerzero.demo import tour
    except ImportError as error:
        raise MissingDependencyError(
            f"`lz demo` needs the extras torch and transformers: pip install 'layerzero[torch,transformers]' ({error})"
        ) from error
    heading = _bold if sys.stdout.isatty() else _plain
    guide = tour.Guide(_silent if arguments.json else print, heading, arguments.full)
    shown = tour.run(guide, arguments.tokens)
    if arguments.json:
        print(json.dumps(shown.to_dict()))
    return 0 if shown.agrees else 1


def _count(text: str) -> int:
    # Fewer end before the changed rule applies; the model knows 512 positions, and the prompt needs some of them.
    count = int(text)
    if not 16 <= count <= 400:
        raise argparse.ArgumentTypeError(f"{count} is outside 16..400")
    return count


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m"


def _plain(text: str) -> str:
    return text


def _silent(line: str) -> None:
    return None

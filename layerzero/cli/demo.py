"""The tour: a small transformer with random weights writes text on the CPU, every step through LayerZero.

It shows which kernel served each operation, why that one and why no other, what one changed rule does to the choice,
and that the logits are those of the plain model. Nothing is downloaded. Exit code 1 where the logits differ."""

from __future__ import annotations

import argparse

from layerzero.cli.output import print_json, style
from layerzero.errors import MissingDependencyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=_count, default=32, metavar="N", help="how many tokens to write (32)")
    parser.add_argument("--full", action="store_true", help="show whole provenance trees, a line for every fact")
    parser.add_argument("--json", action="store_true", help="print what the tour showed as one JSON object")


def run(args: argparse.Namespace) -> int:
    try:
        from layerzero.demo.tour import Guide, run as tour
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "numpy", "transformers"):
            raise
        raise MissingDependencyError(
            f"the demo needs `{error.name}`: pip install 'layerzero[torch,transformers]'"
        ) from error
    shown = tour(Guide(_silent if args.json else print, style().good, args.full), args.tokens)
    if args.json:
        print_json(shown.to_dict())
    return 0 if shown.agrees else 1


def _count(text: str) -> int:
    # Fewer tokens end before the changed rule applies; the model knows 512 positions, and the prompt takes some.
    count = int(text)
    if not 16 <= count <= 400:
        raise argparse.ArgumentTypeError(f"{count} is outside 16..400")
    return count


def _silent(line: str) -> None:
    return None

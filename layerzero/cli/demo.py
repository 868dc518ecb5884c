"""The tour: a small transformer with random weights writes text on the CPU, every step through LayerZero.

It shows which kernel served each operation, why that one and why no other, what one changed rule does to the choice,
and that the logits are those of the plain model. Nothing is downloaded. Exit code 1 where the logits differ.

  lz demo ab    threads serve while policies are swapped, an arm comes late, another fails, and guards end them;
                exit code 1 where a guard did not, or a request noticed"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from layerzero.cli.output import print_json, style
from layerzero.errors import ArgumentError, MissingDependencyError

NEEDED = ("torch", "numpy", "transformers")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("which", nargs="?", choices=("tour", "ab"), default="tour", help="the tour, or the A/B test")
    parser.add_argument("--tokens", type=_count, metavar="N", help="how many tokens the tour writes (32)")
    parser.add_argument("--full", action="store_true", help="show whole provenance trees, a line for every fact")
    parser.add_argument("--json", action="store_true", help="print what was shown as one JSON object")


def run(args: argparse.Namespace) -> int:
    try:
        return _ab_test(args) if args.which == "ab" else _tour(args)
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        raise MissingDependencyError(
            f"the demo needs `{error.name}`: pip install 'layerzero[torch,transformers]'"
        ) from error


def _tour(args: argparse.Namespace) -> int:
    from layerzero.demo.tour import TOKENS, Guide, run as tour

    shown = tour(Guide(_says(args), style().good, args.full), TOKENS if args.tokens is None else args.tokens)
    if args.json:
        print_json(shown.to_dict())
    return 0 if shown.agrees else 1


def _ab_test(args: argparse.Namespace) -> int:
    if args.tokens is not None or args.full:
        raise ArgumentError("--tokens and --full belong to the tour")
    from layerzero.demo.ab import run as ab_test, summary

    say = _says(args)
    shown = ab_test(say)
    for line in summary(shown):
        say(line)
    if args.json:
        print_json(shown.to_dict())
    return 0 if shown.held else 1


def _says(args: argparse.Namespace) -> Callable[[str], None]:
    return _silent if args.json else _printed


def _printed(line: str) -> None:
    print(line, flush=True)


def _count(text: str) -> int:
    # Fewer tokens end before the changed rule applies; the model knows 512 positions, and the prompt takes some.
    count = int(text)
    if not 16 <= count <= 400:
        raise argparse.ArgumentTypeError(f"{count} is outside 16..400")
    return count


def _silent(line: str) -> None:
    return None

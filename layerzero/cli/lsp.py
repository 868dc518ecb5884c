"""The language server: what an editor starts to know `.lzp` files. Speaks its protocol over standard input and output.

Findings as you type, completion, hover with facts and with what a rule does, definition, references, rename and
formatting. docs/editor.md tells how to set it up."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--catalog", action="append", type=Path, default=[], metavar="PATH", help="a catalog to trust")
    parser.add_argument("--stdio", action="store_true", help="what editors add; it is the only way there is")


def run(args: argparse.Namespace) -> int:
    from layerzero.editor.server import serve

    serve(args.catalog)
    return 0

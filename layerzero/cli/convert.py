"""Print a YAML policy or dispatch_config.yaml as `.lzp`: the same decisions, under the same digest.

Comments stay. A policy with errors is not converted: its findings are shown, with their places in the YAML file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from layerzero.check import load, require
from layerzero.check.digest import program_digest
from layerzero.check.loader import load_text
from layerzero.check.program import Program
from layerzero.cli.output import code_of, print_findings, print_json
from layerzero.cli.programs import add_json, add_program_options, catalogs
from layerzero.errors import ArgumentError, LayerZeroError
from layerzero.notations import SUFFIXES, Words, is_notation, read
from layerzero.syntax.formatter import format_file
from layerzero.syntax.reading import read_source
from layerzero.syntax.source import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="FILE.yaml", help="the file to convert")
    parser.add_argument("-o", "--output", metavar="FILE.lzp", help="write there, instead of to standard output")
    parser.add_argument("--force", action="store_true", help="with -o: replace a file that exists")
    add_json(parser)
    add_program_options(parser)


def run(args: argparse.Namespace) -> int:
    path = Path(args.path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if not is_notation(path.name):
        raise ArgumentError(f"{path} is not YAML: wanted a file that ends in {' or '.join(SUFFIXES)}")
    trusted, prelude = catalogs(args), not args.no_prelude
    checked = load(path, prelude=prelude, catalogs=trusted)
    if checked.diagnostics:
        print_findings(checked.diagnostics, sys.stderr)
    if checked.program is None:
        return code_of([one for one in checked.diagnostics if one.severity == "error"])
    text = converted(path, checked.program)
    again = require(load_text(text, name=f"{path.stem}.lzp", prelude=prelude, catalogs=trusted))
    if program_digest(again) != checked.program.digest:
        raise LayerZeroError("the converted policy would decide otherwise; please report this file")
    if args.output is not None:
        _write(Path(args.output), text, args.force)
    if args.json:
        print_json({"file": str(path), "output": args.output, "digest": checked.program.digest, "text": text})
    elif args.output is None:
        print(text, end="")
    return 0


def converted(path: Path, program: Program) -> str:
    """The canonical `.lzp` of a YAML file that the program was made from."""
    source = read_source(path)
    assert isinstance(source, Source)
    others = [text.source for text in program.texts if not is_notation(text.source.name)]
    from layerzero.syntax.trees import parse_cached

    files = [file for file, _ in map(parse_cached, others) if file is not None]
    file, findings = read(source, Words.of(files))
    assert file is not None and not findings
    return format_file(file)


def _write(path: Path, text: str, force: bool) -> None:
    if path.suffix != ".lzp":
        raise ArgumentError(f"{path}: wanted a name that ends in .lzp")
    try:
        with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise ArgumentError(f"{path} exists; --force replaces it") from None

"""Write policies in the one canonical form; comments stay, and the meaning does.

PATHS are files, folders (every `.lzp` file in them) or `-`, which formats standard input to standard output. A file
with syntax errors is left as it is. With --check or --diff nothing is written, and the exit code is 1 where a file
would change."""

from __future__ import annotations

import argparse
import difflib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from layerzero.cli.output import Style, code_of, counted, print_findings, print_json, style
from layerzero.cli.programs import add_json
from layerzero.cli.shown import print_document
from layerzero.errors import ArgumentError
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.formatter import format_source
from layerzero.syntax.reading import decode, read_source
from layerzero.syntax.source import Source

STDIN = "<stdin>"


@dataclass(frozen=True, slots=True)
class Formatted:
    """One file: its canonical text, or the errors that keep it as it is."""

    name: str
    before: str
    after: str
    findings: tuple[Diagnostic, ...] = ()

    @property
    def changed(self) -> bool:
        return self.before != self.after


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files, folders, or `-` for standard input")
    parser.add_argument("--check", action="store_true", help="only say which files would change")
    parser.add_argument("--diff", action="store_true", help="only show what would change")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if "-" in args.paths:
        return _filter(args)
    results = [format_path(path) for path in files(args.paths)]
    write = not (args.check or args.diff)
    for one in results:
        if write and one.changed:
            replace_text(Path(one.name), one.after)
    findings = [finding for one in results for finding in one.findings]
    if findings:
        print_findings(findings, sys.stderr)
    if args.json:
        print_json({"files": [_plain(one) for one in results], "written": write})
    else:
        _print(results, args.diff, write)
    return code_of(findings) or int(not write and any(one.changed for one in results))


def format_path(path: Path) -> Formatted:
    return formatted(read_source(path), str(path))


def formatted(source: Source | Diagnostic, name: str) -> Formatted:
    if isinstance(source, Diagnostic):
        return Formatted(name, "", "", (source,))
    text = format_source(source)
    if isinstance(text, str):
        return Formatted(name, source.text, text)
    return Formatted(name, source.text, source.text, tuple(text))


def files(paths: Iterable[str]) -> list[Path]:
    """Every file that PATHS stand for, each once; folders without what is hidden."""
    found = {file.resolve(): file for path in map(Path, paths) for file in _expand(path)}
    return list(found.values())


def _expand(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
        yield path
        return
    inside = [file for file in sorted(path.rglob("*.lzp")) if file.is_file()]
    inside = [file for file in inside if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not inside:
        raise FileNotFoundError(f"no .lzp file in {path}")
    yield from inside


def replace_text(path: Path, text: str) -> None:
    """Readers see the old file or the new one, whole; a link stays a link, and the mode stays."""
    real = path.resolve()
    handle, temporary = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8"))
        shutil.copymode(real, temporary)
        os.replace(temporary, real)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# ---------------------------------------------------------------- printing


def _filter(args: argparse.Namespace) -> int:
    if args.paths != ["-"]:
        raise ArgumentError("`-` stands alone: standard input is one text")
    data = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
    one = formatted(decode(data, STDIN), STDIN)
    if one.findings:
        print_findings(one.findings, sys.stderr)
        return code_of(one.findings)
    if args.json:
        print_json({"files": [_plain(one)], "written": False, "text": one.after})
    elif args.diff:
        print("\n".join(_diff(one, style())), end="\n" if one.changed else "")
    elif not args.check:
        print_document(one.after)
    return int(one.changed and (args.check or args.diff))


def _print(results: list[Formatted], diff: bool, write: bool) -> None:
    paint = style()
    changed = [one for one in results if one.changed]
    for one in changed:
        if diff:
            print("\n".join(_diff(one, paint)))
        else:
            print(f"{'wrote' if write else 'would change'} {one.name}")
    broken = sum(bool(one.findings) for one in results)
    same = len(results) - len(changed) - broken
    parts = [f"{counted(len(changed), 'file')} {'changed' if write else 'would change'}"] if changed else []
    parts += [f"{counted(same, 'file')} in form"] if same else []
    parts += [f"{counted(broken, 'file')} with errors, left alone"] if broken else []
    print(", ".join(parts), file=sys.stderr if diff else sys.stdout)


def _diff(one: Formatted, paint: Style) -> Iterator[str]:
    lines = difflib.unified_diff(
        one.before.splitlines(), one.after.splitlines(), one.name, f"{one.name} (formatted)", lineterm=""
    )
    for line in lines:
        yield paint.good(line) if line.startswith("+") else paint.bad(line) if line.startswith("-") else line


def _plain(one: Formatted) -> dict[str, object]:
    errors = [{"code": f.code, "message": f.message, "at": str(f.span)} for f in one.findings]
    return {"file": one.name, "changed": one.changed, "errors": errors}

"""PATHS and the options of all commands that decide -> a program and the environment it is asked in."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

from layerzero.check import Checked, find_roots, load, load_text, require
from layerzero.check.loader import TEST_SUFFIX, Root
from layerzero.check.program import Program
from layerzero.errors import ArgumentError
from layerzero.runtime.building import Material
from layerzero.runtime.cached import Cached
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source

SHIPPED = "<shipped>"


# ---------------------------------------------------------------- arguments


def add_paths(parser: argparse.ArgumentParser, default: str = "the shipped policy alone") -> None:
    parser.add_argument("paths", nargs="*", metavar="PATH", help=f"`.lzp` files and folders (default: {default})")


def add_json(parser: argparse.ArgumentParser, help: str = "print JSON") -> None:
    parser.add_argument("--json", action="store_true", help=help)


def add_program_options(parser: argparse.ArgumentParser) -> None:
    """What decides which files make the program."""
    group = parser.add_argument_group("program")
    group.add_argument(
        "--catalog",
        action="append",
        default=[],
        metavar="PATH",
        help="a catalog to trust besides the installed ones (a file or a folder; may be repeated)",
    )
    group.add_argument("--no-prelude", action="store_true", help="without prelude, shipped catalogs and rules")


def add_environment_options(parser: argparse.ArgumentParser, device: bool = True) -> None:
    """What decisions take for granted about the machine."""
    group = parser.add_argument_group("machine")
    if device:
        group.add_argument("--device", metavar="NAME", help="the device; a value in the context wins over it")
    group.add_argument(
        "--package",
        action="append",
        default=[],
        type=package,
        metavar="NAME=VERSION",
        help="assume this version of a package (may be repeated)",
    )
    group.add_argument("--installed", action="store_true", help="only what is installed here and has an adapter")
    group.add_argument("--now", type=day, metavar="DATE", help="the day, YYYY-MM-DD, from 00:00 UTC (default: today)")


def package(text: str) -> tuple[str, str]:
    """`flash-attn=2.8.3` -> normalised name and version."""
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    name, separator, version = text.partition("=")
    version = version.removeprefix("=").strip()
    if not name.strip() or not separator or not version:
        raise argparse.ArgumentTypeError(f"wanted NAME=VERSION as in flash-attn=2.8.3, got `{text}`")
    try:
        Version(version)
    except InvalidVersion:
        raise argparse.ArgumentTypeError(f"`{version}` is not a version (PEP 440), in `{text}`") from None
    return canonicalize_name(name.strip()), version


def day(text: str) -> date:
    try:
        if len(text) == 10:  # `date` also reads 20270301 and 2027-W09-1
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"wanted a date as in 2027-03-01, got `{text}`")


# ---------------------------------------------------------------- programs


def program(args: argparse.Namespace, paths: Sequence[str] | None = None) -> Program:
    """The one program that the arguments name, or PolicyError with its findings. One that was checked before, without
    a finding, comes from the disk."""
    paths = args.paths if paths is None else paths
    material = _material(args, paths)
    loaded = require(checked(args, paths)) if material is None else Cached(whole=True).load(material).program()
    device = getattr(args, "device", None)
    if device is not None:
        from layerzero.semantics.context import read_device

        read_device(loaded, device)  # an unknown name is wrong usage, not an error of every decision
    return loaded


def checked(args: argparse.Namespace, paths: Sequence[str]) -> Checked:
    if not paths:
        return load_text("", name=SHIPPED, prelude=not args.no_prelude, catalogs=catalogs(args))
    return load(one_root(paths), prelude=not args.no_prelude, catalogs=catalogs(args))


def _material(args: argparse.Namespace, paths: Sequence[str]) -> Material | None:
    """What `checked` reads, where it is one text or one path."""
    if not paths:
        text = Source(SHIPPED, "")
        return Material(text=text, prelude=not args.no_prelude, with_catalogs=tuple(catalogs(args)))
    if len(paths) > 1 or not Path(paths[0]).is_file():
        return None
    return Material(Path(paths[0]), prelude=not args.no_prelude, with_catalogs=tuple(catalogs(args)))


def catalogs(args: argparse.Namespace) -> list[Path]:
    """The files of `--catalog`; a folder stands for all in it."""
    files: list[Path] = []
    for path in map(Path, args.catalog):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*.lzp") if not file.name.endswith(TEST_SUFFIX))
            if not inside:
                raise FileNotFoundError(f"no .lzp file in the catalog {path}")
            files.extend(inside)
        elif path.exists():
            files.append(path)
        else:
            raise FileNotFoundError(f"no such catalog: {path}")
    return files


def roots(paths: Sequence[str], tests: bool = False) -> list[Root]:
    """Every program that PATHS stand for, each once."""
    found = [root for path in paths for root in find_roots(Path(path), tests)]
    return list({tuple(file.resolve() for file in root.files): root for root in found}.values())


def one_root(paths: Sequence[str]) -> Root:
    """The one program that PATHS stand for; several files of which at most one has a header make one together.

    Raises:
        ArgumentError: They stand for several, which it names.
    """
    found = roots(paths)
    if len(found) == 1:
        return found[0]
    if all(Path(path).is_file() for path in paths):
        headed = [root for root in found if _headed(root)]
        if len(headed) <= 1:
            first = (headed or found)[0]
            return Root(tuple(file for root in found for file in root.files), first.folder)
        found = headed
    names = ", ".join(root.name for root in found[:12])
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    raise ArgumentError(f"PATHS stand for {len(found)} policies ({names}{more}): name the one you mean")


def _headed(root: Root) -> bool:
    # The loader's own question; a folder answers it the same way.
    from layerzero.check.loader import _has_header

    return any(_has_header(file) for file in root.files)


def environment(args: argparse.Namespace, program: Program) -> Environment:
    """Offline unless `--installed`: every package that is not given is assumed at an accepted version."""
    given = dict(args.package)
    if args.installed:
        from layerzero.dispatch.availability import installed_packages

        here = installed_packages(program)
        given = here | given
    return Environment(packages=given, assume_packages=not args.installed, call_kernels=False, today=today(args))


def today(args: argparse.Namespace) -> date:
    return args.now or datetime.now(UTC).date()


def split_paths(words: Sequence[str], what: str) -> tuple[list[str], str | None]:
    """`PATH ... WORD` -> the paths and the one word that is none: what exists, ends in `.lzp` or has a slash is a path.

    Raises:
        ArgumentError: More than one word is no path.
    """
    paths = [word for word in words if Path(word).exists() or word.endswith(".lzp") or "/" in word]
    others = [word for word in words if word not in paths]
    if len(others) > 1:
        raise ArgumentError(f"wanted PATHS and one {what}, got {', '.join(f'`{word}`' for word in others)}")
    return paths, others[0] if others else None

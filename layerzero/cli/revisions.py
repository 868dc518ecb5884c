"""OLD and NEW of `lz diff` -> programs: a path, or `REV:PATH` for a path as a git revision has it."""

from __future__ import annotations

import argparse
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from layerzero.check import load, require
from layerzero.check.loader import find_roots, load_sources
from layerzero.check.program import Program
from layerzero.cli.programs import catalogs, one_root
from layerzero.errors import ArgumentError
from layerzero.syntax.source import Source


def read_program(args: argparse.Namespace, path: str) -> Program:
    """The one program that a path or `REV:PATH` stands for.

    Raises:
        ArgumentError: There is no such revision, or no such path in it, or it stands for several programs.
        PolicyError: It has errors.
    """
    options = {"prelude": not args.no_prelude, "catalogs": catalogs(args)}
    revision, colon, inside = path.partition(":")
    if Path(path).exists() or not colon:
        return require(load(one_root([path]), **options))  # type: ignore[arg-type]
    if not revision or not inside:
        raise ArgumentError(f"`{path}` is no path; of a git revision it is REV:PATH, as in HEAD~1:policies/prod.lzp")
    return require(load_sources(_sources(path, revision, inside), **options))  # type: ignore[arg-type]


def _sources(shown: str, revision: str, inside: str) -> list[Source]:
    """The files of the program at a revision, named `REV:PATH` in messages."""
    path = _from_root(inside)
    kind = _git("cat-file", "-t", f"{revision}:{path}", wrong=f"no `{path}` in `{revision}`").decode().strip()
    folder = path if kind == "tree" else str(PurePosixPath(path).parent)
    with tempfile.TemporaryDirectory(prefix="lz-diff-") as temporary:
        where = ["--", folder] if folder not in (".", "") else []
        archive = _git("archive", "--format=tar", revision, *where, cwd=_top(), wrong=f"cannot read `{shown}`")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            # Python before 3.11.4 has no filters. A git tree holds no path that leads out of it, and what a link
            # points to outside is refused by the loader.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(temporary)
        roots = find_roots(Path(temporary, path))
        if len(roots) != 1:
            policies = ", ".join(str(Path(root.name).relative_to(temporary)) for root in roots[:12])
            raise ArgumentError(f"`{shown}` stands for {len(roots)} policies ({policies}): name the one you mean")
        read = load(roots[0], prelude=False)
        if read.wanted or len(read.files) != len(read.sources):
            raise ArgumentError(f"`{shown}` imports what cannot be read: {', '.join(read.wanted)}")
        names = [Path(file).resolve().relative_to(Path(temporary).resolve()).as_posix() for file in read.files]
        return [Source(f"{revision}:{name}", source.text) for name, source in zip(names, read.sources, strict=True)]


def _from_root(inside: str) -> str:
    """A path as git counts it, from the top of the repository; `./x` and what is only there counts from here."""
    top, here = _top(), Path.cwd()
    from_here = (here / inside).resolve()
    beside = from_here.relative_to(top.resolve()).as_posix() if from_here.is_relative_to(top.resolve()) else inside
    known = _git("ls-files", "--", inside, cwd=top, wrong="cannot list the files of the repository").strip()
    return beside if inside.startswith("./") or (not known and beside != inside) else PurePosixPath(inside).as_posix()


def _top() -> Path:
    return Path(_git("rev-parse", "--show-toplevel", wrong="this is no git repository").decode().strip())


def _git(*words: str, wrong: str, cwd: Path | None = None) -> bytes:
    try:
        done = subprocess.run(["git", *words], cwd=cwd, capture_output=True, check=False)
    except FileNotFoundError:
        raise ArgumentError("REV:PATH needs git, which is not installed") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ArgumentError(f"{wrong}: {said[-1] if said else 'git failed'}")
    return done.stdout

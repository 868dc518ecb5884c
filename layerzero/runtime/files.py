"""What stands in the files of a policy, told by their bytes: times are hints, and an edit may leave them as they were.

All of it answers for files that come, go and change while they are looked at; nothing here raises.
"""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from layerzero.check.loader import TEST_SUFFIX, files_of
from layerzero.syntax.limits import MAX_FILE_BYTES

Contents = Mapping[str, str | None]  # file -> SHA-256 of its bytes, None where there is no such file
Stats = Mapping[str, tuple[int, ...] | None]

NETWORK = frozenset(
    "9p afs ceph cifs davfs glusterfs gpfs lustre ncpfs nfs nfs4 prl_fs smb2 smb3 smbfs vboxsf virtiofs vmhgfs".split()
)
"""File systems that tell this machine nothing of what another one writes."""

_MOST_LINKS = 40


def members(path: Path) -> list[Path]:
    """The files that a file, a folder or a glob stands for, those that hold tests left out."""
    try:
        if path.is_dir() or (glob.has_magic(str(path)) and not path.is_file()):
            return [one for one in files_of(path)[1] if not one.name.endswith(TEST_SUFFIX)]
    except OSError:  # a folder that goes away while it is listed
        return []
    return [path]


def root_folder(path: Path) -> Path | None:
    """The folder below which files may come and go; None for a single file."""
    if path.is_dir():
        return path
    return files_of(path)[0] if glob.has_magic(str(path)) and not path.is_file() else None


def contents(files: Iterable[str]) -> dict[str, str | None]:
    """File -> digest of its bytes, None where there is no such file."""
    return {file: _digest(file) for file in files}


def stats(files: Iterable[str]) -> dict[str, tuple[int, ...] | None]:
    """File -> what tells cheaply that it has changed; links are followed."""
    return {file: _stat(file) for file in files}


def candidate(found: Contents) -> str:
    """SHA-256 over a set of files and what stands in them."""
    lines = [f"{file}\0{digest}" for file, digest in sorted(found.items())]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def folders(file: str) -> set[str]:
    """The folders in which something happens when a file is replaced: its own, and that of every link on the way.

    A folder that is not there is represented by the nearest one above it that is.
    """
    found: set[str] = set()
    waiting, seen = [os.path.abspath(file)], set[str]()
    while waiting and len(seen) < _MOST_LINKS:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        found.add(_present(os.path.dirname(path)))
        part = path
        while part != os.path.dirname(part):
            above = os.path.dirname(part)
            if os.path.islink(part):
                found.add(_present(above))
                try:
                    target = os.path.join(above, os.readlink(part))
                except OSError:
                    break
                waiting.append(os.path.normpath(target + path[len(part) :]))
            part = above
    return found


def network_file_system(path: str, mounts_file: str = "/proc/self/mountinfo") -> str | None:
    """The kind of the network file system that a path lies on, or None: a local one, or no way to know."""
    try:
        real = os.path.realpath(path)
        with open(mounts_file, encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return None
    best, kind = "", ""
    for words in mounts:
        point = words[4].replace("\\040", " ")  # as mountinfo spells a blank
        if len(point) >= len(best) and (real == point or real.startswith(point.rstrip("/") + "/")):
            best, kind = point, words[words.index("-") + 1]
    return kind if kind in NETWORK or kind.startswith("fuse") else None


def _present(folder: str) -> str:
    while not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return folder


def _stat(file: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest(file: str) -> str | None:
    """What a file holds; a file past the limit counts by its beginning and its size, for it is refused anyway."""
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return f"unreadable: {error}"
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            return "no file"
        digest, left = hashlib.sha256(), MAX_FILE_BYTES + 1
        while left and (part := os.read(handle, min(left, 1 << 20))):
            digest.update(part)
            left -= len(part)
        return digest.hexdigest() if left else f"{digest.hexdigest()} {found.st_size}"
    except OSError as error:
        return f"unreadable: {error}"
    finally:
        os.close(handle)

"""Plain data kept between runs: JSON files in a folder of the user's own, each named for what it was made from.

An entry that is absent, damaged or of another user is no entry; nothing here can make a run fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from layerzero import resources

MAX_ENTRIES = 1000
MAX_BYTES = 256 * 1024**2


def read(key: str) -> Any:
    """What was written under `key`, or None."""
    folder = _own_folder(create=False)
    if folder is None:
        return None
    path = folder / f"{key}.json"
    try:
        checksum, _, data = path.read_bytes().partition(b"\n")
        found = json.loads(data) if checksum == _checksum(data) else None
    except (OSError, ValueError, RecursionError):
        return None
    with contextlib.suppress(OSError):  # a cache that is only read
        os.utime(path)
    return found


def write(key: str, plain: Any) -> None:
    """Keep `plain` under `key`; other processes see the old entry or the new one, never a part."""
    folder = _own_folder(create=True)
    if folder is None:
        return
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")
    except OSError:  # a cache that cannot be written is a cache that stays empty
        return
    try:
        with os.fdopen(handle, "wb") as file:
            data = json.dumps(plain, separators=(",", ":")).encode("ascii")
            file.write(_checksum(data) + b"\n" + data)
        os.replace(temporary, folder / f"{key}.json")
        _prune(folder)
    except OSError:
        Path(temporary).unlink(missing_ok=True)


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode("ascii")


def _prune(folder: Path) -> None:
    """Keep the folder small: past a limit the half goes that was not used for longest."""
    with os.scandir(folder) as found:
        entries = [entry for entry in found if entry.name.endswith((".json", ".part"))]
    if len(entries) > MAX_ENTRIES or sum(entry.stat().st_size for entry in entries) > MAX_BYTES:
        oldest = sorted(entries, key=lambda entry: entry.stat().st_mtime)[: len(entries) // 2]
        for entry in oldest:
            Path(entry.path).unlink(missing_ok=True)


def _own_folder(create: bool) -> Path | None:
    """The cache folder, private (0700) and the current user's; None where that cannot be had."""
    folder = resources.cache_folder()
    if folder is None:
        return None
    try:
        if create:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError:
        return None
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
        return None
    return folder

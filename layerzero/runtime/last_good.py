"""The last good policy on disk, for a start at which the policy's files are bad or absent.

Only the policy's own texts are kept: what they may name (kernels, adapters) is what is installed when they are used.
A file is replaced as a whole; one that is damaged, or that others may write, is not used. Bundles are kept so too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layerzero.check.program import Layer, Text
from layerzero.runtime.vocabulary import Identity
from layerzero.runtime.whole_file import replace_file
from layerzero.syntax.source import Source

log = logging.getLogger("layerzero")

SCHEMA = "lz.last_good/1"


def default_folder() -> Path:
    """`layerzero/last-good` in the user's folder for states, as XDG has it."""
    base = os.environ.get("XDG_STATE_HOME", "")
    home = Path(base) if base and os.path.isabs(base) else Path.home() / ".local" / "state"
    return home / "layerzero" / "last-good"


class Kept:
    """One file of a folder that its owner alone may write, with a checksum.

    Attributes:
        file: Named for the place that its content came from.
        problem: Why the newest content is not kept; None where it is.
    """

    def __init__(self, place: bytes, folder: Path | None = None, suffix: str = ".json") -> None:
        self.file = (folder or default_folder()) / f"{hashlib.sha256(place).hexdigest()[:32]}{suffix}"
        self.problem: str | None = None

    def write(self, data: bytes) -> None:
        """Keep data in place of what was there. Where that fails, the former stays, and the log says so once."""
        try:
            self._write(data)
        except OSError as error:
            problem = f"the last good policy cannot be kept in {self.file.parent}: {error.strerror or error}"
            if problem != self.problem:
                log.error("%s; the one kept before stays", problem)
            self.problem = problem
        else:
            self.problem = None

    def read_bytes(self) -> bytes:
        """What is kept.

        Raises:
            OSError: Nothing is, or it may not be trusted.
            ValueError: It is damaged.
        """
        self._insist_on_private(self.file.parent)
        checksum, _, data = self.file.read_bytes().partition(b"\n")
        if checksum != _checksum(data):
            raise ValueError(f"{self.file} is damaged")
        return data

    def _write(self, data: bytes) -> None:
        folder = self.file.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._insist_on_private(folder)
        replace_file(self.file, _checksum(data) + b"\n" + data, 0o600, sync=True)

    def _insist_on_private(self, folder: Path) -> None:
        """Whoever may write there decides what this process runs when its policy is bad."""
        found = folder.stat()
        if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
            raise PermissionError(1, f"{folder} belongs to another user, or others may write to it")


class LastGood(Kept):
    """The place of one policy's last good version, named for the policy's path."""

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        super().__init__(os.fsencode(os.path.abspath(path)), folder)
        self.path = path

    def save(self, identity: Identity, texts: Sequence[Text]) -> None:
        """Keep a version in place of the one before; see Kept.write."""
        kept = [[one.source.name, one.source.text] for one in texts if one.layer is Layer.POLICY]
        data = {
            "schema": SCHEMA,
            "path": str(self.path),
            "policy": [identity.name, identity.version, identity.digest],
            "saved": datetime.now(UTC).isoformat(timespec="seconds"),
            "texts": kept,
        }
        self.write(json.dumps(data).encode("ascii"))

    def read(self) -> tuple[Source, ...]:
        """The texts of the version that is kept.

        Raises:
            OSError: There is none, or it may not be trusted.
            ValueError: It is damaged.
        """
        found: dict[str, Any] = json.loads(self.read_bytes())
        if found.get("schema") != SCHEMA:
            raise ValueError(f"{self.file} has the schema `{found.get('schema')}`, not `{SCHEMA}`")
        return tuple(Source(name, text) for name, text in found["texts"])


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode("ascii")

"""The last good policy on disk, for a start at which the policy's files are bad or absent.

Only the policy's own texts are kept: what they may name (kernels, adapters) is what is installed when they are used.
A file is replaced as a whole; one that is damaged, or that others may write, is not used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layerzero.check.program import Layer, Text
from layerzero.runtime.vocabulary import Identity
from layerzero.syntax.source import Source

log = logging.getLogger("layerzero")

SCHEMA = "lz.last_good/1"


def default_folder() -> Path:
    """`layerzero/last-good` in the user's folder for states, as XDG has it."""
    base = os.environ.get("XDG_STATE_HOME", "")
    home = Path(base) if base and os.path.isabs(base) else Path.home() / ".local" / "state"
    return home / "layerzero" / "last-good"


class LastGood:
    """The place of one policy's last good version.

    Attributes:
        file: Named for the policy's path.
        problem: Why the newest version is not kept; None where it is.
    """

    def __init__(self, path: Path, folder: Path | None = None) -> None:
        self.path = path
        name = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()[:32]
        self.file = (folder or default_folder()) / f"{name}.json"
        self.problem: str | None = None

    def save(self, identity: Identity, texts: Sequence[Text]) -> None:
        """Keep a version in place of the one before. Where that fails, the one before stays, and the log says so."""
        kept = [[one.source.name, one.source.text] for one in texts if one.layer is Layer.POLICY]
        data = {
            "schema": SCHEMA,
            "path": str(self.path),
            "policy": [identity.name, identity.version, identity.digest],
            "saved": datetime.now(UTC).isoformat(timespec="seconds"),
            "texts": kept,
        }
        try:
            self._write(json.dumps(data).encode("ascii"))
        except OSError as error:
            problem = f"the last good policy cannot be kept in {self.file.parent}: {error.strerror or error}"
            if problem != self.problem:
                log.error("%s; the one kept before stays", problem)
            self.problem = problem
        else:
            self.problem = None

    def read(self) -> tuple[Source, ...]:
        """The texts of the version that is kept.

        Raises:
            OSError: There is none, or it may not be trusted.
            ValueError: It is damaged.
        """
        self._insist_on_private(self.file.parent)
        checksum, _, data = self.file.read_bytes().partition(b"\n")
        if checksum != _checksum(data):
            raise ValueError(f"{self.file} is damaged")
        found: dict[str, Any] = json.loads(data)
        if found.get("schema") != SCHEMA:
            raise ValueError(f"{self.file} has the schema `{found.get('schema')}`, not `{SCHEMA}`")
        return tuple(Source(name, text) for name, text in found["texts"])

    def _write(self, data: bytes) -> None:
        folder = self.file.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._insist_on_private(folder)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".part")  # 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_checksum(data) + b"\n" + data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.file)
        except OSError:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _insist_on_private(self, folder: Path) -> None:
        """Whoever may write there decides what this process runs when its policy is bad."""
        found = folder.stat()
        if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
            raise PermissionError(1, f"{folder} belongs to another user, or others may write to it")


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode("ascii")

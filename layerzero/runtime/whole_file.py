"""Files that are replaced as a whole: a reader, or the next start after a crash, never sees a part of one."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, data: bytes, mode: int = 0o644, sync: bool = False) -> None:
    """Put a file in the place of the one before, or leave that one.

    Args:
        mode: Of the file, less what the process's umask forbids.
        sync: Whether the data has to be on the disk before it counts.

    Raises:
        OSError: The folder is absent or cannot be written, or the disk is full; it names `path`.
    """
    part = path.parent / f".{path.name}.{uuid.uuid4().hex}.part"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error

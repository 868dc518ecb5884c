"""Path -> Source, or the finding that says why not. Nothing of an unreadable file is ever half read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.limits import MAX_FILE_BYTES
from layerzero.syntax.source import Source, Span


def read_source(path: str | Path, name: str | None = None) -> Source | Diagnostic:
    """The text of `path`, which messages call `name` (the path as given unless told).

    Refused, each with its finding: what is no regular file, what cannot be read (LZ001), what is larger than the
    limit (LZ003), what is not UTF-8 (LZ002, at the first wrong byte). A NUL is the parser's to report.
    """
    shown = str(path) if name is None else name
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return _refusal(shown, "LZ001", f"`{shown}` is not a file", "name a `.lzp` file")
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return _refusal(shown, "LZ001", f"`{shown}` does not exist", "")
    except IsADirectoryError:
        return _refusal(shown, "LZ001", f"`{shown}` is not a file", "name a `.lzp` file")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return _refusal(shown, "LZ001", f"`{shown}` cannot be read: {reason}", "")
    if len(data) > MAX_FILE_BYTES:
        message = f"the file is larger than {MAX_FILE_BYTES // 1024**2} MiB"
        return _refusal(shown, "LZ003", message, "split it and `import` the parts")
    return decode(data, shown)


def decode(data: bytes, name: str) -> Source | Diagnostic:
    """The text in `data`; where it is not UTF-8, the place of the first wrong byte."""
    try:
        return Source(name, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        rest = data[error.start : error.start + 120].decode("utf-8", "replace")
        span = Span(Source(name, before + rest), len(before), len(before) + 1)
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        return Diagnostic("LZ002", message, span, help="save the file as UTF-8")


def _open_without_waiting(path: str, flags: int) -> int:
    """A named pipe would block an ordinary open until somebody writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _refusal(name: str, code: str, message: str, help: str) -> Diagnostic:
    return Diagnostic(code, message, Span(Source(name, ""), 0, 0), help=help)

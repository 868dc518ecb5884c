"""The logger `layerzero` -> messages without control characters from policies, contexts, files or exceptions.

Lines after the first are indented, so that no text that somebody brought can pass for a message of its own.
"""

from __future__ import annotations

import logging
from typing import Any

from layerzero.syntax.visible import visible


def escaping(record: logging.LogRecord) -> bool:
    """A filter: escapes what is put into messages. Numbers stay numbers, for `%d`."""
    arguments = record.args
    if isinstance(arguments, tuple):
        record.args = tuple(map(_shown, arguments))
    elif arguments:
        record.args = {name: _shown(value) for name, value in arguments.items()}
    return True


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    return "\n    ".join(map(visible, str(value).split("\n")))


def install() -> None:
    """Once per process, whoever configures the handlers."""
    log = logging.getLogger("layerzero")
    if escaping not in log.filters:
        log.addFilter(escaping)

"""The extension `_audio`, or why it is not here."""

from __future__ import annotations

import importlib
from typing import Any

from layerzero.errors import MissingDependencyError

INTERFACE = 1
"""What this package expects of the extension; `audio_module.cpp` says the same of itself."""
NAME = "layerzero.native._audio"


def extension() -> Any:
    """The module.

    Raises:
        MissingDependencyError: It was not built, or of other sources.
    """
    try:
        found = importlib.import_module(NAME)
    except ImportError as error:
        raise MissingDependencyError(
            "layerzero.audio needs its extension, which was not built: install LayerZero again where a C++17 compiler "
            f"is found, on a system with POSIX shared memory ({error})"
        ) from error
    if found.INTERFACE != INTERFACE:
        raise MissingDependencyError(
            "the extension of layerzero.audio was built from other sources: install LayerZero again"
        )
    return found

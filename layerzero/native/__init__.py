"""The native matcher, where it was built: an extension that evaluates compiled forms.

Without it the generated Python functions serve; `lz doctor` says so, and why.
"""

from __future__ import annotations

import importlib
import os
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

INTERFACE = 5
"""What this package expects of the extension; `module.cpp` says the same of itself."""
NAME = "layerzero.native._matcher"
SWITCH = "LAYERZERO_NATIVE"
"""Set to 0, the environment variable keeps the extension out; a path is another build of it, such as a sanitizer's."""


def _find() -> tuple[ModuleType | None, str]:
    switch = os.environ.get(SWITCH, "")
    if switch == "0":
        return None, f"{SWITCH}=0 keeps it out"
    try:
        found = _load(switch) if switch else importlib.import_module(NAME)
    except ModuleNotFoundError:
        return (
            None,
            "it was not built: there was no compiler, or no such matcher yet; install LayerZero again",
        )
    except ImportError as error:
        return None, str(error)
    if getattr(found, "INTERFACE", 1) != INTERFACE:
        return None, "it was built from other sources than these: install LayerZero again"
    return found, ""


def _load(path: str) -> ModuleType:
    spec = spec_from_file_location(NAME, path, loader=ExtensionFileLoader(NAME, path))
    if spec is None or spec.loader is None:
        raise ImportError(f"no extension at `{path}`")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


matcher, why_not = _find()
"""The extension module, or None and the reason."""

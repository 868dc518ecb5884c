"""Which packages are here, at what version, and whether they import. Every answer is a value; nothing raises."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Callable
from typing import Any

Adapter = Callable[..., Any]


def normalised(name: str) -> str:
    """The PEP 503 spelling of a package's name: `Flash_Attn` -> `flash-attn`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_version(name: str) -> str | None:
    """The installed version of a package in any spelling of its name, or None; the package is not imported."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
    except Exception:  # noqa: BLE001 - the metadata of a half-removed package fails in many ways; it is not installed
        return None
    return None


def import_failure(module: str) -> str | None:
    """Why a module does not import, as `ImportError: libcudart.so.12: cannot open ...`; None where it does.

    A broken binary raises anything from its initialisers, not only ImportError.
    """
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 - whatever a foreign package raises is the answer
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return None


def load_adapter(path: str) -> Adapter | str:
    """`"layerzero.backends.torch:sdpa_math"` -> the function, or the text that says why there is none."""
    module, separator, name = path.partition(":")
    if not separator or not module or not name:
        return f"adapter `{path}` is not of the form `module:callable`"
    failure = import_failure(module)
    if failure is not None:
        return f"`{module}` does not import: {failure}"
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except Exception as error:  # noqa: BLE001 - a lazy module may import anything here
            if isinstance(error, AttributeError):
                return f"`{module}` has no `{name}`"
            return f"`{path}` does not load: {type(error).__name__}: {error}"
    if not callable(found):
        return f"`{path}` is a {type(found).__name__}, not a callable"
    adapter: Adapter = found
    return adapter

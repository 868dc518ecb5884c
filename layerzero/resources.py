"""Where the files live that come with the package: `grammar/`, `policies/`; and where derived data may be kept."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from layerzero.errors import LayerZeroError


def shipped(name: str) -> Path:
    """The folder `name` (`grammar`, `policies`) that came with this package, as a resolved path.

    In a wheel it lies inside the package; in a checkout that was never installed, beside it.
    """
    inside = Path(str(files("layerzero").joinpath(name)))
    beside = Path(__file__).resolve().parent.parent / name
    for folder in (inside, beside):
        if folder.is_dir():
            return folder.resolve()
    raise LayerZeroError(f"the folder `{name}` of this installation is missing: looked at {inside} and {beside}")


def cache_folder() -> Path | None:
    """The folder for data that can be made again, or None where `LAYERZERO_CACHE=off` or there is no home.

    `LAYERZERO_CACHE` names another folder; the default follows XDG.
    """
    chosen = os.environ.get("LAYERZERO_CACHE", "")
    if chosen == "off":
        return None
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "")
    if base and os.path.isabs(base):
        return Path(base) / "layerzero"
    try:
        return Path.home() / ".cache" / "layerzero"
    except RuntimeError:
        return None


def measurements() -> Path | None:
    """The database that `lz tune` keeps unless it is told another; None where there is no cache folder."""
    folder = cache_folder()
    return None if folder is None else folder / "measurements.sqlite"

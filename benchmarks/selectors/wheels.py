"""A released wheel -> its Python files on the path, with stand-ins for what they import and this machine lacks.

Only the choice of a backend is run, never a kernel: binaries and packages that are not here are stood in for by
modules whose every name is an empty class. Nothing is installed into the project's environment.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import subprocess
import sys
import types
import zipfile
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "selectors"


def unpack(requirement: str, package: str) -> Path:
    """Download a wheel once and unpack its Python files.

    Returns:
        The folder that holds the package.

    Raises:
        subprocess.CalledProcessError: pip did not find it.
    """
    folder = CACHE / requirement
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        print(f"downloading {requirement} ...", flush=True)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*pip, "--dest", str(CACHE), requirement], check=True)
        stem = requirement.partition("==")[0].replace("-", "_")
        (wheel,) = CACHE.glob(f"{stem}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [n for n in archive.namelist() if n.startswith(package) and n.endswith(".py")])
        wheel.unlink()
    return folder


def install(packages: Sequence[str]) -> None:
    """Small packages without binaries of their own, that the wheel's files really use, into a folder on the path."""
    folder = CACHE / "packages"
    for package in packages:
        if not (folder / f".{package}").exists():
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade"]
            subprocess.run([*pip, "--target", str(folder), package], check=True)
            (folder / f".{package}").touch()
    sys.path.insert(0, str(folder))


def namespace(package: str, folder: Path) -> None:
    """The package without running its `__init__`, which sets up much more than is asked here."""
    module = types.ModuleType(package)
    module.__path__ = [str(folder / package)]
    sys.modules[package] = module


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds, after everything else, what the unpacked files import and this machine lacks.

    Args:
        folder: Only imports by files below it are answered.
        package: Its own modules are found or missing, as they are; but those in `binaries` are stood in for.
        absent: Packages that are said to be missing.
    """

    def __init__(
        self, folder: Path, package: str, binaries: tuple[str, ...] = (), absent: tuple[str, ...] = ()
    ) -> None:
        self._folder = str(folder)
        self._package = package
        self._binaries = binaries
        self._absent = absent

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        top = fullname.partition(".")[0]
        if top in self._absent or (top == self._package and not fullname.startswith(self._binaries)):
            return None
        if not _importer().startswith(self._folder):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = _StandIn(spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class _StandIn(types.ModuleType):
    __version__ = "9999"

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        found = _Empty(name, (object,), {"__init__": lambda self, *args, **kwargs: None, "__call__": _decorate})
        setattr(self, name, found)
        return found


class _Empty(type):
    def __getattr__(cls, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Empty(name, (object,), {})

    def __or__(cls, other: object) -> object:
        return cls

    __ror__ = __or__

    def __getitem__(cls, item: object) -> object:
        return cls


def _decorate(self: object, *args: object, **kwargs: object) -> object:
    return args[0] if args and callable(args[0]) else self


def _importer() -> str:
    """The file whose import statement is being run."""
    frame = sys._getframe(1)
    while frame is not None and ("importlib" in frame.f_code.co_filename or frame.f_code.co_filename == __file__):
        frame = frame.f_back  # type: ignore[assignment]
    return frame.f_code.co_filename if frame is not None else ""

"""Small packages, installed by pip from wheels that are written here: no index is asked, nothing is built."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def wheel(folder: Path, name: str, version: str, files: Mapping[str, str], entry_points: str = "") -> Path:
    """`wheel(tmp, "acme-kernels", "1.4.2", {"acme_kernels/__init__.py": ""})` -> the file."""
    spelled = name.replace("-", "_")
    info = f"{spelled}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if entry_points:
        contents[f"{info}/entry_points.txt"] = entry_points
    record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    path = folder / f"{spelled}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in {**contents, f"{info}/RECORD": record}.items():
            archive.writestr(inside, text)
    return path


def install(target: Path, wheels: Sequence[Path]) -> None:
    """`pip install --no-deps --target` of the files."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    done = subprocess.run(
        [*command, "--target", str(target), *map(str, wheels)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

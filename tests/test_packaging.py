"""What is installed finds its grammar and policies: from a wheel, and from a checkout that nobody installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

SCRIPT = """
from layerzero.resources import shipped
print((shipped("grammar") / "lzp.lark").is_file(), (shipped("policies") / "prelude.lzp").is_file(), shipped("grammar"))
"""


def run(first_on_path: Path, cwd: Path) -> str:
    """Runs the script where `layerzero` is found in one folder only: -S keeps an editable installation out."""
    path = os.pathsep.join([str(first_on_path), sysconfig.get_path("purelib")])
    done = subprocess.run(
        [sys.executable, "-S", "-c", SCRIPT],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_uninstalled_checkout_finds_its_files(root: Path, tmp_path: Path) -> None:
    assert run(root, tmp_path) == f"True True {root / 'grammar'}"


@pytest.mark.slow
def test_a_wheel_carries_its_files(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = pytest.importorskip("scikit_build_core.build")
    monkeypatch.chdir(root)
    name = build.build_wheel(str(tmp_path))
    assert name.endswith("-py3-none-any.whl"), "the wheel must ask for no compiler"
    unpacked = tmp_path / "site"
    with zipfile.ZipFile(tmp_path / name) as wheel:
        files = wheel.namelist()
        wheel.extractall(unpacked)
    assert {"layerzero/py.typed", "layerzero/grammar/lzp.lark", "layerzero/policies/prelude.lzp"} <= set(files)
    assert [
        file
        for file in files
        if file.split("/")[0] not in ("layerzero", name.removesuffix("-py3-none-any.whl") + ".dist-info")
    ] == []
    assert run(unpacked, tmp_path) == f"True True {unpacked / 'layerzero' / 'grammar'}"

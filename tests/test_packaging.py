"""What is installed finds its grammar and policies: from a wheel, and from a checkout that nobody installed."""

from __future__ import annotations

import os
import shutil
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


def run(first_on_path: Path, cwd: Path, script: str = SCRIPT) -> str:
    """Runs the script where `layerzero` is found in one folder only: -S keeps an editable installation out."""
    path = os.pathsep.join([str(first_on_path), sysconfig.get_path("purelib")])
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
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
    name, files = built_wheel(root, tmp_path, monkeypatch)
    native = [file for file in files if file.startswith("layerzero/native/_matcher")]
    assert bool(native) is not name.endswith("-py3-none-any.whl")
    assert bool(native) or not (shutil.which("cmake") and shutil.which("c++"))
    assert {"layerzero/py.typed", "layerzero/grammar/lzp.lark", "layerzero/policies/prelude.lzp"} <= set(files)
    assert {file.split("/")[0] for file in files} == {"layerzero", "layerzero-0.1.0.dist-info"}
    assert [file for file in files if "CMakeFiles" in file or "CMakeCache" in file] == []
    assert run(tmp_path / "site", tmp_path) == f"True True {tmp_path / 'site' / 'layerzero' / 'grammar'}"


@pytest.mark.slow
def test_without_a_compiler_the_wheel_is_pure_python(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    name, files = built_wheel(root, tmp_path, monkeypatch)
    assert name.endswith("-py3-none-any.whl")
    assert [file for file in files if file.endswith((".so", ".pyd"))] == []
    script = (
        "from layerzero import Policy, native; print(native.why_not);"
        "print(Policy.from_text('policy \"p\"').decide({'operation': 'silu', 'device': 'cpu', 'dtype': 'fp32'}).kernel)"
    )
    assert run(tmp_path / "site", tmp_path, script).splitlines() == [
        "it was not built: no compiler was found when LayerZero was installed",
        "torch.silu",
    ]


def built_wheel(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[str]]:
    """The name of a wheel and its files, unpacked to `folder / "site"`."""
    build = pytest.importorskip("scikit_build_core.build")
    monkeypatch.chdir(root)
    name = build.build_wheel(str(folder))
    with zipfile.ZipFile(folder / name) as wheel:
        wheel.extractall(folder / "site")
        return name, wheel.namelist()

"""What is installed finds its grammar and policies, and serves: wheels, and a checkout that nobody installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest

from deploy import wheels

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


@dataclass(frozen=True)
class Built:
    """A wheel, its files, and the folder that it was unpacked to."""

    path: Path
    files: list[str]
    site: Path


@pytest.fixture(scope="module")
def native(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return built(root, tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def pure(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", "/no/such/compiler")
        return built(root, tmp_path_factory.mktemp("pure"))


def built(root: Path, folder: Path) -> Built:
    build = pytest.importorskip("scikit_build_core.build")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        path = folder / build.build_wheel(str(folder))
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(folder / "site")
        return Built(path, wheel.namelist(), folder / "site")


@pytest.mark.slow
def test_a_wheel_carries_its_files(root: Path, native: Built, tmp_path: Path) -> None:
    extension = [file for file in native.files if file.startswith("layerzero/native/_matcher")]
    assert bool(extension) is not native.path.name.endswith("-py3-none-any.whl")
    assert bool(extension) is any(file.startswith("layerzero/native/_audio") for file in native.files)
    assert bool(extension) or not (shutil.which("cmake") and shutil.which("c++"))
    assert {"layerzero/py.typed", "layerzero/grammar/lzp.lark", "layerzero/policies/prelude.lzp"} <= set(native.files)
    pages = {f"layerzero/dashboard/pages/{path.name}" for path in (root / "layerzero/dashboard/pages").iterdir()}
    assert pages and pages <= set(native.files)
    assert {file.split("/")[0] for file in native.files} == {"layerzero", "layerzero-0.1.0.dist-info"}
    assert [file for file in native.files if "CMakeFiles" in file or "CMakeCache" in file] == []
    assert run(native.site, tmp_path) == f"True True {native.site / 'layerzero' / 'grammar'}"


@pytest.mark.slow
def test_without_a_compiler_the_wheel_is_pure_python(
    pure: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAYERZERO_NATIVE", raising=False)
    assert pure.path.name.endswith("-py3-none-any.whl")
    assert [file for file in pure.files if file.endswith((".so", ".pyd"))] == []
    script = (
        "from layerzero import Policy, native; print(native.why_not);"
        "print(Policy.from_text('policy \"p\"').decide({'operation': 'silu', 'device': 'cpu', 'dtype': 'fp32'}).kernel)"
    )
    assert run(pure.site, tmp_path, script).splitlines() == [
        "it was not built: there was no compiler, or no such matcher yet; install LayerZero again",
        "torch.silu",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["native", "pure"])
def test_a_wheel_serves_in_an_empty_environment(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel: Built = request.getfixturevalue(kind)
    for name in ("lark", "packaging"):
        packed_again(name, tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    matcher = "python" if wheel.path.name.endswith("-none-any.whl") else "native"
    assert wheels.tried(sys.executable, wheel.path) == f"reference.silu {matcher}"


def packed_again(name: str, folder: Path) -> None:
    """An installed package as the wheel that it came in, so that no index is asked."""
    found = distribution(name)
    with zipfile.ZipFile(folder / f"{name}-{found.version}-py3-none-any.whl", "w") as wheel:
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                wheel.write(file.locate(), str(file))


def test_a_wheel_that_does_not_serve_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty-1-py3-none-any.whl").write_bytes(b"")
    with pytest.raises(wheels.WheelError, match="empty-1-py3-none-any"):
        wheels.tried(sys.executable, tmp_path / "empty-1-py3-none-any.whl")

"""Kernels of the hub take part in decisions, from a folder or the hub's cache, and no network is touched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("kernels")

import layerzero as lz  # noqa: E402
from layerzero import api  # noqa: E402
from layerzero.errors import ArgumentError, PolicyError  # noqa: E402
from layerzero.integrations import hub  # noqa: E402

CATALOG = """
kernel hub_activation.silu for silu {
  priority 900
  require device == cpu and dtype == fp32
  supports strided, misaligned, empty
  source "kernels-community/activation @ 1"
}
"""
CODE = """
import torch


def silu(out, x):
    out.copy_(torch.nn.functional.silu(x))
"""


def write_build(folder: Path, variant: str = "torch-cpu", name: str = "activation") -> None:
    build = folder / "build" / variant
    build.mkdir(parents=True)
    about = {"id": f"{name}_{abs(hash(str(folder)))}", "name": name, "version": 1, "license": "Apache-2.0"}
    build.joinpath("metadata.json").write_text(json.dumps({**about, "python-depends": [], "backend": {"type": "cpu"}}))
    build.joinpath("__init__.py").write_text(CODE, encoding="utf-8")


def silu(module: Any, x: Any) -> Any:
    out = torch.empty_like(x)
    module.silu(out, x)
    return out


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_build(tmp_path / "activation")
    return tmp_path / "activation"


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Takes registered kernels back: a later policy with words of its own could not be read with them."""
    lz.configure(None)
    before = api._engine._inputs
    yield
    assert before is not None
    api._machine.registered.clear()
    api._engine._inputs = before
    lz.configure(None)


@pytest.fixture(autouse=True)
def unplugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*args: Any) -> None:
        raise AssertionError(f"something talks to a network: {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield


def test_a_kernel_in_a_folder_takes_part_in_decisions(repository: Path, forgotten: None) -> None:
    assert hub.register(repository, silu, CATALOG) == "hub_activation.silu"
    x = torch.randn(3, 8)
    with lz.trace() as calls:
        torch.testing.assert_close(lz.silu(x), torch.nn.functional.silu(x))
        lz.silu(x.double())  # its facts do not cover this
    assert [call.kernel == "hub_activation.silu" for call in calls] == [True, False]
    report = lz.explain(x.double(), operation="silu")
    assert "dtype == fp32" in str(report.rejection_reasons["hub_activation.silu"])


def test_a_folder_without_a_build_for_this_machine_says_which_builds_it_has(tmp_path: Path) -> None:
    write_build(tmp_path, variant="torch-cuda")
    with pytest.raises(FileNotFoundError, match="torch-cuda"):
        hub.load(tmp_path)


def test_what_is_not_in_the_cache_is_not_looked_for() -> None:
    with pytest.raises(FileNotFoundError) as found:
        hub.load("kernels-community/not-downloaded", revision="main")
    assert "`download=True`" in found.value.__notes__[0]


def test_a_kernel_that_was_downloaded_once_is_found_in_the_cache(tmp_path: Path, root: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "kernels--acme--activation"
    write_build(cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit, encoding="utf-8")
    script = "from layerzero.integrations import hub; print(hub.load('acme/activation', revision='main').__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env={**os.environ, "KERNELS_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert commit in done.stdout


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda folder: hub.load("acme/activation"), ArgumentError, "`version` or a `revision`"),
        (lambda folder: hub.load(folder, version=1), ArgumentError, "not of a folder"),
        (lambda folder: hub.register(folder, "silu", CATALOG), ArgumentError, "wanted a function"),
        (lambda folder: hub.register(folder, silu, "kernel"), PolicyError, "declares one kernel"),
    ],
)
def test_bad_input(repository: Path, call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(repository)

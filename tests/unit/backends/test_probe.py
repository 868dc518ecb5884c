"""Probing never raises, and its text says exactly what is wrong."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from layerzero.backends import probe


@pytest.mark.parametrize("name", ["typing-extensions", "Typing_Extensions", "typing.extensions"])
def test_versions_are_found_under_every_spelling(name: str) -> None:
    assert probe.installed_version(name) == version("typing-extensions")
    assert probe.normalised(name) == "typing-extensions"


def test_what_is_not_installed_is_none() -> None:
    assert probe.installed_version("no-such-package-of-kernels") is None
    assert probe.installed_version("") is None


def test_a_module_that_fails_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_kernels.py").write_text("raise RuntimeError('built for another torch')")
    (tmp_path / "quiet_kernels.py").write_text("raise OSError")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert probe.import_failure("broken_kernels") == "RuntimeError: built for another torch"
    assert probe.import_failure("quiet_kernels") == "OSError"
    assert probe.import_failure("no_such_kernels") == "ModuleNotFoundError: No module named 'no_such_kernels'"
    assert probe.import_failure("json") is None
    wanted = "`broken_kernels` does not import: RuntimeError: built for another torch"
    assert probe.load_adapter("broken_kernels:run") == wanted


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("json", "adapter `json` is not of the form `module:callable`"),
        ("json:", "adapter `json:` is not of the form `module:callable`"),
        (":dumps", "adapter `:dumps` is not of the form `module:callable`"),
        ("json:nothing", "`json` has no `nothing`"),
        ("json:__name__", "`json:__name__` is a str, not a callable"),
    ],
)
def test_an_adapter_that_is_not_there_is_a_text(path: str, reason: str) -> None:
    assert probe.load_adapter(path) == reason


def test_an_adapter_is_the_function_itself() -> None:
    import json

    assert probe.load_adapter("json:JSONDecoder.decode") is json.JSONDecoder.decode


def test_operations_and_probe_do_not_import_torch() -> None:
    code = (
        "import sys, layerzero, layerzero.backends.probe, layerzero.operations.attention, "
        "layerzero.operations.paged_attention, layerzero.operations.sample, layerzero.operations.device; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

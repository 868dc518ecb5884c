"""The package of docs/adding-a-backend.md, word for word: installed, found, chosen, explained."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from wheels import install, wheel

PROGRAM = """
import torch
import layerzero as lz

x = torch.randn(3, 8)
print(lz.which("silu", x), lz.which("silu", x.half()))
print(torch.equal(lz.silu(x), torch.nn.functional.silu(x)))
print(*(reason.text for reason in lz.explain(x.half(), operation="silu").rejection_reasons["acme.silu"]))
"""


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = (root / "docs" / "adding-a-backend.md").read_text(encoding="utf-8")
    project = tomllib.loads(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0])["project"]
    catalog, adapters = re.findall(r"```text\n(.*?)```", page, re.DOTALL)[:2]
    files = {
        "acme_kernels/__init__.py": "",
        "acme_kernels/catalog.lzp": catalog,
        "acme_kernels/lz.py": adapters,
    }
    (group, entries), *_ = project["entry-points"].items()
    entry_points = f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
    folder, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    install(target, [wheel(folder, project["name"], project["version"], files, entry_points)])
    return target


def run(site: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_chosen_where_its_facts_allow(site: Path) -> None:
    assert run(site, "-c", PROGRAM).splitlines() == [
        "acme.silu torch.silu",
        "True",
        "dtype in {fp32, bf16}",
    ]


def test_it_is_listed(site: Path) -> None:
    assert run(site, "-m", "layerzero", "kernels", "acme.silu").split()[:4] == ["acme.silu", "60", "silu", "available"]


def test_without_it_nothing_is_missing(tmp_path: Path) -> None:
    code = 'import torch, layerzero as lz; print(lz.which("silu", torch.ones(2)))'
    assert run(tmp_path, "-c", code).strip() == "torch.silu"

"""The documentation builds as a site without a warning, with what only a repository understands bent for it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def build(config: Path, site: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(site)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_every_page_is_there_and_nothing_is_amiss(root: Path, tmp_path: Path) -> None:
    code, said = build(root / "mkdocs.yml", tmp_path)
    assert code == 0, said
    pages = [page.relative_to(root / "docs") for page in (root / "docs").rglob("*.md")]
    missing = [page for page in pages if not (tmp_path / served(page)).is_file()]
    assert missing == []

    home = (tmp_path / "index.html").read_text(encoding="utf-8")
    unlisted = [
        page for page in pages if page.name not in ("index.md", "README.md") and f"{served(page).parent}/" not in home
    ]
    assert unlisted == [], "not in the navigation"

    tutorial = (tmp_path / "tutorial" / "index.html").read_text(encoding="utf-8")
    assert re.search(r'<span class="kd">policy</span>', tutorial), "`.lzp` is not highlighted"
    assert "prod.lzp</span>" in tutorial, "a fence lost its title"
    calls = (tmp_path / "api" / "calls" / "index.html").read_text(encoding="utf-8")
    for name in ("attention", "configure", "experiment_status"):
        assert f'id="layerzero.api.{name}"' in calls
    copied = tmp_path / "files" / "policies" / "examples" / "vllm.lzp"
    assert copied.read_bytes() == (root / "policies" / "examples" / "vllm.lzp").read_bytes()
    assert '"../files/policies/examples/vllm.lzp"' in (tmp_path / "selectors" / "index.html").read_text(
        encoding="utf-8"
    )


def served(page: Path) -> Path:
    """`commands/diff.md` -> `commands/diff/index.html`"""
    return page.parent / "index.html" if page.name in ("index.md", "README.md") else page.with_suffix("") / "index.html"


@pytest.mark.slow
def test_a_link_to_a_file_that_is_gone_fails_the_build(root: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A page\n\n[one](../here.txt#top) and [two](../gone.txt)\n")
    (tmp_path / "here.txt").write_text("here\n")
    shutil.copy(root / "deploy" / "site" / "hooks.py", tmp_path)
    (tmp_path / "mkdocs.yml").write_text("site_name: small\nplugins: []\nhooks: [hooks.py]\n")
    code, said = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert code != 0
    assert "index.md leads to `../gone.txt`, and there is no such file" in said
    (tmp_path / "docs" / "index.md").write_text("# A page\n\n[one](../here.txt)\n")
    code, said = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert code == 0, said
    assert (tmp_path / "site" / "files" / "here.txt").read_text() == "here\n"

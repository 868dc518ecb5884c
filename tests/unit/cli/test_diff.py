"""`lz diff` of git revisions: a path as a commit has it, with what it imports."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from layerzero.cli import main

WORDS = """
field sm: int in 10..999
operation attention { needs sm }
kernel acme.decode for attention { priority 80 }
kernel flash.decode for attention { priority 70 }
"""
PROD = 'policy "prod" standalone\nimport "words.lzp"\n'


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose only commit has the policy without its rule."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "words.lzp").write_text(WORDS)
    (folder / "prod.lzp").write_text(PROD)
    monkeypatch.chdir(tmp_path)
    who = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    (folder / "prod.lzp").write_text(PROD + "deny acme.decode when sm < 90\n")
    (folder / "words.lzp").write_text(WORDS.replace("priority 70", "priority 75"))
    return tmp_path


def test_a_revision_is_compared_with_the_files(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "HEAD:policies/prod.lzp", "policies/prod.lzp"]) == 1
    printed = capsys.readouterr().out
    assert "acme.decode -> flash.decode\n  when sm <= 89\n" in printed
    assert "1 change; nothing else" in printed
    assert main(["diff", "policies/prod.lzp", "HEAD:policies"]) == 1
    assert "at policies/prod.lzp:3:1" in capsys.readouterr().out


def test_places_name_the_revision(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "policies" / "prod.lzp").write_text(PROD)
    (repository / "policies" / "words.lzp").write_text(WORDS.replace("80 }", "10  require sm > 100 }"))
    main(["diff", "HEAD:policies/prod.lzp", "policies/prod.lzp"])
    assert "policies/words.lzp" in capsys.readouterr().out
    (repository / "policies" / "prod.lzp").write_text('policy "broken"\nnonsense\n')
    subprocess.run(["git", "add", "-A"], check=True)
    assert main(["diff", ":policies/prod.lzp", "policies/prod.lzp"]) == 2
    assert "REV:PATH" in capsys.readouterr().err


def test_a_path_from_inside_a_folder(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository / "policies")
    assert main(["diff", "HEAD:./prod.lzp", "HEAD:policies/prod.lzp"]) == 0
    assert main(["diff", "HEAD:prod.lzp", "prod.lzp"]) == 1
    capsys.readouterr()


def test_what_git_does_not_have(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "HEAD:policies/none.lzp", "policies/prod.lzp"]) == 2
    assert "no `policies/none.lzp` in `HEAD`" in capsys.readouterr().err
    assert main(["diff", "v9:policies/prod.lzp", "policies/prod.lzp"]) == 2
    assert "v9" in capsys.readouterr().err

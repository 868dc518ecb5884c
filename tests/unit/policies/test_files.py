"""The files in policies/ as users meet them: checked without a finding, in canonical form, their tests passing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerzero.check import load
from layerzero.cli import main
from layerzero.semantics.context import read_context

POLICIES = Path(__file__).resolve().parents[3] / "policies"
CONTEXTS = sorted((POLICIES / "examples").glob("*_contexts.jsonl"))
EXAMPLES = [path for path in sorted((POLICIES / "examples").glob("*.lzp")) if not path.stem.endswith("_test")]


def test_check_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(POLICIES), "--json"]) == 0, capsys.readouterr().out
    said = json.loads(capsys.readouterr().out)
    assert said["findings"] == []
    assert len(said.get("not_decided", [])) <= 1


def test_every_file_is_in_canonical_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fmt", str(POLICIES), "--check"]) == 0, capsys.readouterr().out


def test_their_tests_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(POLICIES)]) == 0, capsys.readouterr().out


def test_every_example_has_tests() -> None:
    roots = [path.stem for path in EXAMPLES if path.stem != "common"]
    assert len(roots) >= 4
    assert all((POLICIES / "examples" / f"{stem}_test.lzp").is_file() for stem in roots)


@pytest.mark.parametrize(
    "contexts", sorted((POLICIES / "examples").glob("*_contexts.jsonl")), ids=lambda path: path.stem
)
def test_the_contexts_of_an_example_fit_its_words(contexts: Path) -> None:
    program = load(contexts.with_name(contexts.name.replace("_contexts.jsonl", ".lzp"))).program
    assert program is not None
    lines = contexts.read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 2
    for line in lines:
        scope, _ = read_context(program, json.loads(line))
        assert scope.operation in program.operations

"""Every example in README and docs/ is run.

A fence of ```lzp is a program of its own on top of the shipped words: it is checked and its tests run. What stands
after the language changes that: `error=LZ201` says which error it must have (and it may have no other), `file=NAME`
also lays the text down under that name for the page's other examples, which run in one folder. ```console holds
commands after `$ ` and what they print, a line `...` standing for any lines. ```python runs, page by page, in order.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from layerzero.check import limits as check_limits, load
from layerzero.cli import main
from layerzero.cli.entry import COMMANDS
from layerzero.semantics.claims import run_tests
from layerzero.semantics.environment import Environment
from layerzero.syntax import limits as syntax_limits

ROOT = Path(__file__).resolve().parents[1]
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if page.is_file()]
WRITTEN_ON = date(2026, 11, 23)  # the day the examples are read on: rules with `until` do not rot
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """One fence: where it stands, its language, `error=` and `file=`, its text."""

    page: Path
    line: int
    language: str
    options: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def examples(page: Path) -> Iterator[Example]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        options = dict(option.split("=", 1) for option in found[2].split() if "=" in option)
        yield Example(page, text.count("\n", 0, found.start()) + 1, found[1], options, found[3])


ALL = [example for page in PAGES for example in examples(page)]


def of(language: str) -> list[Example]:
    return [example for example in ALL if example.language == language]


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the page's files, and the shipped policies as they lie in a checkout."""
    (tmp_path / "policies").symlink_to(ROOT / "policies")
    for example in examples(request.getfixturevalue("example").page):
        if "file" in example.options:
            (tmp_path / example.options["file"]).write_text(example.text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("example", of("lzp"), ids=str)
def test_policy(example: Example, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / example.options.get("file", "example.lzp")
    path.write_text(example.text, encoding="utf-8")
    main(["check", str(path), "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    errors = [finding for finding in findings if finding["severity"] == "error"]
    wanted = example.options.get("error")
    assert {error["code"] for error in errors} == ({wanted} if wanted else set()), errors
    if wanted is None:
        program = load(path).program
        assert program is not None
        results = run_tests(program, Environment(assume_packages=True, today=WRITTEN_ON), samples=60)
        assert [broken.message for result in results for broken in result.broken] == []


@pytest.mark.parametrize("example", of("console"), ids=str)
def test_console(
    example: Example, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setitem(os.environ, "NO_COLOR", "1")
    for command, expected in commands(example.text):
        words = shlex.split(command)
        assert words[0] == "lz", f"only `lz` is run in examples, not `{command}`"
        main(words[1:])
        printed = capsys.readouterr().out
        assert matches(printed, expected), f"$ {command}\n{printed}"


@pytest.mark.parametrize("page", sorted({example.page for example in of("python")}), ids=lambda page: page.name)
def test_python(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem == "audio":
        pytest.importorskip("layerzero.native._audio", reason="built where a C++ compiler is found")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in examples(page):
        if "file" in example.options:
            Path(example.options["file"]).write_text(example.text, encoding="utf-8")
        if example.language == "python":
            exec(compile(example.text, str(example), "exec"), names)


def commands(text: str) -> Iterator[tuple[str, str]]:
    """`$ lz check x` and the lines up to the next command."""
    for block in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = block.partition("\n")
        yield command, output


def matches(printed: str, expected: str) -> bool:
    """Equal line by line, where a line `...` stands for any lines."""
    parts = (re.escape(line) for line in expected.rstrip("\n").split("\n"))
    pattern = "\n".join(r"(?:.*(?:\n.*)*)" if part == re.escape("...") else part for part in parts)
    return re.fullmatch(pattern, printed.rstrip("\n")) is not None


def test_there_are_examples() -> None:
    pages = {example.page.stem for example in of("lzp")}
    language = {page.stem for page in PAGES if page.parent.name == "language"}
    assert language <= pages, "a page of the language without an example"


def test_an_ellipsis_stands_for_any_lines() -> None:
    assert matches("a\nb\nc\n", "a\n...\nc\n")
    assert not matches("a\nb\nd\n", "a\n...\nc\n")
    assert matches("a (1)\n", "a (1)\n")


def test_the_limits_are_those_of_the_code() -> None:
    text = (ROOT / "docs/language/trust.md").read_text(encoding="utf-8")
    for line in (
        f"| a file, in bytes | {syntax_limits.MAX_FILE_BYTES // 2**20} Mi |",
        f"| a file, in syntax nodes | {syntax_limits.MAX_NODES} |",
        f"| nesting of brackets and expressions | {syntax_limits.MAX_NESTING} |",
        f"| one token, in characters | {syntax_limits.MAX_TOKEN_CHARACTERS} |",
        f"| imports inside each other | {check_limits.MAX_IMPORT_DEPTH} |",
        f"| files of a program | {check_limits.MAX_FILES} |",
        f"| findings listed per file | {syntax_limits.MAX_DIAGNOSTICS} |",
    ):
        assert line in text


def test_every_command_has_a_page_or_a_section_with_an_example() -> None:
    sections = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    shown = {command.split()[1] for example in of("console") for command, _ in commands(example.text)}
    for name, _ in COMMANDS:
        page = ROOT / "docs" / "commands" / f"{name}.md"
        assert page.is_file() or f"## lz {name}" in sections or name == "lsp", f"no page of `lz {name}`"
        # The others follow a running process, a device or an editor: their own tests run them.
        assert name in shown or name in ("experiment", "facts", "lsp", "watch", "demo"), f"`lz {name}` has no example"

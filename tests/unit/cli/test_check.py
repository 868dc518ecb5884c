"""Which programs `lz check` loads, and that it says nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from layerzero.check.loader import Root
from layerzero.cli import check, main

FACTS = "field n: int\noperation op { needs n fallback ref.op }\nkernel ref.op for op {}\n"


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the programs that a run loads."""
    names: list[str] = []
    load = check.load

    def counting(root: Root, **options: object) -> object:
        names.append(Path(root.name).name)
        return load(root, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(check, "load", counting)
    return names


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.lzp").write_text(text, encoding="utf-8")


def test_a_policy_inside_its_test_program_is_checked_once(tmp_path: Path, loaded: list[str]) -> None:
    write(
        tmp_path,
        p='policy "p" standalone\nimport "facts.lzp"\n',
        facts=FACTS,
        p_test='import "p.lzp"\ntest "t" { given op, n = 1 expect ref.op }\n',
    )
    assert main(["check", "--fast", str(tmp_path)]) == 0
    assert loaded == ["p_test.lzp"]


@pytest.mark.parametrize(
    "extra",
    ['import "more.lzp"\n', "boost ref.op by 2 for op\n", 'test "u" { given op, n = 1 expect gone.x }\n'],
    ids=["another import", "a rule", "an error"],
)
def test_a_test_program_that_is_more_than_its_policy_hides_nothing(
    extra: str, tmp_path: Path, loaded: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(
        tmp_path,
        p=f'policy "p" standalone\n{FACTS}boost fast.* by 2 for op\n',
        more="boost ref.op by 3 for op\n",
        p_test=f'import "p.lzp"\n{extra}',
    )
    assert main(["check", "--fast", "--json", str(tmp_path)]) == 1
    assert sorted(loaded) == ["p.lzp", "p_test.lzp"]
    codes = [finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]]
    assert codes.count("LZ501") == 1


def test_the_shipped_policies_are_sound(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--fast", str(root / "policies")]) == 0
    assert capsys.readouterr().out.endswith("programs checked: no findings\n")


def test_findings_of_shipped_files_come_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A catalog that two programs share is reported as often as it is written."""
    catalog = tmp_path / "catalog.lzp"
    catalog.write_text("kernel bad.x for nothing_here {}\n", encoding="utf-8")
    folder = tmp_path / "policies"
    folder.mkdir()
    write(folder, a='policy "a"\n', b='policy "b"\n')
    assert main(["check", "--fast", "--json", str(folder), "--catalog", str(catalog)]) == 1
    assert [finding["code"] for finding in json.loads(capsys.readouterr().out)["findings"]] == ["LZ203"]

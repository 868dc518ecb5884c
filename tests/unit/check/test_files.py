"""Which files make up a program, and what an import may reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerzero.check import find_roots, load
from layerzero.errors import PolicyError

HEADER = 'policy "p" standalone\n'


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".lzp")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def codes(path: Path) -> list[str]:
    return [finding.code for finding in load(path).diagnostics]


def test_imports_are_read_once_each(tmp_path: Path) -> None:
    write(
        tmp_path,
        root=HEADER + 'import "a.lzp" import "b.lzp"',
        a='import "c.lzp"',
        b='import "c.lzp"',
        c="field size: int",
    )
    checked = load(tmp_path / "root.lzp")
    assert checked.program is not None
    assert "size" in checked.program.fields
    assert [Path(file).name for file in checked.files] == ["root.lzp", "a.lzp", "c.lzp", "b.lzp"]


def test_a_cycle_shows_the_whole_chain(tmp_path: Path) -> None:
    write(tmp_path, root=HEADER + 'import "a.lzp"', a='import "b.lzp"', b='import "a.lzp"')
    (finding,) = load(tmp_path / "root.lzp").diagnostics
    assert finding.code == "LZ004"
    assert "a.lzp -> b.lzp -> a.lzp" in finding.message


def test_an_import_cannot_leave_the_folder_of_the_root(tmp_path: Path) -> None:
    write(tmp_path, inner__root=HEADER + 'import "../secret.lzp"', secret="field s: int")
    assert codes(tmp_path / "inner/root.lzp") == ["LZ005"]


def test_a_link_cannot_lead_outside_either(tmp_path: Path) -> None:
    write(tmp_path, inner__root=HEADER + 'import "link.lzp"', secret="field s: int")
    (tmp_path / "inner/link.lzp").symlink_to(tmp_path / "secret.lzp")
    assert codes(tmp_path / "inner/root.lzp") == ["LZ005"]


def test_a_mounted_config_map_loads_through_its_links(tmp_path: Path) -> None:
    write(tmp_path, **{"..v1__root": HEADER + 'import "common.lzp"', "..v1__common": "field size: int"})
    (tmp_path / "..data").symlink_to("..v1")
    for name in ("root.lzp", "common.lzp"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    assert codes(tmp_path / "root.lzp") == []
    assert [root.name for root in find_roots(tmp_path)] == [str(tmp_path / "root.lzp")]


@pytest.mark.parametrize("text", ['import "none.lzp"', 'import "/etc"', 'import "a\\u0000b.lzp"'])
def test_an_import_that_is_no_file_is_a_finding(tmp_path: Path, text: str) -> None:
    write(tmp_path, root=HEADER + text)
    assert codes(tmp_path / "root.lzp")[0] in ("LZ005", "LZ007")


def test_deep_imports_end_in_a_diagnostic(tmp_path: Path) -> None:
    for number in range(60):
        write(tmp_path, **{f"f{number}": (HEADER if number == 0 else "") + f'import "f{number + 1}.lzp"'})
    assert "LZ003" in codes(tmp_path / "f0.lzp")


def test_a_live_policy_cannot_import_tests(tmp_path: Path) -> None:
    write(tmp_path, root=HEADER + 'import "a_test.lzp"', a_test="")
    assert codes(tmp_path / "root.lzp") == ["LZ212"]


def test_a_folder_is_its_roots_or_one_program(tmp_path: Path) -> None:
    write(tmp_path, one="field a: int", two="field b: int", two_test="")
    assert [len(root.files) for root in find_roots(tmp_path)] == [2]
    write(tmp_path, three=HEADER, four=HEADER)
    assert [Path(root.name).name for root in find_roots(tmp_path)] == ["four.lzp", "three.lzp"]
    assert [Path(root.name).name for root in find_roots(tmp_path, tests=True)] == [
        "four.lzp",
        "three.lzp",
        "two_test.lzp",
    ]
    with pytest.raises(PolicyError, match="holds 2 policies"):
        load(tmp_path)


def test_an_absent_path_and_an_empty_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(tmp_path / "none.lzp")
    with pytest.raises(FileNotFoundError, match=r"no \.lzp file"):
        load(tmp_path)


def test_a_trusted_catalog_may_name_code_and_a_policy_may_not(tmp_path: Path) -> None:
    words = 'field size: int operation o { needs size } kernel a.b for o { adapter "m:f" }'
    write(tmp_path, root=HEADER, catalog=words)
    checked = load(tmp_path / "root.lzp", catalogs=[tmp_path / "catalog.lzp"])
    assert checked.program is not None
    assert checked.program.kernels["a.b"].adapter == "m:f"
    as_policy = load(tmp_path / "catalog.lzp", prelude=False)
    assert [finding.code for finding in as_policy.diagnostics] == ["LZ006"]


def test_a_changed_define_changes_the_kernels_that_use_it(tmp_path: Path) -> None:
    words = 'import "define.lzp" field size: int operation o { needs size } kernel a.b for o { require small }'
    write(tmp_path, root=HEADER + words, define="define small = size < 8")
    before = load(tmp_path / "root.lzp").program
    write(tmp_path, define="define small = size < 9")
    after = load(tmp_path / "root.lzp").program
    assert before is not None and after is not None
    assert before.kernels["a.b"].requirements != after.kernels["a.b"].requirements

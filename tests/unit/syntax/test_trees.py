"""Kept trees: equal to parsed ones, private, quick, and never believed when damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerzero.syntax import cache, tables
from layerzero.syntax.parser import parse
from layerzero.syntax.source import Source
from layerzero.syntax.trees import decode, encode, parse_cached

TEXT = "deny torch.* for attention when batch > 32 and head_dim in {64, 100..109} until 2027-03-01  # why\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAYERZERO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("tree-*.json"))


def test_a_kept_tree_equals_the_parsed_one(folder: Path) -> None:
    source = Source("a.lzp", TEXT)
    first, second = parse_cached(source), parse_cached(Source("b.lzp", TEXT))
    assert len(entries(folder)) == 1
    assert repr(first) == repr(second) == repr(parse(source))
    assert second[0] is not None and second[0].statements[0].span.source.name == "b.lzp"


def test_a_text_with_errors_is_not_kept(folder: Path) -> None:
    assert parse_cached(Source("a.lzp", "deny"))[1]
    assert entries(folder) == []


@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 50, b"deadbeef\n[1]"])
def test_a_damaged_entry_is_parsed_again(folder: Path, damage: bytes) -> None:
    good = parse_cached(Source("a.lzp", TEXT))
    path = entries(folder)[0]
    whole = path.read_bytes()
    path.write_bytes(damage)
    assert repr(parse_cached(Source("a.lzp", TEXT))) == repr(good)
    assert path.read_bytes() == whole


def test_a_changed_byte_is_noticed(folder: Path) -> None:
    good = parse_cached(Source("a.lzp", TEXT))
    path = entries(folder)[0]
    path.write_bytes(path.read_bytes().replace(b"torch", b"t0rch"))
    assert repr(parse_cached(Source("a.lzp", TEXT))) == repr(good)


@pytest.mark.parametrize("plain", [[], [0], [99, 0, 1], {"a": 1}, 3, None, [-1, [2]], [[[]]]])
def test_plain_data_that_is_no_file_is_refused(plain: object) -> None:
    with pytest.raises((ValueError, TypeError, IndexError, KeyError)):
        decode(plain, Source("a.lzp", TEXT))


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_the_folder_is_private_and_a_shared_one_is_not_trusted(folder: Path) -> None:
    parse_cached(Source("a.lzp", TEXT))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache.read(entries(folder)[0].stem) is not None
    folder.chmod(0o777)
    assert cache.read(entries(folder)[0].stem) is None


def test_no_cache_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for value in ("off", str(tmp_path / "file" / "below")):
        monkeypatch.setenv("LAYERZERO_CACHE", value)
        assert parse_cached(Source("a.lzp", TEXT))[1] == []


def test_old_entries_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 10)
    for index in range(30):
        cache.write(f"tree-{index}", index)
    assert len(entries(folder)) <= 11
    assert cache.read("tree-29") == 29


def test_an_entry_that_is_used_outlives_newer_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 10)
    for index in range(10):
        cache.write(f"tree-{index}", index)
        os.utime(folder / f"tree-{index}.json", (index, index))
    assert cache.read("tree-0") == 0
    cache.write("tree-10", 10)
    assert (cache.read("tree-0"), cache.read("tree-1")) == (0, None)


def test_the_tables_come_back_from_the_cache_as_they_were_made(folder: Path) -> None:
    tables.load.cache_clear()
    made = tables.load()
    tables.load.cache_clear()
    assert tables.load() == made
    assert len(list(folder.glob("tables-*.json"))) == 1


def test_kept_files_are_read_without_lark(folder: Path) -> None:
    parse_cached(Source("a.lzp", TEXT))
    script = (
        "import sys\nfrom layerzero.syntax.source import Source\nfrom layerzero.syntax.trees import parse_cached\n"
        f"assert parse_cached(Source('a.lzp', {TEXT!r}))[0]\nprint('lark' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr


def test_two_thousand_nodes_load_in_milliseconds() -> None:
    source = Source("a.lzp", TEXT * 100)
    file, _ = parse(source)
    assert file is not None
    text = json.dumps(encode(file))
    assert text.count("[") > 2000
    times = []
    for _ in range(5):
        started = time.perf_counter()
        decode(json.loads(text), source)
        times.append(time.perf_counter() - started)
    assert min(times) < 0.05

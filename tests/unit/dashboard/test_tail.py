"""A log is read while it grows, turns over, is cut off or is damaged; nothing is read twice, little is held."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from layerzero.dashboard.tail import PIECE, Tail
from layerzero.runtime.log_files import MAX_RECORD_BYTES, JsonLines, Parquet
from tests.unit.dashboard.records import record, write


def numbers(tail: Tail) -> list[int]:
    """The records that are new, by their epoch."""
    found = []
    while True:
        found += [one.record["epoch"] for one in tail.read() if one.record is not None]
        if not tail.more:
            return found


def problems(tail: Tail) -> list[str]:
    return [one.problem for one in tail.read() if one.problem is not None]


def test_an_absent_log_is_empty_and_begins_when_it_is_there(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "log.jsonl")
    assert numbers(tail) == []
    write(tmp_path / "log.jsonl", record(epoch=1))
    assert numbers(tail) == [1]
    assert numbers(tail) == []


def test_a_line_without_its_end_waits_for_it(tmp_path: Path) -> None:
    path, text = tmp_path / "log.jsonl", json.dumps(record(epoch=7))
    path.write_text(text[:100], encoding="ascii")
    tail = Tail(path)
    assert tail.read() == []
    with path.open("a", encoding="ascii") as file:
        file.write(text[100:] + "\n")
    assert numbers(tail) == [7]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["write", "read"]), max_size=40), most=st.integers(500, 3000))
def test_every_record_is_read_once_and_in_order_however_the_log_turns_over(
    steps: list[str], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    log, tail, wrote, read = JsonLines(path, most, keep=50), Tail(path), 0, []
    for step in steps:
        if step == "write":
            log.write([record(epoch=wrote)])
            wrote += 1
        else:
            read += numbers(tail)
    read += numbers(tail)
    tail.close()
    log.close()
    assert read == list(range(wrote))


def test_a_log_that_turns_over_out_of_sight_says_so(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, record(epoch=1))
    tail = Tail(path)
    assert numbers(tail) == [1]
    path.unlink()
    write(path, record(epoch=3))
    assert numbers(tail) == [3]
    assert tail.missed == 1


def test_a_log_that_is_cut_off_in_place_is_read_from_its_begin(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, record(epoch=1), record(epoch=2))
    tail = Tail(path)
    assert numbers(tail) == [1, 2]
    os.truncate(path, 0)
    write(path, record(epoch=3))
    assert numbers(tail) == [3]


def test_of_a_large_log_only_the_end_is_read_rotated_files_included(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLines(path, 5000, keep=50)
    for number in range(100):
        log.write([record(epoch=number)])
    log.close()
    tail = Tail(path, first=12_000)
    found = numbers(tail)
    assert found == list(range(100 - len(found), 100)) and 15 < len(found) < 30
    whole = sum(one.stat().st_size for one in tmp_path.glob("log.jsonl*") if one.is_file())
    assert whole - tail.left_out == 12_000


def test_a_large_log_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    size = len(json.dumps(record(epoch=10_000))) + 1
    many = 2 * PIECE // size
    write(path, *(record(epoch=10_000 + number) for number in range(many)))
    tail = Tail(path)
    first = tail.read()
    assert tail.more and 0 < len(first) < many
    assert len(first) + len(numbers(tail)) == many


def test_damaged_lines_are_told_and_the_others_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xff\xfe\n{}\n[1\n\n" + json.dumps(record(epoch=5)).encode() + b"\n" + b"[" * 5000 + b"\n")
    entries = Tail(path).read()
    assert [one.record["epoch"] for one in entries if one.record] == [5]
    assert len([one for one in entries if one.problem]) == 4


def test_a_line_without_an_end_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"x" * (3 * PIECE))
    tail = Tail(path)
    told = problems(tail)
    while tail.more:
        told += problems(tail)
        assert len(tail._begun) <= MAX_RECORD_BYTES
    assert told == ["the line is longer than 1024 KiB"]
    with path.open("ab") as file:
        file.write(b"\n" + json.dumps(record(epoch=9)).encode() + b"\n")
    assert numbers(tail) == [9]


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is not a file"):
        Tail(tmp_path).read()


def test_a_parquet_file_is_read_once_it_is_whole_and_again_where_it_is_another(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    tail = Tail(path)
    for begin in (0, 10):
        path.unlink(missing_ok=True)
        log = Parquet(path)
        log.write([record(epoch=number) for number in range(begin, begin + 3)])
        assert numbers(tail) == []
        log.close()
        assert numbers(tail) == [begin, begin + 1, begin + 2]

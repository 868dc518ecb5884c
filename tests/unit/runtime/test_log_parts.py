"""A log in parts, and a log of alike records: the report is that of the whole log, read line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from layerzero.check import load, require
from layerzero.errors import ArgumentError
from layerzero.runtime.changes import Changes
from layerzero.runtime.comparison import Question, compare, compare_on, compare_part
from layerzero.runtime.log_files import Parquet, parquet_schema, to_row
from layerzero.runtime.log_groups import read_groups
from layerzero.runtime.log_parts import parts, read_part
from layerzero.runtime.log_reader import read_log
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source
from tests.unit.runtime.log_bench import WORDS

LAWS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NEW = """policy "new" standalone
deny fast.one for work when size > 5 as small
boost fast.two by 9 for work when size == 2
"""
NOON = "2026-06-01T12:00:00.000000Z"
COUNTS = {"one": 40, "two": 7}


def record(**parts: Any) -> dict[str, Any]:
    """A record of one call of `fast.one` with size 1, but for these parts."""
    return {
        "schema": "lz.record/1", "time": NOON, "operation": "work", "values": {"size": 1, "device": "cpu"}, "arms": {},
        "kernel": "fast.one", "score": 1.0, "degraded": False, "error": None, "raised": None, "recovered_from": [],
        "locked_by": [], "ordered_by": [], "epoch": 1, "policy": {"name": "p", "version": "1", "digest": "d"},
        "environment": "e", "snapshot": "s", "seconds": 0.5, "request_id": None, "count": 1, "id": None, **parts,
    }  # fmt: skip


records = st.fixed_dictionaries(
    {
        "time": st.sampled_from([NOON, NOON.replace("T12", "T13"), NOON.replace("06-01", "06-02")]),
        "values": st.fixed_dictionaries({"size": st.integers(0, 9) | st.just("large"), "device": st.just("cpu")}),
        "kernel": st.sampled_from(["fast.one", "fast.two"]),
        "degraded": st.booleans(),
        "count": st.sampled_from([1, 3, 0.1, 100 / 3, 1e30, -1]),
        "request_id": st.none() | st.sampled_from(["a", "b"]),
        "id": st.none() | st.sampled_from(["one", "two", "three"]),
        "recovered_from": st.sampled_from([[], ["fast.one"]]),
    }
).map(lambda parts: record(**parts))
lines_of_a_log = records.map(json.dumps) | st.sampled_from(["", "{", "[]", "\u2028"])


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Question:
    path = tmp_path_factory.mktemp("policy") / "new.lzp"
    path.write_text(NEW, encoding="utf-8")
    program = require(load(path, prelude=False, catalogs=[Source("words.lzp", WORDS)]))
    return Question(program, Environment(assume_packages=True), counts=COUNTS)


def plain(question: Question, path: Path) -> dict[str, Any]:
    return compare(question, ((entry, 1) for entry in read_log(path))).report()


class Here:
    """Calls one after the other, as a cluster would make them."""

    workers = 1

    def spread(self, function: Any, shared: Any, items: Any) -> Any:
        return (function(shared, item) for item in items)


def in_parts(question: Question, path: Path, size: int) -> dict[str, Any]:
    patched = pytest.MonkeyPatch()
    patched.setattr("layerzero.runtime.comparison.parts", lambda log, _: parts(log, size))
    with patched.context():
        report = compare_on(Here(), question, [path]).report()  # type: ignore[arg-type]
    patched.undo()
    return report


@LAWS
@given(lines=st.lists(lines_of_a_log, max_size=30), torn=st.booleans(), size=st.integers(1, 3000))
def test_lines_in_parts_are_the_lines(
    lines: list[str], torn: bool, size: int, question: Question, tmp_path: Path
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(lines) + ("" if torn else "\n"), encoding="utf-8", newline="\n")
    apart = [entry for part in parts(path, size) for entry in read_part(part)]
    assert apart == list(read_log(path))
    assert in_parts(question, path, size) == plain(question, path)


def test_a_line_beyond_the_limit_is_one_line_in_parts_too(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"a":1}\n' + b"x" * (3 << 20) + b"\n" + b'{"b":1}\n')
    apart = [entry for part in parts(path, 1000) for entry in read_part(part)]
    assert apart == list(read_log(path)) and len(apart) == 3
    assert len(list(parts(path, 1000))) > 1


def parquet(path: Path, found: list[dict[str, Any]], group: int) -> Path:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([to_row(one) for one in found], schema=parquet_schema(pyarrow))
    pyarrow.parquet.write_table(table, path, row_group_size=group)
    return path


@LAWS
@given(found=st.lists(records, max_size=40), group=st.integers(1, 20), size=st.integers(1, 20_000))
def test_rows_in_parts_and_alike_rows_at_once_are_the_rows(
    found: list[dict[str, Any]], group: int, size: int, question: Question, tmp_path: Path
) -> None:
    path = parquet(tmp_path / "d.parquet", found, group)
    whole = plain(question, path)
    apart = [entry for part in parts(path, size) for entry in read_part(part)]
    assert apart == list(read_log(path))
    assert in_parts(question, path, size) == whole
    assert compare(question, read_groups(path)).report() == whole


def test_alike_rows_are_decided_once(tmp_path: Path) -> None:
    found = [record(time=NOON.replace("12:00", f"12:{n:02}"), request_id=f"r-{n}", count=2) for n in range(50)]
    [(entry, times)] = read_groups(parquet(tmp_path / "d.parquet", found, 7))
    assert (entry.number, times) == (1, 50)
    assert entry.record is not None and entry.record["request_id"] == "r-0"


def test_the_further_calls_of_a_record_count_once(question: Question, tmp_path: Path) -> None:
    line = json.dumps(record(id="one")) + "\n"
    path = tmp_path / "d.jsonl"
    path.write_text(line * 3)
    assert in_parts(question, path, 1)["traffic"] == {"records": 3, "calls": 43.0}


def test_what_is_past_the_bound_does_not_depend_on_the_parts(question: Question, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    found = [json.dumps(record(kernel=f"old.k{number % 70}")) for number in range(200)]
    path.write_text("\n".join(found), encoding="utf-8")
    whole = compare(question, ((entry, 1) for entry in read_log(path)), most=50)
    assert len(whole.pairs) == 50 and any("beyond the first 50 pairs" in text for text, _ in whole.notes)
    merged = Changes(whole.policy, most=50)
    for part in parts(path, 1000):
        merged.merge(compare_part((str(tmp_path), question), part))
    assert merged.report() == whole.report()


@pytest.mark.parametrize("kind", ["jsonl", "columns", "damaged"])
def test_what_cannot_be_grouped_is_said(kind: str, question: Question, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "d"
    if kind == "jsonl":
        path.write_text("{}\n")
    elif kind == "columns":
        pyarrow.parquet.write_table(pyarrow.table({"time": [1]}), path)
    else:
        path.write_bytes(b"PAR1nonsense")
        assert compare(question, read_groups(path)).report() == plain(question, path)
        return
    with pytest.raises(ArgumentError, match="leave `--polars` out"):
        list(read_groups(path))


def test_what_the_log_writes_can_be_grouped(tmp_path: Path) -> None:
    log = Parquet(tmp_path / "d.parquet")
    log.write([record(seconds=float(number)) for number in range(4)])
    log.close()
    [(_, times)] = read_groups(tmp_path / "d.parquet")
    assert times == 4

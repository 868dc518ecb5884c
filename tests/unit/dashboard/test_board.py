"""The board over the logs of real dispatchers, a real metrics endpoint, and files that are damaged or missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from layerzero.dashboard import board as bounds
from layerzero.dashboard.board import Board
from layerzero.dashboard.metrics import ScrapeError, check_address, parse, scrape
from layerzero.errors import ArgumentError
from layerzero.runtime.log_files import beside
from layerzero.telemetry.exporters import PrometheusExporter
from layerzero.telemetry.feed import Deciding, Feed
from tests.unit.dashboard.records import NOON_SECONDS, record, write
from tests.unit.runtime.log_bench import Logged


@pytest.fixture(autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))  # no experiments of other processes


def read(board: Board) -> Board:
    while board.look():
        pass
    return board


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def texts(board: Board) -> list[str]:
    return [one["text"] for one in board.now()["attention"]]


def test_a_log_is_shown_with_its_policy_its_epochs_and_its_breaker(tmp_path: Path) -> None:
    bench, path = Logged("boost fast.one by 2 for work"), tmp_path / "log.jsonl"
    log = bench.log(path)
    bench.call(1)
    for _ in range(3):
        bench.breakers.failed("fast.one", "cpu", "illegal memory access")
    until(lambda: bench.engine.current().environment.open_breakers)
    bench.call(1)
    bench.configure("deny fast.one for work as slow")
    bench.call(1)
    log.close()
    board = read(Board([path]))

    [policy] = board.policies()["logs"]
    assert policy["in_force"]["name"] == "small"
    assert [epoch["before"] is None for epoch in policy["epochs"]] == [False, False, True]
    assert all(epoch["here"] for epoch in policy["epochs"])
    [breakers] = board.breakers()["logs"]
    assert list(breakers["open"]) == ["fast.one on cpu"]
    assert [(one["kernel"], one["state"]) for one in breakers["moves"]] == [("fast.one on cpu", "open")]
    assert any(text.startswith("the breaker of fast.one on cpu is open: 3 failures") for text in texts(board))
    board.close()


def test_calls_that_went_wrong_want_to_be_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, record(degraded=True, count=2), record(degraded=True, arms={"trial": "new"}))
    write(path, record(kernel=None, error="no_kernel"), record(raised="ValueError", kernel="fast.two"))
    board = read(Board([path]))
    assert texts(board) == [
        "1 call of work without a kernel",
        "1 call of work with an error of fast.two",
        "3 calls of work degraded, by fast.one",
    ]
    board.close()


def test_a_distinct_log_counts_what_came_after_the_records(tmp_path: Path) -> None:
    bench, path = Logged(), tmp_path / "log.jsonl"
    log = bench.log(path, mode="distinct")
    for size in (1, 2, 3, 4):
        bench.call(size)
    log.close()
    board = read(Board([path]))
    found = board.decisions({}, "30m", "kernel")
    assert sum(group["calls"] for group in found["groups"]) == 4
    assert len(found["records"]) == 1 and found["records"][0]["calls"] == 4
    board.close()


def test_a_folder_stands_for_its_logs_also_for_those_that_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "ASK", 0.0)
    write(tmp_path / "one.jsonl", record())
    (tmp_path / "notes.txt").write_text("no log", encoding="utf-8")
    board = read(Board([tmp_path]))
    write(tmp_path / "two.jsonl", record())
    read(board)
    assert [Path(one["source"]).name for one in board.now()["sources"]] == ["one.jsonl", "two.jsonl"]
    board.close()


def test_what_cannot_be_read_is_told_and_takes_nothing_with_it(tmp_path: Path) -> None:
    good, bad, absent = (tmp_path / f"{name}.jsonl" for name in ("good", "bad", "absent"))
    write(good, record())
    bad.write_bytes(b"{\n" * 3)
    beside(bad).mkdir()
    (beside(bad) / "counts-1-2.json").write_text("[]", encoding="utf-8")
    (tmp_path / "folder.jsonl").mkdir()
    board = read(Board([good, bad, absent, tmp_path / "folder.jsonl"]))
    board.look()
    sources = {Path(one["source"]).name: one for one in board.now()["sources"]}
    assert (sources["good.jsonl"]["records"], sources["good.jsonl"]["problem"]) == (1, None)
    assert sources["bad.jsonl"]["unreadable"] == 3 and "not JSON" in sources["bad.jsonl"]["lines"][0]
    assert sources["absent.jsonl"]["there"] is False
    assert "the log is not there yet" in texts(board)
    board.close()


def test_damaged_counts_are_a_problem_of_that_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, record())
    beside(path).mkdir()
    (beside(path) / "counts-1-2.json").write_text("[]", encoding="utf-8")
    board = read(Board([path]))
    assert any("cannot be read" in text for text in texts(board))
    board.close()


def test_a_process_is_read_over_its_metrics_endpoint() -> None:
    bench, feed = Logged(), Feed()
    exporter = PrometheusExporter(feed)
    feed.connect(Deciding(bench.dispatcher, bench.engine, bench.breakers))
    served = exporter.serve(0)
    address = f"http://127.0.0.1:{served.port}/metrics"
    try:
        board = Board(metrics=[check_address(address)])
        board.ask()
        for _ in range(5):
            bench.call(1)
        board.ask()
    finally:
        exporter.close()
    found = board.decisions({}, "30m", "kernel")
    assert [(one["kernel"], one["calls"]) for one in found["groups"]] == [("fast.one", 5)]
    assert board.policies()["metrics"][0]["in_force"][0]["name"] == "small"
    board.ask()
    assert any(text.startswith("no answer") for text in texts(board))
    board.close()


def test_an_endpoint_with_something_else_or_nothing_is_an_error() -> None:
    with pytest.raises(ScrapeError, match="no answer"):
        scrape("http://127.0.0.1:9/metrics")
    for text in ("<html>\n", "layerzero_x{ 3\n", "layerzero_x three\n"):
        with pytest.raises(ScrapeError, match="not metrics"):
            parse(text)
    assert parse("other_total 3\n").samples == {}
    for address in ("file:///etc/passwd", "127.0.0.1:9464", "http://", "http://x:99999/"):
        with pytest.raises(ArgumentError, match="wanted an address"):
            check_address(address)


def test_what_is_no_report_on_experiments_is_told(tmp_path: Path) -> None:
    head = '{"schema": "lz.experiments/1"'
    for number, text in enumerate(("[]", "{", f"{head}}}", f'{head}, "every": 2, "experiments": 3}}')):
        file = tmp_path / f"{number}.json"
        file.write_text(text, encoding="utf-8")
    board = Board(experiments=[*sorted(tmp_path.iterdir()), tmp_path / "none.json"])
    assert ["problem" in one for one in board.experiments()["processes"]] == [True] * 5
    assert len(texts(board)) == 5
    board.close()


def test_a_log_and_an_endpoint_of_one_process_do_not_count_twice(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, record())
    board = read(Board([path], ["http://127.0.0.1:9/metrics"]))
    board._take("http://127.0.0.1:9/metrics", parse('layerzero_decisions_total{operation="work",kernel="k.a"} 7\n'))
    assert [one["kernel"] for one in board.decisions({}, "30m", "kernel")["groups"]] == ["fast.one"]
    asked = {"source": "http://127.0.0.1:9/metrics"}
    assert [one["kernel"] for one in board.decisions(asked, "30m", "kernel")["groups"]] == ["k.a"]
    board.close()


def test_a_record_can_be_asked_for_until_it_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, record())
    board = read(Board([path]))
    found = board.record(1)
    assert found is not None and (found[0].time, found[1]) == (NOON_SECONDS, beside(path))
    assert board.record(2) is None
    board.close()

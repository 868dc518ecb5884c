"""The decision log: what is recorded, that nothing is lost unseen, and that no call waits or fails for it."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from layerzero.errors import ArgumentError, MissingDependencyError, NoKernelError
from layerzero.runtime import ambient
from layerzero.runtime.decision_log import DecisionLog
from layerzero.runtime.log_files import MAX_RECORD_BYTES, beside
from layerzero.runtime.log_reader import read_counts, read_log
from layerzero.runtime.log_regions import share_of
from layerzero.runtime.record import SCHEMA, Record, problem_of
from tests.unit.runtime.log_bench import Logged, lines


def weights(log: DecisionLog) -> dict[int, float]:
    return {record["values"]["size"]: record["count"] for record in log.records}


# ---------------------------------------------------------------- modes


def test_off_installs_nothing() -> None:
    bench = Logged()
    log = bench.log(mode="off")
    bench.call()
    assert bench.dispatcher.sinks == ()
    assert (log.written, log.dropped, log.records) == (0, 0, [])
    log.close()


def test_every_call_has_a_record_with_all_that_the_schema_names() -> None:
    bench = Logged("deny fast.one for work when size > 5 as large\norder fast.two > * for work when size > 5 as first")
    log = bench.log()
    with ambient.context({"request_id": "r-1", "tenant": "acme"}):
        bench.call(7)
    [record] = log.records
    assert problem_of(record) is None
    snapshot = bench.engine.current()
    timeless = {name: value for name, value in record.items() if name not in ("time", "seconds", "snapshot")}
    assert timeless == {
        "schema": SCHEMA,
        "operation": "work",
        "values": {"tenant": "acme", "size": 7, "device": "cpu"},
        "arms": {},
        "kernel": "fast.two",
        "score": 80.0,
        "degraded": False,
        "error": None,
        "raised": None,
        "recovered_from": [],
        "locked_by": [],
        "ordered_by": ["first"],
        "epoch": snapshot.epoch,
        "policy": {"name": "small", "version": None, "digest": snapshot.identity.digest},
        "environment": snapshot.environment.digest,
        "request_id": "r-1",
        "count": 1,
        "id": None,
    }
    assert record["time"].endswith("Z") and record["seconds"] >= 0 and len(record["snapshot"]) == 64
    log.close()


def test_distinct_writes_each_region_once_per_snapshot_and_counts_the_rest() -> None:
    bench = Logged("deny fast.one for work when size > 5")
    log = bench.log(mode="distinct")
    for size in (1, 2, 3, 6, 7, 1):
        bench.call(size)
    assert weights(log) == {1: 4, 6: 2}
    bench.configure("deny fast.one for work when size > 6")  # another snapshot, so once more
    for size in (2, 3, 8):
        bench.call(size)
    assert [(r["values"]["size"], r["kernel"], r["count"]) for r in log.records] == [
        (1, "fast.one", 4),
        (6, "fast.two", 2),
        (2, "fast.one", 2),
        (8, "fast.two", 1),
    ]
    assert len({record["id"] for record in log.records}) == 4


def test_distinct_tells_arms_and_failures_apart() -> None:
    bench = Logged("experiment half on tenant { arm control 50% arm other 50% { boost fast.two by 3 } }\n")
    log = bench.log(mode="distinct")
    for number in range(40):
        with ambient.context({"tenant": f"t-{number}"}):
            bench.call(1)
    assert sorted((tuple(r["arms"].values()), r["kernel"]) for r in log.records) == [
        (("control",), "fast.one"),
        (("other",), "fast.two"),
    ]
    assert sum(record["count"] for record in log.records) == 40

    def broken(size: int) -> str:
        raise ValueError("no")

    bench.kernel("fast.one", broken)
    with ambient.context({"tenant": next(t for t in (f"t-{n}" for n in range(40)) if arm(bench, t) == "control")}):
        bench.call(1)
    *_, failed = log.records
    assert (failed["kernel"], failed["recovered_from"], failed["degraded"]) == ("fast.two", ["fast.one"], True)
    log.close()


def arm(bench: Logged, tenant: str) -> str:
    return bench.engine.current().enrol({"tenant": tenant})["half"]


def test_sampled_takes_requests_whole_and_the_same_ones_always() -> None:
    bench = Logged()
    log = bench.log(mode="sampled", rate=0.25)
    chosen = [f"r-{number}" for number in range(400) if share_of(f"r-{number}") < 0.25]
    for number in range(400):
        with ambient.context({"request_id": f"r-{number}"}):
            bench.call(1)
            bench.call(2)
    records = log.records
    assert [record["request_id"] for record in records] == [one for one in chosen for _ in range(2)]
    assert 60 < len(chosen) < 140
    assert {record["count"] for record in records} == {4.0}


def test_sampled_calls_without_a_request_are_every_nth() -> None:
    bench = Logged()
    log = bench.log(mode="sampled", rate=0.25)
    for size in range(12):
        bench.call(size)
    assert [record["values"]["size"] for record in log.records] == [3, 7, 11]


def test_a_call_without_a_kernel_and_a_kernel_that_raises_are_recorded() -> None:
    bench = Logged("lock fast.one for work when size > 5 as pinned\nquarantine fast.one when size > 7")
    log = bench.log()
    with pytest.raises(NoKernelError):
        bench.call(8)

    def broken(size: int) -> str:
        raise ValueError("no")

    bench.kernel("fast.one", broken)
    assert bench.call(1) == "fast.two"
    seen = [(r["kernel"], r["error"], r["raised"], r["recovered_from"]) for r in log.records]
    assert seen == [
        (None, "lock_failed", None, []),
        ("fast.one", None, "ValueError", []),
        ("fast.two", None, None, ["fast.one"]),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "all"}, "argument `mode`"),
        ({"mode": "sampled", "rate": 0}, "argument `rate`"),
        ({"mode": "sampled", "rate": float("nan")}, "argument `rate`"),
        ({"capacity": 0}, "argument `capacity`"),
        ({"destination": "decisions.txt"}, "wanted memory, opentelemetry"),
        ({"destination": 5}, "wanted a path or a Destination"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Logged().log(**options)


# ---------------------------------------------------------------- nothing is lost unseen


class Stuck:
    """A destination that takes nothing until it is let go."""

    name = "stuck"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.taken: list[Record] = []

    def write(self, records: Sequence[Record]) -> None:
        self.go.wait(10)
        self.taken.extend(records)

    def add(self, counts: Mapping[str, int]) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_full_queue_drops_counts_and_never_blocks() -> None:
    bench, stuck = Logged(), Stuck()
    log = bench.log(stuck, capacity=10)
    bench.call(0)
    time.sleep(0.1)  # the writer holds the first one now
    started = time.monotonic()
    for size in range(1, 101):
        bench.call(size)
    assert time.monotonic() - started < 2
    assert log.dropped == 90 == bench.logs.dropped
    stuck.go.set()
    log.close()
    assert [record["values"]["size"] for record in stuck.taken] == list(range(11))
    assert (log.written, bench.logs.dropped) == (11, 90)


def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    bench = Logged()
    log = bench.log(tmp_path / "d.jsonl")
    every = 8, 1000

    def serve() -> None:
        for number in range(every[1]):
            bench.call(number % 1000)

    threads = [threading.Thread(target=serve) for _ in range(every[0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    records = lines(tmp_path / "d.jsonl")
    assert len(records) == every[0] * every[1] == log.written
    assert log.dropped == 0
    sizes = [record["values"]["size"] for record in records]
    assert all(sizes.count(size) == 8 for size in (0, 1, 500, 999))


def test_closing_writes_the_rest_and_takes_the_sink_off(tmp_path: Path) -> None:
    bench = Logged()
    with bench.log(tmp_path / "d.jsonl") as log:
        bench.call(1)
    log.close()
    bench.call(2)
    assert bench.dispatcher.sinks == ()
    assert [record["values"]["size"] for record in lines(tmp_path / "d.jsonl")] == [1]


EXITING = """
import sys
sys.path.insert(0, {root!r})
from tests.unit.runtime.log_bench import Logged
bench = Logged()
log = bench.log({path!r}, {mode!r})
for size in range(50):
    bench.call(size)
"""


@pytest.mark.parametrize(("mode", "records"), [("every", 50), ("distinct", 1)])
@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet"])
def test_leaving_the_process_flushes(root: Path, tmp_path: Path, name: str, mode: str, records: int) -> None:
    path = tmp_path / name
    script = EXITING.format(root=str(root), path=str(path), mode=mode)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert len([entry for entry in read_log(path) if entry.record]) == records
    assert sum(read_counts(path).values()) == 50 - records if mode == "distinct" else True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_leaves_its_parents_log_alone(root: Path, tmp_path: Path) -> None:
    script = EXITING.format(root=str(root), path=str(tmp_path / "d.jsonl"), mode="every") + (
        "import os\nlog.flush()\nchild = os.fork()\nif child == 0:\n    bench.call(1)\n"
        "    os._exit(0 if log.dropped == 1 else 3)\n"
        "bench.call(2)\nraise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)
    assert len(lines(tmp_path / "d.jsonl")) == 51


def test_a_log_holds_no_snapshot_after_its_calls_are_written() -> None:
    bench = Logged()
    log = bench.log(mode="distinct")
    bench.call()
    old = weakref.ref(bench.engine.current())
    assert log.flush()
    bench.configure("deny fast.one for work")
    bench.call()
    assert log.flush()
    gc.collect()
    assert old() is None


# ---------------------------------------------------------------- files that fail


def fails(path: Path, caplog: pytest.LogCaptureFixture) -> tuple[DecisionLog, list[str]]:
    bench = Logged()
    with caplog.at_level(logging.ERROR, "layerzero"):
        log = bench.log(path, snapshots=None)
        for _ in range(3):
            assert bench.call() == "fast.one"
            log.flush()
        log.close()
    return log, [message for message in caplog.messages if "decision log" in message]


def test_a_folder_that_cannot_be_written_is_counted_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    log, said = fails(tmp_path / "file" / "d.jsonl", caplog)
    assert (log.written, log.dropped) == (0, 3)
    assert len(said) == 1
    assert "dropped and counted" in said[0]
    assert log.last_error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "d.jsonl").symlink_to("/dev/full")
    log, said = fails(tmp_path / "d.jsonl", caplog)
    assert (log.written, log.dropped) == (0, 3)
    assert len(said) == 1
    assert "No space left" in said[0]


def test_a_parquet_file_that_cannot_be_written_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    log, said = fails(tmp_path / "file" / "d.parquet", caplog)
    assert (log.written, log.dropped, len(said)) == (0, 3, 1)


def test_a_disk_that_is_mended_is_written_again(tmp_path: Path) -> None:
    bench = Logged()
    folder = tmp_path / "gone"
    folder.write_text("in the way")
    log = bench.log(folder / "d.jsonl", mode="distinct")
    bench.call(1)
    log.flush()
    assert log.dropped == 1
    folder.unlink()
    bench.call(2)  # of the region whose record was lost
    log.close()
    assert [record["values"]["size"] for record in lines(folder / "d.jsonl")] == [2]


def test_a_line_that_a_killed_process_left_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"schema": "lz.rec')
    bench = Logged()
    with bench.log(path):
        bench.call(1)
    torn, whole = read_log(path)
    assert torn.record is None and torn.problem is not None
    assert whole.record is not None and whole.number == 2


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    bench, path = Logged(), tmp_path / "d.jsonl"
    with bench.log(path) as log:
        bench.call(1)
        log.flush()
        path.rename(tmp_path / "moved.jsonl")
        bench.call(2)
    assert [record["values"]["size"] for record in lines(path)] == [2]


def test_files_rotate_by_size(tmp_path: Path) -> None:
    bench, path = Logged(), tmp_path / "d.jsonl"
    with bench.log(path, max_bytes=1500, keep=2) as log:
        for size in range(12):
            bench.call(size)
            log.flush()
    names = sorted(one.name for one in tmp_path.iterdir() if one.is_file())
    assert names == ["d.jsonl", "d.jsonl.1", "d.jsonl.2"]
    assert all((tmp_path / name).stat().st_size <= 1500 for name in names)
    kept = [r["values"]["size"] for name in reversed(names) for r in lines(tmp_path / name)]
    assert kept == list(range(12))[-len(kept) :]


def test_a_record_larger_than_the_limit_is_dropped(tmp_path: Path) -> None:
    bench = Logged()
    with bench.log(tmp_path / "d.jsonl") as log:
        with ambient.context({"tenant": "x" * MAX_RECORD_BYTES}):
            bench.call(1)
        bench.call(2)
    assert (log.written, log.dropped) == (1, 1)
    assert [record["values"]["size"] for record in lines(tmp_path / "d.jsonl")] == [2]


def test_a_destination_of_ones_own_that_raises_loses_a_batch_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Wrong(Stuck):
        def write(self, records: Sequence[Record]) -> None:
            raise KeyError("wrong")

    bench = Logged()
    log = bench.log(Wrong())
    bench.call()
    assert log.flush()
    bench.call()
    assert log.flush()
    assert log.dropped == 2
    log.close()


# ---------------------------------------------------------------- Parquet


def test_parquet_holds_what_json_lines_hold(tmp_path: Path) -> None:
    bench = Logged("field odd: float\nexperiment half on tenant { arm control 50% arm other 50% }")
    logs = [bench.log(tmp_path / name) for name in ("d.jsonl", "d.parquet")]
    for number, tenant in enumerate(("acme", "\ud800", "Ünïcödé\u202e")):
        with ambient.context({"tenant": tenant, "odd": float("nan"), "request_id": tenant}):
            bench.call(number)
    for log in logs:
        log.close()
    written = lines(tmp_path / "d.jsonl")
    rows = [entry.record for entry in read_log(tmp_path / "d.parquet")]
    assert [r["request_id"] for r in rows if r] == ["acme", "\\ud800", "Ünïcödé\u202e"]  # a column is UTF-8
    drop = ("request_id", "time")
    assert [{k: v for k, v in r.items() if k not in drop} for r in rows if r] == [
        {k: v for k, v in r.items() if k not in drop} for r in written
    ]


def test_parquet_overwrites_no_older_log(tmp_path: Path) -> None:
    for size in (1, 2):
        bench = Logged()
        with bench.log(tmp_path / "d.parquet"):
            bench.call(size)
    found = {
        path.name: [e.record["values"]["size"] for e in read_log(path) if e.record]
        for path in tmp_path.glob("*.parquet")
    }
    assert found == {"d.parquet": [1], "d.1.parquet": [2]}


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"layerzero\[log\]"):
        Logged().log("d.parquet")


# ---------------------------------------------------------------- hostile text


def test_hostile_text_is_escaped_in_a_log_file(tmp_path: Path) -> None:
    hostile = "\x1b[2J\n</script>\u202e\x9b\ud800"
    bench = Logged()
    with bench.log(tmp_path / "d.jsonl"), ambient.context({"tenant": hostile, "request_id": hostile}):
        bench.call(1)
    [text] = (tmp_path / "d.jsonl").read_text(encoding="ascii").splitlines()
    assert text.isprintable()
    assert json.loads(text)["values"]["tenant"] == hostile == json.loads(text)["request_id"]


def test_a_hostile_file_name_is_shown_without_its_control_characters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    _, said = fails(tmp_path / "file" / "\x1b[2J\u202e.jsonl", caplog)
    assert said and all(message.isprintable() for message in said)


def test_the_export_is_beside_the_log(tmp_path: Path) -> None:
    bench = Logged()
    with bench.log(tmp_path / "d.jsonl"):
        bench.call(1)
    [record] = lines(tmp_path / "d.jsonl")
    assert (beside(tmp_path / "d.jsonl") / "snapshots" / f"{record['snapshot']}.json").is_file()
    assert (beside(tmp_path / "d.jsonl") / "programs" / f"{record['policy']['digest']}.json").is_file()

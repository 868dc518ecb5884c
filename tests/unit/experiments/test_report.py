"""What operators see: the report with its intervals, the file for other processes, and `lz experiment`."""

from __future__ import annotations

import json
import math
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerzero.cli import main
from layerzero.errors import ArgumentError, LayerZeroError, MissingDependencyError
from layerzero.experiments import sharing
from layerzero.experiments.latencies import Latencies
from layerzero.experiments.report import mean_interval, quantile_interval, rate_interval, sample_ratio
from layerzero.experiments.tally import Moments
from layerzero.runtime.whole_file import replace_file

Bench = Any  # of conftest.py


def serve(bench: Bench, arm: str, count: int, slower: float = 1.0, failing: int = 0) -> None:
    rng = random.Random(arm)
    for number, tenant in enumerate(bench.tenants(arm, count)):
        latency = rng.lognormvariate(2.0, 0.5) * slower
        bench.experiments.outcome({"tenant": tenant}, latency_ms=latency, error=number < failing, metrics={"tokens": 8})


@pytest.fixture
def shared(bench: Bench, tmp_path: Path) -> Iterator[Path]:
    file = bench.experiments.share(tmp_path / "experiments.json", every=0.05)
    yield file
    bench.experiments._shared.close()


def test_a_shared_file_stays_where_it_was_named(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench.experiments.share("experiments.json", every=60.0) == tmp_path / "experiments.json"
    bench.experiments._shared.close()


# ---------------------------------------------------------------- the report


def test_the_report_has_counts_and_intervals_by_arm(bench: Bench) -> None:
    serve(bench, "control", 300, failing=1)
    serve(bench, "other", 300, slower=2.0)
    trial = bench.experiments.report()["trial"]
    control, other = trial.arms
    assert (control.arm, control.requests, control.errors, control.units) == ("control", 300, 1, 300)
    assert control.error_rate is not None
    assert control.error_rate.low < control.error_rate.value == 1 / 300 < control.error_rate.high < 0.03
    for name in ("mean", "p50", "p95"):
        one, two = control.latency_ms[name], other.latency_ms[name]
        assert one.low < one.value < one.high < two.value
        assert two.value == pytest.approx(2 * one.value, rel=0.35)
    assert other.metrics["tokens"].value == 8.0
    assert [guard.guard for guard in other.guards] == ["error_rate < 1%"]
    assert control.guards == ()
    assert not trial.sample_ratio_mismatch
    with pytest.raises(KeyError):
        bench.experiments.report()["other"]


def test_the_text_names_what_an_operator_needs(bench: Bench) -> None:
    serve(bench, "control", 50)
    serve(bench, "other", 50, failing=50)
    text = str(bench.experiments.report())
    assert "trial: on tenant, share 100 %" in text
    assert "other (stopped)" in text
    assert "other: stopped by guard error_rate < 1%, seen 100% after 3 requests" in text
    assert "guard error_rate < 1%: ended the arm" in text
    assert "sample ratio: fine" in text
    bench.configure("")
    assert str(bench.experiments.report()) == "the policy `small` has no experiments"


def test_a_sample_ratio_that_is_off_is_flagged(bench: Bench) -> None:
    serve(bench, "control", 300)
    serve(bench, "other", 200)
    trial = bench.experiments.report()["trial"]
    assert trial.sample_ratio_mismatch
    assert trial.sample_ratio_p == pytest.approx(math.erfc(math.sqrt(20.0 / 2)))  # chi-square 20, one degree of freedom
    assert "MISMATCH" in str(bench.experiments.report())


def test_the_sample_ratio_counts_units_not_requests(bench: Bench) -> None:
    serve(bench, "control", 30)
    serve(bench, "other", 30)
    busy = bench.tenants("other", 1)[0]
    for _ in range(1000):
        bench.experiments.outcome({"tenant": busy})
    assert not bench.experiments.report()["trial"].sample_ratio_mismatch


def test_the_sample_ratio_of_few_units_and_of_an_empty_arm(bench: Bench) -> None:
    experiment = bench.engine.current().vocabulary.experiments["trial"]
    assert sample_ratio(experiment, {"control": 4, "other": 4}) is None
    assert sample_ratio(experiment, {}) is None
    bench.configure("experiment trial on tenant { arm control 100% arm other 0% }")
    empty = bench.engine.current().vocabulary.experiments["trial"]
    assert sample_ratio(empty, {"control": 100}) is None
    assert sample_ratio(empty, {"control": 100, "other": 1}) == 0.0


def test_intervals_cover_the_truth() -> None:
    rng = random.Random(5)
    covered = {"rate": 0, "median": 0, "p95": 0, "mean": 0}
    for _ in range(200):
        seen, moments, bad = Latencies(), Moments(), 0
        for _ in range(200):
            value = rng.expovariate(1.0)
            seen.add(value)
            moments.add(value)
            bad += rng.random() < 0.1
        found = {
            "rate": (rate_interval(bad, 200), 0.1),
            "median": (quantile_interval(seen, 0.5), math.log(2)),
            "p95": (quantile_interval(seen, 0.95), math.log(20)),
            "mean": (mean_interval(moments), 1.0),
        }
        for name, (interval, truth) in found.items():
            assert interval is not None
            low = -math.inf if interval.low is None else interval.low
            covered[name] += low <= truth <= (math.inf if interval.high is None else interval.high)
    assert all(count >= 180 for count in covered.values()), covered


def test_with_too_little_seen_an_interval_is_open() -> None:
    assert rate_interval(0, 0) is None and mean_interval(Moments()) is None
    assert quantile_interval(Latencies(), 0.5) is None
    one = Latencies()
    one.add(3.0)
    found = quantile_interval(one, 0.95)
    assert found is not None and found.low is None and found.high is None
    single = Moments()
    single.add(3.0)
    mean = mean_interval(single)
    assert mean is not None and (mean.value, mean.low) == (3.0, None)


def test_without_scipy_the_message_names_the_extra(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingDependencyError, match=r"layerzero\[experiments\]"):
        bench.experiments.report()
    with pytest.raises(MissingDependencyError):
        bench.experiments.share()
    bench.fail()  # guards need no scipy
    assert bench.stopped == (("trial", "other"),)


# ---------------------------------------------------------------- the file


def test_the_file_follows_what_happens(bench: Bench, shared: Path) -> None:
    serve(bench, "control", 20)
    until = time.monotonic() + 20.0
    while time.monotonic() < until:
        data = sharing.read_report(shared)
        if data["experiments"][0]["arms"][0]["requests"] == 20:
            break
        time.sleep(0.02)
    assert data["experiments"][0]["arms"][0]["requests"] == 20
    assert data["process"] == os.getpid()
    assert json.loads(json.dumps(bench.experiments.report().to_dict()))["schema"] == "lz.experiments/1"


def test_a_reader_never_sees_a_part_of_the_file(tmp_path: Path) -> None:
    file, texts = tmp_path / "f.json", [json.dumps({"n": n, "fill": "x" * 100_000}).encode() for n in range(2)]
    replace_file(file, texts[0])
    ended = threading.Event()

    def write() -> None:
        for turn in range(200):
            replace_file(file, texts[turn % 2])
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    reads = 0
    while not ended.is_set() or not reads:
        assert file.read_bytes() in texts
        reads += 1
    thread.join()
    assert os.listdir(tmp_path) == ["f.json"]


def test_a_folder_that_cannot_be_written_is_an_error_at_once(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        bench.experiments.share(tmp_path / "none" / "f.json")
    with pytest.raises(ArgumentError, match="every"):
        bench.experiments.share(tmp_path / "f.json", every=0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "other"}', "\x00"])
def test_a_file_that_is_no_report_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "f.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(LayerZeroError, match="not a report on experiments"):
        sharing.read_report(file)
    assert main(["experiment", "status", str(file)]) == 2
    assert "not a report on experiments" in capsys.readouterr().err


# ---------------------------------------------------------------- the commands


def test_status_prints_what_the_process_shares(bench: Bench, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve(bench, "control", 10)
    bench.experiments._shared.write()
    assert main(["experiment", "status", str(shared)]) == 0
    out = capsys.readouterr().out
    assert f"process {os.getpid()}, policy small, epoch " in out
    assert "trial: on tenant, share 100 %" in out
    serve(bench, "other", 10, failing=10)
    bench.experiments._shared.write()
    assert main(["experiment", "status", str(shared), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    other = data["processes"][0]["experiments"][0]["arms"][1]
    assert other["stopped"].startswith("guard error_rate < 1%")


def test_resume_asks_the_process_and_waits(bench: Bench, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench.fail()
    bench.experiments._shared.write()
    assert main(["experiment", "resume", "trial.other", str(shared), "--wait", "20"]) == 0
    assert "arm `trial.other` serves again in 1 process" in capsys.readouterr().out
    assert bench.stopped == ()
    assert main(["experiment", "resume", "trial.other", str(shared)]) == 2
    assert "is not stopped" in capsys.readouterr().err


def test_resume_says_when_nobody_answers(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench.fail()
    file = tmp_path / "gone.json"
    file.write_text(json.dumps({**bench.experiments.report().to_dict(), "process": 1, "every": 1.0}))
    assert main(["experiment", "resume", "trial.other", str(file), "--wait", "0.2"]) == 1
    assert "no answer from 1 process" in capsys.readouterr().err


def test_without_a_file_the_users_own_processes_are_found(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert main(["experiment", "status"]) == 2
    assert "lz.share_experiments()" in capsys.readouterr().err
    dead = sharing.own_folder() / "experiments-999999999.json"
    dead.write_text("{}", encoding="utf-8")
    file = bench.experiments.share(every=5.0)
    try:
        assert file.parent.stat().st_mode & 0o077 == 0
        assert main(["experiment", "status", "--json"]) == 0
        assert [one["file"] for one in json.loads(capsys.readouterr().out)["processes"]] == [str(file)]
        assert not dead.exists()
    finally:
        bench.experiments._shared.close()
    assert not file.exists()


def test_names_from_a_policy_do_not_reach_the_terminal_raw(
    tmp_path: Path, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {**bench.experiments.report().to_dict(), "process": 1, "every": 1.0}
    data["experiments"][0]["arms"][0]["stopped"] = "\x1b[31mred"
    file = tmp_path / "f.json"
    file.write_text(json.dumps(data, default=str))
    assert main(["experiment", "status", str(file)]) == 1
    assert "\x1b" not in capsys.readouterr().out

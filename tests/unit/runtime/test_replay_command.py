"""`lz replay` and `lz policy export`: what would have changed, by pair and by rule, in shares of traffic."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from layerzero.cli.entry import main
from layerzero.runtime import ambient
from layerzero.runtime.export import SnapshotStore
from layerzero.runtime.log_files import beside
from tests.unit.runtime.log_bench import WORDS, Logged, lines

OLD = 'deny fast.one for work when size > 5 because "large"\n'


class Desk:
    """A folder with a log, and `desk.replay(new_policy)`."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        (folder / "words.lzp").write_text(WORDS)

    def log(self, name: str, mode: str = "every", text: str = OLD, sizes: range = range(10), **context: Any) -> Path:
        bench = Logged(text)
        with bench.log(self.folder / name, mode), ambient.context(context):
            for size in sizes:
                bench.call(size)
        return self.folder / name

    def run(self, log: Path | str, text: str, *options: str) -> tuple[int, str, str]:
        (self.folder / "new.lzp").write_text('policy "new" version 2 standalone\n' + text)
        policy = ["--policy", str(self.folder / "new.lzp"), "--catalog", str(self.folder / "words.lzp")]
        code = main(["replay", *str(log).split(), *policy, *options])
        out, err = self.capsys.readouterr()
        return code, out, err

    def replay(self, log: Path | str, text: str, *options: str) -> tuple[int, dict[str, Any]]:
        code, out, err = self.run(log, text, "--json", *options)
        assert out, err
        return code, json.loads(out)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


def shares(report: dict[str, Any]) -> list[tuple[str | None, str | None, float, float]]:
    return [(p["old"]["kernel"], p["new"]["kernel"], p["calls"], p["share"]) for p in report["pairs"]]


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet"])
@pytest.mark.parametrize("mode", ["every", "distinct"])
def test_the_same_policy_changes_nothing(desk: Desk, name: str, mode: str) -> None:
    code, report = desk.replay(desk.log(name, mode), OLD)
    assert code == 0
    assert report["traffic"] == {"records": 10 if mode == "every" else 2, "calls": 10}
    assert (report["changed"]["calls"], report["pairs"], report["rules"], report["notes"]) == (0, [], [], [])


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet"])
def test_changes_are_told_by_pair_and_by_rule(desk: Desk, name: str) -> None:
    new = "deny fast.two for work when size == 7\nlock fast.two for work when size == 2 as two\n"
    code, report = desk.replay(desk.log(name), new)
    assert code == 1
    assert report["schema"] == "lz.replay/1"
    assert shares(report) == [("fast.two", "fast.one", 4, 0.4), ("fast.one", "fast.two", 1, 0.1)]
    assert report["changed"] == {"records": 5, "calls": 5, "share": 0.5}
    rules = [(rule["side"], rule["kind"], rule["text"], rule["calls"]) for rule in report["rules"]]
    assert rules == [
        ("old", "deny", 'deny fast.one for work when size > 5 because "large"', 3),
        ("new", "deny", "deny fast.two for work when size == 7", 1),
        ("new", "lock", "lock fast.two for work when size == 2 as two", 1),
    ]
    assert report["pairs"][1]["example"]["values"] == {"size": 2, "device": "cpu"}
    assert report["pairs"][1]["example"]["line"] == 3
    assert report["pairs"][1]["rules"][0]["at"].endswith("new.lzp:3:1")


def test_distinct_records_weigh_as_many_calls_as_they_stand_for(desk: Desk) -> None:
    log = desk.log("d.jsonl", "distinct", sizes=range(100))
    assert len(lines(log)) == 2
    _, report = desk.replay(log, "")
    assert shares(report) == [("fast.two", "fast.one", 94, 0.94)]


def test_the_text_names_pairs_rules_examples(desk: Desk) -> None:
    code, out, _ = desk.run(desk.log("d.jsonl", tenant="acme\x1b[2J\u202e"), "")
    assert code == 1
    assert out.splitlines()[:2] == [
        f'10 records, 10 calls; against policy "new" version 2 {digest(out)}: 4 calls (40.00%) changed',
        "fast.two -> fast.one: 4 calls (40.00%)",
    ]
    assert 'old: deny fast.one for work when size > 5 because "large", at small.lzp:2:1' in out
    assert "work device = cpu, size = 6, tenant = acme\\x1b[2J\\u202e" in out


def digest(out: str) -> str:
    return out.split("version 2 ")[1][:12]


def test_errors_and_degraded_calls_are_listed(desk: Desk) -> None:
    new = "quarantine fast.* when size > 7\nlock fast.one for work when size == 9 as pinned\n"
    _, report = desk.replay(desk.log("d.jsonl"), new)
    assert report["errors"]["calls"] == 1
    assert report["degraded"]["before"]["calls"] == 0
    changed = {(p["new"]["kernel"], p["new"]["degraded"], p["new"]["error"]) for p in report["pairs"]}
    assert (None, False, "lock_failed") in changed
    assert ("spare.one", False, None) in changed
    [failed] = [pair for pair in report["pairs"] if pair["new"]["error"]]
    assert "pinned" in failed["message"]


def test_a_degraded_answer_is_a_change(desk: Desk) -> None:
    new = "allow fast.one for work\nquarantine fast.one when size == 1\n"
    _, report = desk.replay(desk.log("d.jsonl", sizes=range(2)), new)
    assert report["degraded"]["after"]["calls"] == 1
    assert shares(report) == [("fast.one", "spare.one", 1, 0.5)]
    assert report["pairs"][0]["new"]["degraded"] is True


def test_unreadable_lines_are_counted_and_not_fatal(desk: Desk) -> None:
    log = desk.log("d.jsonl")
    good = log.read_bytes().splitlines(keepends=True)
    bad = [
        b"{\n",
        b"\xff\xfe\n",
        b"[]\n",
        b'{"schema": "lz.record/9"}\n',
        b'"' + b"x" * (2 << 20) + b'"\n',
        b"[" * 100_000 + b"\n",
    ]
    log.write_bytes(b"".join([*bad, good[0], b"\n", *good[1:], b'{"schema": "lz.rec']))
    code, report = desk.replay(log, OLD)
    assert (code, report["traffic"]["records"], report["unreadable"]["lines"]) == (0, 10, 7)
    assert [problem["line"] for problem in report["unreadable"]["first"]] == [1, 2, 3, 4, 5, 6, 18]
    _, out, _ = desk.run(log, OLD)
    assert "7 lines could not be read" in out


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", b"hello\nworld\n"), ("b.parquet", b"PAR1nonsense"), ("none.jsonl", None)]
)
def test_what_is_no_log_is_wrong_usage(desk: Desk, name: str, content: bytes | None) -> None:
    if content is not None:
        (desk.folder / name).write_bytes(content)
    code, out, err = desk.run(desk.folder / name, OLD)
    assert (code, out) == (2, "")
    assert name in err


def test_wrong_policies_and_options_are_wrong_usage(desk: Desk) -> None:
    log = desk.log("d.jsonl")
    assert desk.run(log, "deny nobody for work")[0] == 1  # findings, as everywhere
    assert desk.run(log, OLD, "--snapshots", str(desk.folder / "nowhere"))[0] == 2
    assert main(["replay", str(log)]) == 2
    assert main(["replay", str(log), "--policy", str(desk.folder / "nowhere.lzp")]) == 2


def test_an_empty_log_changes_nothing(desk: Desk) -> None:
    (desk.folder / "d.jsonl").write_text("")
    code, report = desk.replay(desk.folder / "d.jsonl", OLD)
    assert (code, report["traffic"]["calls"], report["changed"]["share"]) == (0, 0, 0)


def test_standard_input_is_a_log(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    log = desk.log("d.jsonl")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log.read_bytes())))
    code, report = desk.replay("-", "", "--snapshots", str(beside(log)))
    assert (code, report["changed"]["calls"]) == (1, 4)


def test_records_are_decided_in_their_own_environment(desk: Desk) -> None:
    bench = Logged("deny fast.two for work when size > 8")
    bench.engine.change(lambda inputs: __import__("dataclasses").replace(inputs, open_breakers={"fast.one": "broken"}))
    with bench.log(desk.folder / "d.jsonl"):
        bench.call(1)
    assert lines(desk.folder / "d.jsonl")[0]["kernel"] == "fast.two"
    assert desk.replay(desk.folder / "d.jsonl", "")[0] == 0
    for path in (beside(desk.folder / "d.jsonl") / "snapshots").iterdir():
        path.unlink()
    code, report = desk.replay(desk.folder / "d.jsonl", "")
    assert (code, shares(report)) == (1, [("fast.two", "fast.one", 1, 1.0)])
    assert "their snapshot was not exported" in report["notes"][0]["text"]


def test_calls_that_recovered_are_decided_without_the_failed_kernel(desk: Desk) -> None:
    bench = Logged("")

    def broken(size: int) -> str:
        raise ValueError("no")

    bench.kernel("fast.one", broken)
    with bench.log(desk.folder / "d.jsonl", snapshots=None):
        bench.call(1)
    assert desk.replay(desk.folder / "d.jsonl", "")[0] == 0


def test_fields_that_the_new_policy_lacks_are_said(desk: Desk) -> None:
    log = desk.log("d.jsonl", text="field layer: int\n" + OLD, layer=3)
    code, report = desk.replay(log, OLD)
    assert code == 0
    assert [note["text"] for note in report["notes"]] == ["fields that the new policy does not declare: layer"]
    assert report["notes"][0]["calls"] == 10


def test_contexts_that_do_not_fit_the_new_policy_are_changes(desk: Desk) -> None:
    log = desk.log("d.jsonl", text="field layer: string\n", sizes=range(2), layer="x")
    code, report = desk.replay(log, "field layer: int\n")
    assert code == 1
    assert report["pairs"][0]["new"]["error"] == "invalid_context"
    assert "layer" in report["pairs"][0]["message"]


def test_the_day_and_the_arms_are_those_of_the_record_unless_given(desk: Desk) -> None:
    experiment = "experiment half on tenant { arm control 50% arm other 50% { boost fast.two by 3 } }\n"
    bench = Logged(experiment)
    with bench.log(desk.folder / "d.jsonl"):
        for number in range(20):
            with ambient.context({"tenant": f"t-{number}"}):
                bench.call(1)
    assert desk.replay(desk.folder / "d.jsonl", experiment)[0] == 0
    moved = experiment.replace("half on", "other_half on")
    code, report = desk.replay(desk.folder / "d.jsonl", moved)
    assert code == 1
    assert 0 < report["changed"]["calls"] < 20
    until = "deny fast.two for work when size == 1 until 2999-01-01\n"
    other = sum(record["kernel"] == "fast.two" for record in lines(desk.folder / "d.jsonl"))
    assert desk.replay(desk.folder / "d.jsonl", experiment + until)[1]["changed"]["calls"] == other
    assert desk.replay(desk.folder / "d.jsonl", experiment + until, "--now", "2999-01-01")[0] == 0


def test_rotated_logs_are_read_together(desk: Desk) -> None:
    bench = Logged(OLD)
    with bench.log(desk.folder / "d.jsonl", max_bytes=2000) as log:
        for size in range(10):
            bench.call(size)
            log.flush()
    older = sorted(desk.folder.glob("d.jsonl.?"))
    assert older
    code, report = desk.replay(" ".join(map(str, [*reversed(older), desk.folder / "d.jsonl"])), OLD)
    assert (code, report["traffic"]["records"]) == (0, 10)


def test_export_stores_a_policy_by_digest(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (desk.folder / "p.lzp").write_text('policy "p" standalone\n' + WORDS.replace('adapter "t:f"', ""))
    words = ["policy", "export", str(desk.folder / "p.lzp"), "--to", str(desk.folder / "out"), "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    snapshot = SnapshotStore(desk.folder / "out").get(found["snapshot"])
    assert snapshot.identity.digest == found["policy"]["digest"]
    assert snapshot.environment.assume_packages
    assert main(words) == 0  # what is there stays
    assert json.loads(capsys.readouterr().out) == found
    assert main(["policy", "import", "--to", "x"]) == 2

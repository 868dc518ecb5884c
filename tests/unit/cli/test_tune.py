"""`lz tune` on this machine's CPU: it measures once, goes on where it was stopped, and writes a file that reads."""

from __future__ import annotations

import json

import pytest

from layerzero.cli import main

GRID = ["--on", "cpu", "--given", "swiglu", "dtype=fp32", "hidden_size=512", "--over", "rows=1,64", "--repeats", "5"]


def tune(tmp_path, *more: str) -> int:
    return main(["tune", *GRID, "--database", str(tmp_path / "m.sqlite"), *more])


def test_it_measures_every_kernel_once_and_reports(tmp_path, capsys):
    assert tune(tmp_path, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["points"] == 2 and first["finished"] and first["failed"] == []
    assert 1.0 <= first["regret"]["after"]["median"] <= first["regret"]["before"]["median"] + 1e-9
    stamp = (tmp_path / "m.sqlite").read_bytes()
    assert tune(tmp_path, "--json", "--measured") == 0
    assert json.loads(capsys.readouterr().out)["regret"] == first["regret"]
    assert stamp[:16] == b"SQLite format 3\x00"


def test_a_run_that_was_stopped_goes_on(tmp_path, capsys):
    assert tune(tmp_path, "--seconds", "0", "--json") == 1
    stopped = json.loads(capsys.readouterr().out)
    assert stopped["finished"] is False and stopped["points"] == 1
    assert tune(tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["points"] == 2


def test_the_rules_are_a_file_to_import_and_are_never_overwritten(tmp_path, capsys):
    output = tmp_path / "tuned.lzp"
    # A policy that is wrong about speed: the slow reference is boosted, and the rules have to mend it.
    (tmp_path / "p.lzp").write_text('policy "p"\nboost reference.swiglu by 200 for swiglu as wrong\n')
    assert main(["tune", str(tmp_path / "p.lzp"), *GRID, "--database", str(tmp_path / "m"), "-o", str(output)]) == 0
    text = output.read_text()
    assert "boost torch.swiglu" in text and "as tuned_grid_1" in text and "over reference.swiglu" in text
    assert "with the rules: regret over 2 points" in capsys.readouterr().out
    assert main(["fmt", "--check", str(output)]) == 0
    given = ["--given", "swiglu", "cpu", "dtype=fp32", "hidden_size=512", "rows=64"]
    capsys.readouterr()
    assert main(["explain", str(tmp_path / "p.lzp"), str(output), *given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kernel"] == "torch.swiglu"
    assert tune(tmp_path, "-o", str(output)) == 2
    assert "exists; --force replaces it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what to measure"),
        (["--grid", "small", "--given", "swiglu"], "give either --grid, or --given and --over"),
        (["--grid", "small", "--only", "nothing"], "the grid has prefill, decode"),
        (["--given", "swiglu", "dtype=fp32", "--over", "rows=1,2", "--graph", "both", "--on", "cpu"], "no CUDA graphs"),
        (["--given", "swiglu", "dtype=fp32", "--over", "h100,a100"], "an axis of a measurement is a field"),
        (
            ["--given", "swiglu", "dtype=fp32", "rows=1", "--beyond", "hidden"],
            "--beyond hidden: there is no such field",
        ),
        (["--grid", "small", "--on", "cuda:7"], "device `cuda:7`"),
        (["--grid", "small", "-o", "rules.txt"], "wanted a name that ends in .lzp"),
    ],
)
def test_wrong_usage_says_what_is_wanted(tmp_path, capsys, words, said):
    assert main(["tune", *words, "--database", str(tmp_path / "m")]) == 2
    assert said in capsys.readouterr().err


def test_a_terminal_sees_how_far_it_is(tmp_path, capsys, monkeypatch):
    from layerzero.cli import tune as command

    monkeypatch.setattr(command.sys.stderr, "isatty", lambda: True, raising=False)
    bar = command._Bar()
    bar.show(command_progress(1, 4, "decode: batch = 8"))
    bar.end()
    shown = capsys.readouterr().err
    assert "██████░░░░░░░░░░░░░░░░░░ 1/4 decode: batch = 8" in shown and shown.endswith("\r\033[K")


def command_progress(done: int, points: int, current: str):
    from layerzero.perf.survey import Progress

    return Progress(done, points, current)

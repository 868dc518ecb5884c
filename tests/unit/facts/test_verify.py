"""Kernels that lie about themselves are found out, and one that dies takes nothing with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerzero.check import load_text, require
from layerzero.check.program import Program
from layerzero.cli import main
from layerzero.errors import ArgumentError
from layerzero.facts.children import Child, pickled
from layerzero.facts.plan import plan
from layerzero.facts.report import Report, outcome, page, read_report
from layerzero.facts.verify import Options, verify
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source

ADAPTERS = """
import os, signal, time
from torch.nn import functional

def silu(x):
    return functional.silu(x)

def wrong_from_257(x):
    return functional.silu(x) + (x.shape[-1] >= 257)

def refuses_bf16(x):
    if str(x.dtype) == "torch.bfloat16":
        raise ValueError("bf16 is not served")
    return functional.silu(x)

def dies_strided(x):
    if not x.is_contiguous():
        os.kill(os.getpid(), signal.SIGSEGV)
    return functional.silu(x)

def writes(x):
    return functional.silu(x, inplace=True)

def sleeps(x):
    time.sleep(60)
"""
SUPPORTS = "supports inner_strided, misaligned"
CATALOG = f"""
kernel lying.right for silu {{ {SUPPORTS}, strided adapter "lying_kernels:silu" }}
kernel lying.strict for silu {{ require dtype == fp32 {SUPPORTS}, strided adapter "lying_kernels:silu" }}
kernel lying.wide for silu {{ {SUPPORTS}, strided adapter "lying_kernels:wrong_from_257" }}
kernel lying.bf16 for silu {{ {SUPPORTS}, strided adapter "lying_kernels:refuses_bf16" }}
kernel lying.dies for silu {{ {SUPPORTS}, strided adapter "lying_kernels:dies_strided" }}
kernel lying.guarded for silu {{ {SUPPORTS} adapter "lying_kernels:dies_strided" }}
kernel lying.writes for silu {{ adapter "lying_kernels:writes" }}
kernel lying.sleeps for silu {{ adapter "lying_kernels:sleeps" }}
"""


@pytest.fixture(autouse=True)
def adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lying_kernels.py").write_text(ADAPTERS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


def program() -> Program:
    return require(load_text("", catalogs=[Source("lying.lzp", CATALOG)]))


def verified(*kernels: str, **options: object) -> Report:
    loaded = program()
    chosen = [loaded.kernels[f"lying.{name}"] for name in kernels]
    return verify(loaded, chosen, Options(device="cpu", **options))  # type: ignore[arg-type]


@pytest.mark.slow
def test_what_facts_claim_wrongly_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layerzero.facts.verify._PATIENCE", 2)
    (tmp_path / "lying.lzp").write_text(CATALOG.replace("kernel lying.sleeps", "kernel asleep.x"), encoding="utf-8")
    file, markdown = tmp_path / "report.json", tmp_path / "report.md"
    words = ["facts", "verify", "--backend", "lying", "--catalog", str(tmp_path / "lying.lzp"), "--on", "cpu"]
    assert main([*words, "--json", str(file), "--markdown", str(markdown)]) == 1

    report = read_report(file)
    found = {one.kernel.removeprefix("lying."): one for one in report.examined}
    assert found["right"].contradictions == []
    assert found["right"].counts["accepted and right"] > 10

    assert found["strict"].contradictions == []
    stricter = [result for result in found["strict"].results if result.outcome == "right though refused"]
    assert {result.call["dtype"] for result in stricter if result.moved == ["dtype"]} == {"bf16", "fp16", "fp64"}

    wrong = found["wide"].contradictions
    assert {result.outcome for result in wrong} == {"accepted and wrong"}
    assert all(result.call["hidden_size"] >= 257 for result in wrong)  # type: ignore[operator]

    refused = found["bf16"].contradictions
    assert {(result.outcome, result.text) for result in refused} == {
        ("refused though declared", "ValueError: bf16 is not served")
    }
    assert {result.call["dtype"] for result in refused} == {"bf16"}

    died = found["dies"].contradictions
    assert {result.outcome for result in died} == {"crashes"}
    assert all("SIGSEGV" in result.text for result in died)
    assert found["dies"].counts["accepted and right"] > 3

    assert found["guarded"].contradictions == [], "what the facts refuse may do anything"
    assert any(result.seen == "crashed" for result in found["guarded"].results)

    assert {result.outcome for result in found["writes"].contradictions} == {"accepted and wrong"}
    assert any("writes to an argument" in result.text for result in found["writes"].contradictions)

    assert "refused though declared: `lying.bf16`" in capsys.readouterr().out
    assert markdown.read_text(encoding="utf-8") == page(report, "report.json")


def test_reports_that_catalogs_name_are_there(root: Path) -> None:
    named = {
        root / word.rstrip(",")
        for kernel in program().kernels.values()
        for source in kernel.sources
        for word in source.split()
        if word.startswith("docs/verified/")
    }
    assert named
    for file in named:
        report = read_report(file.with_suffix(".json"))
        assert file.read_text(encoding="utf-8") == page(report, file.with_suffix(".json").name)


@pytest.mark.slow
def test_a_run_goes_on_where_an_earlier_one_ended() -> None:
    cut = verified("right", seconds=0.0)
    assert cut.examined[0].counts["not run"] == len(cut.examined[0].results) > 10
    for result in cut.examined[0].results[1:]:
        result.seen, result.text = "right", "from the earlier run"
    told: list[str] = []
    loaded = program()
    again = verify(
        loaded,
        [loaded.kernels["lying.right"]],
        Options(device="cpu", earlier=cut),
        lambda number, of, kernel: told.append(kernel),
    )
    assert told == ["lying.right"], "only what was not run is called"
    assert {result.seen for result in again.examined[0].results} == {"right"}
    assert sum(result.text == "from the earlier run" for result in again.examined[0].results) > 10


@pytest.mark.slow
def test_a_call_without_an_answer_is_given_up() -> None:
    loaded, environment = program(), Environment(call_kernels=False)
    (probe, *_) = plan(loaded, [loaded.kernels["lying.sleeps"]], {"device": "cpu"}, environment).probes
    child = Child(pickled(loaded, environment), threads=1)
    child.machine()
    assert child.ask(probe, 0.1) == {"seen": "no answer", "text": "no answer within 0 s", "off": None}
    assert child.ask(probe, 60.0, left=0.1) == {"seen": "not run", "text": "the budget was spent", "off": None}


ASKS = """
import sys
from layerzero.check import load_text, require
from layerzero.facts.children import Child, pickled
from layerzero.facts.plan import plan
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source
program, environment = require(load_text("", catalogs=[Source("lying.lzp", sys.stdin.read())])), Environment(call_kernels=False)
(probe, *_) = plan(program, [program.kernels["lying.sleeps"]], {"device": "cpu"}, environment).probes
child = Child(pickled(program, environment), threads=1)
child.machine()
print(child._process.pid, flush=True)
child.ask(probe, 60.0)
"""  # noqa: E501


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a process is killed by its signal")
def test_a_call_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", ASKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as asking:
        assert asking.stdin is not None and asking.stdout is not None
        asking.stdin.write(CATALOG)
        asking.stdin.close()
        child = int(asking.stdout.readline())
        time.sleep(0.5)  # until the call is made
        asking.kill()
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the call goes on")


@pytest.mark.slow
def test_calls_at_a_time_find_what_calls_in_turn_find() -> None:
    names = ("right", "wide", "bf16", "dies")
    in_turn, together = verified(*names), verified(*names, jobs=3)

    def found(report: Report) -> list[tuple[str, list[tuple[object, ...]]]]:
        return [(one.kernel, [(result.change, result.outcome) for result in one.results]) for one in report.examined]

    assert found(together) == found(in_turn)


def test_wrong_usage_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["facts", "verify", "--resume"]) == 2
    assert "goes on with the report of `--json FILE`" in capsys.readouterr().err
    assert main(["facts", "verify", "--budget", "soon"]) == 2
    assert "wanted a time as in 90s, 5m or 1h, got `soon`" in capsys.readouterr().err
    assert main(["facts", "verify", "reference.silv"]) == 2
    assert main(["facts", "verify", "--jobs", "0"]) == 2
    assert "`--jobs` wants at least 1, got 0" in capsys.readouterr().err
    (tmp_path / "other.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ArgumentError, match="no report of `lz facts verify`"):
        read_report(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("accepted", "seen", "verdict"),
    [
        (True, "right", "accepted and right"),
        (True, "raised", "refused though declared"),
        (True, "crashed", "crashes"),
        (False, "raised", "refused as declared"),
        (False, "crashed", "refused as declared"),
        (False, "right", "right though refused"),
        (True, "no answer", "not run"),
    ],
)
def test_what_an_observation_says_about_the_facts(accepted: bool, seen: str, verdict: str) -> None:
    assert outcome(accepted, seen) == verdict

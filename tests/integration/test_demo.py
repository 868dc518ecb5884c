"""`lz demo` does what it says, on a fresh process, within a screen's width."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.slow


def demo(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "layerzero", "demo", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_tour_shows_each_step_within_100_columns(root: Path) -> None:
    shown = demo(root)
    assert [line for line in shown.splitlines() if len(line) > 100] == []
    for operation in ("attention", "rms_norm", "rope", "swiglu", "sample"):
        assert f"\n{operation} " in shown
    for part in ("attention.prefill -> ", "attention.decode -> ", "against every other kernel", "reference.attention"):
        assert part in shown
    assert "-order torch.sdpa_math" in shown
    assert "+order torch.sdpa_math" in shown
    assert "they agree" in shown


def test_json_holds_the_change_and_the_comparison(root: Path) -> None:
    shown = json.loads(demo(root, "--json", "--tokens", "20"))
    assert len(shown["tokens"]) == 20
    assert shown["agrees"] is True
    assert shown["largest_difference"] <= shown["tolerance"]
    assert shown["decode"]["kernel"] != shown["decode_after_change"]["kernel"]
    assert shown["decode_after_change"]["ordered_by"] == ["long_decode"]
    assert "long_decode" in shown["why"]
    # The rule applies from 50 keys on: both kernels decode in the second run, one in the first.
    decoding = [
        {row["kernel"] for row in rows if (row["operation"], row["phase"]) == ("attention", "decode")}
        for rows in (shown["served"], shown["served_after_change"])
    ]
    assert [len(kernels) for kernels in decoding] == [1, 2]
    # Four layers: one prefill, then a step for each token but the last, which nobody reads.
    attention = {row["phase"]: row["calls"] for row in shown["served"] if row["operation"] == "attention"}
    assert attention == {"prefill": 4, "decode": 4 * 19}


def test_the_ab_test_ends_both_bad_arms_and_no_request_notices(root: Path) -> None:
    shown = json.loads(demo(root, "ab", "--json"))
    assert shown["held"] is True
    assert (shown["failed_requests"], shown["wrong_answers"], shown["wrong_decisions"]) == (0, 0, 0)
    assert shown["stopped"]["slow_silu.slow"].startswith("guard p50_latency < 2 * control")
    assert shown["stopped"]["failing_silu.failing"].startswith("guard error_rate < 1%")
    arms = {(arm["version"], arm["arm"]): arm for arm in shown["arms"]}
    assert set(arms) == {("1", "-"), ("2", "control"), ("2", "slow"), ("3", "control"), ("3", "failing")}
    assert arms["3", "failing"]["kernel_errors"] >= 3
    assert shown["requests"] == sum(arm["requests"] for arm in arms.values())
    assert shown["epochs"] > 8, "policies were swapped while it served"
    assert [line for line in shown["timeline"] if len(line) > 100] == []
    assert "rolled back" in shown["timeline"][-1]


def test_options_of_the_tour_are_none_of_the_ab_tests(root: Path) -> None:
    command = [sys.executable, "-m", "layerzero", "demo", "ab", "--full"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--full belong" in done.stderr

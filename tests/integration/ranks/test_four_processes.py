"""Four real processes over gloo: a swap in a running loop, a rank with another library, a killed rank."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch.distributed")

POLICIES = {
    "watched.lzp": 'policy "watched" version 1\n',
    "good.lzp": 'policy "good"\ndeny torch.silu for silu when package("inference-lib") < "0.5"\n',
    "bad.lzp": 'policy "bad"\ndeny nothing.such\n',
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, root: Path) -> list[dict[str, Any]]:
    """What ranks 0, 1 and 2 have written; rank 3 was killed."""
    folder = tmp_path_factory.mktemp("ranks")
    for name, text in POLICIES.items():
        (folder / name).write_text(text)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).with_name("loop.py")), str(folder), str(port)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=200)
    assert done.stdout.strip() == "[0, 0, 0, -9]", done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]


@pytest.mark.slow
def test_every_step_has_one_policy_on_all_ranks(said: list[dict[str, Any]]) -> None:
    logs = [one["swaps"]["log"] for one in said]
    assert logs[0] == logs[1] == logs[2]


@pytest.mark.slow
def test_a_swap_takes_effect_at_the_step_that_was_promised(said: list[dict[str, Any]]) -> None:
    log = said[0]["swaps"]["log"]
    changed = [now[0] for before, now in itertools.pairwise(log) if now[2] != before[2]]
    first, second, refused = said[0]["swaps"]["said"]
    assert changed[:2] == [first, second]
    assert len(changed) == 3  # the last is the file that changed
    assert "nothing.such" in refused
    kernels = [kernel for number, _, _, kernel in log if number in (first - 1, first, second, changed[2])]
    assert kernels == ["torch.silu", "reference.silu", "torch.silu", "reference.silu"]


@pytest.mark.slow
def test_calls_have_the_place_of_their_rank(said: list[dict[str, Any]]) -> None:
    assert [one["swaps"]["fields"] for one in said] == [[2, 2, 0], [2, 2, 1], [2, 2, 2]]
    assert all(one["swaps"]["warm"] for one in said)


@pytest.mark.slow
def test_a_rank_with_another_library_is_named_on_all(said: list[dict[str, Any]]) -> None:
    for one in said:
        assert "package `inference-lib`: 0.8.9 on rank 2, 0.8.5 on ranks 0, 1, 3" in one["library"]["said"]
        assert one["library"]["stayed"]
        assert one["library"]["then"] == "good"


@pytest.mark.slow
def test_a_stopped_rank_is_missed_and_takes_part_when_it_goes_on(said: list[dict[str, Any]]) -> None:
    never, after = said[0]["stopped"]["said"]
    assert "rank 2 did not answer within 1.5 s" in never
    assert after == ""
    assert [one["stopped"]["policy"] for one in said] == ["after"] * len(said)


@pytest.mark.slow
def test_a_killed_rank_leaves_the_old_policy_everywhere(said: list[dict[str, Any]]) -> None:
    for one in said:
        assert "the process of rank 3 has ended" in one["killed"]["failure"]  # long before the timeout
        assert one["killed"]["policy"] == "good"
    assert said[0]["killed"]["said"] == said[0]["killed"]["failure"]

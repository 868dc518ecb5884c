"""`lz replay --ray` and `lz tune --ray` on a cluster of two machines' worth of workers, some of which are killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerzero.cli.entry import main
from layerzero.errors import LayerZeroError
from layerzero.runtime.comparison import Question, compare, compare_part
from layerzero.runtime.log_parts import Part, parts
from layerzero.runtime.log_reader import read_log
from layerzero.runtime.spread import Cluster, WorkersLostError
from tests.unit.runtime.test_log_parts import parquet, question, record

__all__ = ["question"]  # the fixture
pytestmark = pytest.mark.slow

KERNELS = """
import os, signal
from pathlib import Path
import torch

def honest(gate, up):
    return torch.nn.functional.silu(gate) * up

def killed_once(gate, up):
    marker = Path(__file__).with_name("killed")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return honest(gate, up)

def dies(gate, up):
    os.kill(os.getpid(), signal.SIGKILL)
"""
CATALOG = """
kernel odd.killed_once for swiglu { priority 3 adapter "odd_kernels:killed_once" }
kernel odd.dies for swiglu { priority 2 require rows == 8 adapter "odd_kernels:dies" }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With kernels that the workers can import."""
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "odd_kernels.py").write_text(KERNELS)
    (folder / "odd.lzp").write_text(CATALOG)
    return folder


@pytest.fixture(scope="module")
def cluster(folder: Path, root: Path) -> Iterator[Cluster]:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster as Machines

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(root)]))
        patch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
        machines = Machines(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        machines.add_node(num_cpus=1)
        ray.init(machines.address, log_to_driver=False, logging_level="error")
        yield Cluster("auto")
        ray.shutdown()
        machines.shutdown()


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON; the tests' own Ray may speak of dead workers before and behind it."""
    out = capsys.readouterr().out
    return json.JSONDecoder().raw_decode(out, out.index("{\n"))[0]


def log_of(folder: Path, name: str) -> Path:
    """Two hundred records, of which every seventh is unlike the others."""
    found = [record(values={"size": number % 7, "device": "cpu"}, count=1 + number % 3) for number in range(200)]
    path = folder / name
    if name.endswith(".parquet"):
        return parquet(path, found, 20)
    path.write_text("".join(json.dumps(one) + "\n" for one in found) + "torn", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["d.jsonl", "d.parquet"])
def test_a_replay_on_two_workers_says_the_same(
    name: str,
    cluster: Cluster,
    question: Question,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: Any,
) -> None:
    path = log_of(tmp_path, name)
    monkeypatch.setattr("layerzero.runtime.comparison.parts", lambda log, _: parts(log, 3000))
    assert cluster.workers == 2
    (tmp_path / "new.lzp").write_text(question.program.texts[-1].source.text)
    (tmp_path / "words.lzp").write_text(question.program.texts[0].source.text)
    words = [str(path), "--policy", str(tmp_path / "new.lzp"), "--catalog", str(tmp_path / "words.lzp"), "--json"]
    reports = []
    for how in ([], ["--ray"], *([["--polars"]] if name.endswith(".parquet") else [])):
        assert main(["replay", *words, *how]) == 1
        reports.append(printed(capsys))
    assert reports[0]["traffic"]["records"] == 200 and reports[0]["pairs"]
    assert all(report == reports[0] for report in reports)
    assert main(["replay", "-", "--policy", str(tmp_path / "new.lzp"), "--ray"]) == 2
    assert "standard input" in capsys.readouterr().err


def test_a_killed_worker_loses_nothing(cluster: Cluster, question: Question, tmp_path: Path) -> None:
    path = log_of(tmp_path, "d.jsonl")
    everything = list(parts(path, 3000))
    assert len(everything) > 5

    def killed_at_the_third(question: Question, part: Part) -> Any:
        marker = tmp_path / "killed"
        if part == everything[2] and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid(), compare_part((str(tmp_path), question), part)

    found = list(cluster.spread(killed_at_the_third, question, everything))
    assert (tmp_path / "killed").exists()
    assert len({process for process, _ in found}) > 1
    whole = compare(question, ())
    for _, changes in found:
        whole.merge(changes)
    assert whole.report() == compare(question, ((entry, 1) for entry in read_log(path))).report()


def test_an_item_that_kills_every_worker_is_an_error_and_so_is_what_a_call_raises(cluster: Cluster) -> None:
    def dies(_: None, item: int) -> None:
        if item == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkersLostError, match="4 workers died over `1`"):
        list(cluster.spread(dies, None, range(3)))

    def raises(_: None, item: int) -> None:
        raise LayerZeroError(f"no {item}")

    with pytest.raises(LayerZeroError, match=r"no \d"):  # of whichever was called first
        list(cluster.spread(raises, None, range(3)))


@pytest.mark.stress  # half a minute: each killed worker is followed by one that imports torch
def test_a_grid_is_measured_apart_and_a_crash_is_the_kernels_own(
    cluster: Cluster, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    words = ["tune", "--catalog", str(folder / "odd.lzp"), "--on", "cpu", "--repeats", "3", "--json"]
    words += ["--given", "swiglu", "dtype=fp32", "hidden_size=64", "--over", "rows=1,8"]
    words += ["--database", str(tmp_path / "m")]
    assert main([*words, "--ray"]) == 1  # a kernel failed that its facts accept
    report = printed(capsys)
    assert (report["points"], report["finished"]) == (2, True)
    assert (folder / "killed").exists(), "no worker was killed"
    assert [line for line in report["failed"] if "killed_once" in line] == []
    assert any("odd.dies" in line and "the process that called it ended" in line for line in report["failed"])
    # Whoever goes on finds nothing left to measure: the same points and kernels as in a run of this process alone.
    monkeypatch.setattr("layerzero.perf.survey.measured", lambda *_: pytest.fail("a point was measured again"))
    assert main(words) == 1
    again = printed(capsys)
    assert (again["rules"], again["failed"]) == (report["rules"], report["failed"])


def test_without_a_cluster_or_without_ray_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log_of(tmp_path, "d.jsonl")
    (tmp_path / "new.lzp").write_text('policy "new"\n')
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["replay", str(path), "--policy", str(tmp_path / "new.lzp"), "--ray"]) == 2
    assert "pip install 'layerzero[large]'" in capsys.readouterr().err

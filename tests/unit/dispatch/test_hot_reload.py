"""A dispatcher that follows its file: every good version, no broken one, and threads that end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import layerzero as lz
from layerzero.dispatch import create_config_dispatcher, create_hot_reload_dispatcher

torch.set_num_threads(1)
Q, K, V = torch.randn(1, 3, 2, 16), torch.randn(1, 3, 2, 16), torch.randn(1, 3, 2, 16)


def config(kernel: str) -> str:
    return f'version: "1.0"\nrules:\n  - operation: "attention.*"\n    kernel: "{kernel}"\n'


MATH, PLAIN = config("torch.sdpa_math"), config("reference.attention")


def kernel(dispatcher: Any) -> str | None:
    with lz.trace() as records:
        dispatcher.dispatch("attention.causal", (Q, K, V))
    return records[-1].kernel


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "dispatch_config.yaml"
    made.write_text(MATH, encoding="utf-8")
    return made


def test_an_edit_is_followed_and_a_broken_one_is_said_once(path: Path) -> None:
    failures: list[Any] = []
    with create_hot_reload_dispatcher(path, watch_interval_seconds=0.02, on_failure=failures.append) as dispatcher:
        assert kernel(dispatcher) == "torch.sdpa_math"
        path.write_text(PLAIN, encoding="utf-8")
        wait_until(lambda: kernel(dispatcher) == "reference.attention")
        path.write_text(PLAIN.replace("kernel:", "kernle:"), encoding="utf-8")
        wait_until(lambda: bool(failures))
        time.sleep(0.2)
        assert len(failures) == 1 and "did you mean `kernel`" in failures[0].message
        assert kernel(dispatcher) == "reference.attention"
        assert "did you mean `kernel`" in (dispatcher.status().last_failure or "")
        path.write_text(MATH, encoding="utf-8")
        wait_until(lambda: kernel(dispatcher) == "torch.sdpa_math")
        assert dispatcher.status().last_failure is None


def test_replaced_deleted_and_returned_with_the_same_time(path: Path, tmp_path: Path) -> None:
    with create_hot_reload_dispatcher(path, watch_interval_seconds=0.02) as dispatcher:
        stamp = path.stat()
        other = tmp_path / "next.tmp"
        other.write_text(PLAIN, encoding="utf-8")
        os.replace(other, path)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        wait_until(lambda: kernel(dispatcher) == "reference.attention")
        path.unlink()
        wait_until(lambda: dispatcher.status().last_failure is not None)
        assert kernel(dispatcher) == "reference.attention"
        path.write_text(MATH, encoding="utf-8")
        wait_until(lambda: kernel(dispatcher) == "torch.sdpa_math")


def test_a_link_that_is_turned_elsewhere(tmp_path: Path) -> None:
    for name, text in (("v1", MATH), ("v2", PLAIN)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dispatch_config.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "dispatch_config.yaml").symlink_to("..data/dispatch_config.yaml")
    with create_hot_reload_dispatcher(tmp_path / "dispatch_config.yaml", watch_interval_seconds=0.02) as dispatcher:
        assert kernel(dispatcher) == "torch.sdpa_math"
        (tmp_path / "..next").symlink_to("v2")
        os.replace(tmp_path / "..next", tmp_path / "..data")
        wait_until(lambda: kernel(dispatcher) == "reference.attention")


def test_calls_go_on_while_the_file_changes(path: Path) -> None:
    seen: set[str | None] = set()
    with create_hot_reload_dispatcher(path, watch_interval_seconds=0.01) as dispatcher:
        epoch = dispatcher.status().epoch
        for round in range(6):
            path.write_text([PLAIN, MATH][round % 2], encoding="utf-8")
            wanted = ["reference.attention", "torch.sdpa_math"][round % 2]
            wait_until(lambda wanted=wanted: seen.add(kernel(dispatcher)) or kernel(dispatcher) == wanted)  # type: ignore[misc]
        assert seen <= {"torch.sdpa_math", "reference.attention"}
        assert dispatcher.status().epoch >= epoch + 6


def test_closing_ends_the_thread_and_keeps_the_policy(path: Path) -> None:
    dispatcher = create_hot_reload_dispatcher(path, watch_interval_seconds=0.02)
    assert [one.name for one in threading.enumerate()].count("layerzero-watcher") == 1
    dispatcher.close()
    dispatcher.close()
    assert not [one for one in threading.enumerate() if one.name == "layerzero-watcher"]
    path.write_text(PLAIN, encoding="utf-8")
    time.sleep(0.1)
    assert kernel(dispatcher) == "torch.sdpa_math"


def test_the_first_version_must_be_good(path: Path) -> None:
    path.write_text("rules: nothing", encoding="utf-8")
    with pytest.raises(lz.PolicyError, match="LZ109"):
        create_hot_reload_dispatcher(path)
    with pytest.raises(FileNotFoundError):
        create_hot_reload_dispatcher(path.with_name("none.yaml"))
    with pytest.raises(lz.ArgumentError, match="watch_interval_seconds"):
        create_hot_reload_dispatcher(path, watch_interval_seconds=0)
    assert not [one for one in threading.enumerate() if one.name == "layerzero-watcher"]


def test_config_driven_reads_once(path: Path) -> None:
    with create_config_dispatcher(path) as dispatcher:
        path.write_text(PLAIN, encoding="utf-8")
        assert kernel(dispatcher) == "torch.sdpa_math"
        dispatcher.reload()
        assert kernel(dispatcher) == "reference.attention"

"""The worker process: its death, its limits, and what it gives back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerzero.backends.machine import ThisMachine
from layerzero.runtime.building import InProcess, Material
from layerzero.runtime.engine import Engine
from layerzero.runtime.worker import Limits, RefusedError, Worker
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source

WORDS = 'policy "p" version 1 standalone\nfield n: int in 0..99\noperation o { needs n }\nkernel k.a for o { }\n'


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def material(text: str) -> Material:
    return Material(text=Source("p.lzp", WORDS + text))


def many(count: int) -> str:
    return "".join(f"boost k.a by 1.{n % 89 + 10} for o when n == {n % 100} and n != {n % 7}\n" for n in range(count))


def test_it_gives_what_this_process_would_give(worker: Worker) -> None:
    wanted = InProcess()
    environment = Environment(assume_packages=True)
    for text in ("", "deny k.a for o when n > 3\n", many(50)):
        found, expected = worker.load(material(text)), wanted.load(material(text))
        assert found.vocabulary == expected.vocabulary
        assert found.program().digest == expected.program().digest
        forms = worker.compile(found, environment, [{}]), wanted.compile(expected, environment, [{}])
        assert [{name: form.to_data() for name, form in one.operations.items()} for one in forms[0]] == [
            {name: form.to_data() for name, form in one.operations.items()} for one in forms[1]
        ]


def test_a_killed_worker_is_replaced_by_the_next_request(worker: Worker) -> None:
    loaded = worker.load(material(""))
    for _ in range(2):
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.load(material("")).key == loaded.key
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert len(worker.compile(loaded, Environment(assume_packages=True), [{}])) == 1, "it is told the program again"


def test_after_some_deaths_a_policy_in_force_is_compiled_here(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(Limits(deaths=2))
    engine = Engine(ThisMachine(lambda: [{"device": "cpu"}]), builder=worker)
    try:
        engine.configure(material(""))
        for _ in range(2):
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            engine.refresh()
        assert worker.pid is None, "a third one would die as well"
        with pytest.raises(RefusedError, match="died 2 times within a minute; it is not started again yet$"):
            engine.configure(material("deny k.a for o\n"))
        epoch = engine.current().epoch
        engine.refresh()  # as a breaker does: it may not wait for a worker
        assert engine.current().epoch == epoch + 1
        assert "compiled in this process" in caplog.text
    finally:
        engine.close()
        worker.close()


def test_a_death_between_two_requests_counts() -> None:
    worker = Worker(Limits(deaths=1))
    engine = Engine(ThisMachine(lambda: [{"device": "cpu"}]), builder=worker)
    try:
        engine.configure(material(""))
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        while worker.pid is not None:  # until the system says so
            time.sleep(0.01)
        with pytest.raises(RefusedError, match="died 1 times within a minute"):
            engine.configure(material("deny k.a for o\n"))
    finally:
        engine.close()
        worker.close()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(seconds=0.2), "takes longer than 0.2 s, which is the limit"),
        # Where hardly any memory is left Python may be too slow, or too short of it, to say so.
        (Limits(memory=120 * 1024**2), "(120 MiB|30 s), which is the limit"),
    ],
)
def test_a_policy_past_a_limit_is_refused_with_the_limit(limits: Limits, message: str) -> None:
    worker = Worker(limits)
    engine = Engine(ThisMachine(lambda: [{"device": "cpu"}]))
    engine.configure(material(""))
    before, engine.builder = engine.current(), worker
    try:
        with pytest.raises(RefusedError, match=message):
            engine.configure(material(many(20_000)))
        assert engine.current() is before
        assert re.search(message, engine.status().last_failure or "")
    finally:
        worker.close()


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, signal; from layerzero.runtime.worker import Worker; worker = Worker(); worker.start(); "
        "print(worker.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    worker = int(done.stdout)
    deadline = time.monotonic() + 30
    while _lives(worker):
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.02)


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

"""Threads decide without a pause while policies are swapped, reloaded and changed by calls."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from layerzero.check.expressions import Value
from layerzero.check.program import Scope
from layerzero.dispatch.registration import register
from layerzero.dispatch.trace import CallRecord, trace
from layerzero.runtime.policy import Policy
from layerzero.runtime.rules import RuntimeRules
from layerzero.runtime.snapshot import Snapshot
from layerzero.runtime.worker import Worker
from tests.integration.live.loaded_policies import CATALOG, SIZES, Bench, answers, many_rules, material, threads

pytestmark = pytest.mark.slow

SWAPS, RELOADS, THREADS = 200, 5, 8


@pytest.fixture(autouse=True)
def switching() -> Iterator[None]:
    """Threads take turns ten times as often as usual: more interleavings, and sooner."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 10)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


def test_every_decision_is_one_policys_while_two_are_swapped_and_reloaded(
    bench: Bench, worker: Worker, tmp_path: Path
) -> None:
    files = [tmp_path / "a.lzp", tmp_path / "b.lzp"]
    for file in files:
        file.write_text(many_rules(file.stem, seed=ord(file.stem)), encoding="utf-8")
    policies = [Policy.load(file, catalogs=[CATALOG]) for file in files]
    expected = {policy.digest: answers(policy) for policy in policies}
    first, second = expected.values()
    assert sum(first[size] != second[size] for size in SIZES) > 20, "the policies must differ to tell them apart"
    bench.engine.builder = worker  # as a server that watches its policy: reading and compiling are another process's
    bench.engine.configure(policies[0])

    made, floor = [0] * THREADS, [0]  # what has been in force since a swap returned
    told: deque[None] = deque()
    seen: set[tuple[str, int]] = set()
    wrong: list[str] = []
    bench.dispatcher.add_sink(lambda record: told.append(None))

    def turn(number: int) -> None:
        pinned, least = made[number] % (2 * len(SIZES)) == 0, floor[0]
        with trace() as records:
            if pinned:
                with bench.engine.pin() as kept:
                    results = [bench.call(size) for size in SIZES]
            else:
                results = [bench.call(size) for size in SIZES]
        made[number] += len(SIZES)
        wrong.extend(_wrong(records, results, expected))
        epochs = [record.decision.epoch for record in records]
        if epochs[0] < least:
            wrong.append(f"thread {number}: epoch {epochs[0]} decided after the swap to {least} had returned")
        if epochs != sorted(epochs):
            wrong.append(f"thread {number}: an older snapshot after a newer one: {epochs}")
        if pinned and {*epochs} != {kept.epoch}:
            wrong.append(f"thread {number}: pinned {kept.epoch}, decided by {epochs}")
        seen.update({(record.decision.policy.digest, record.decision.epoch) for record in records})

    began = bench.engine.current().epoch
    with threads(THREADS, turn) as failures:
        for swap in range(SWAPS):
            bench.engine.configure(policies[(swap + 1) % 2])
            floor[0] = bench.engine.current().epoch
            if swap % (SWAPS // RELOADS) == 0:
                bench.engine.configure(material(files[swap // (SWAPS // RELOADS) % 2]))
    assert failures == []
    assert wrong == []
    assert len(told) == sum(made) > 0, "a call was lost, or counted twice"
    assert {digest for digest, _ in seen} == set(expected), "both policies have decided"
    assert len(seen) > SWAPS / 4, "the calls have seen many of the snapshots"
    assert bench.engine.status().epoch == began + SWAPS + RELOADS
    assert bench.engine.status().last_failure is None


def _wrong(records: list[CallRecord], results: list[str], expected: dict[str, dict[int, str | None]]) -> Iterator[str]:
    """What does not fit in a series of calls, one for each of SIZES."""
    if len(records) != len(SIZES):
        yield f"{len(SIZES)} calls, {len(records)} records"
    for size, record, result in zip(SIZES, records, results, strict=False):
        decision = record.decision
        wanted = expected[decision.policy.digest][size]
        if not (decision.values["size"] == size and decision.kernel == result == wanted and record.error is None):
            yield f"size {size}, policy {decision.policy.name}: {decision.kernel}, ran {result}, wanted {wanted}"


def test_ten_thousand_swaps_leave_nothing_behind(bench: Bench) -> None:
    policies = [bench.policy(f"boost fast.two by {factor}") for factor in (2, 3)]
    alive: weakref.WeakSet[Snapshot] = weakref.WeakSet()
    bench.engine.listeners.append(alive.add)

    def swap(count: int) -> None:
        for number in range(count):
            bench.engine.configure(policies[number % 2])

    swap(1)
    held = bench.dispatcher.decide(*_asked())
    with threads(2, lambda number: bench.call(number)) as failures:
        swap(2_000)
        gc.collect()
        before = _resident()
        swap(8_000)
    assert failures == []
    gc.collect()
    assert {snapshot.epoch for snapshot in alive} == {held.epoch, bench.engine.current().epoch}
    assert held.explain().selected_kernel == held.kernel, "a decision that is kept keeps its snapshot"
    assert _resident() - before < 8 * 2**20
    del held
    gc.collect()
    assert [snapshot.epoch for snapshot in alive] == [bench.engine.current().epoch]


def _asked() -> tuple[Scope, dict[str, Value]]:
    return Scope("work"), {"size": 1, "device": "cpu"}


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_status_counts_the_pins_of_older_epochs(bench: Bench) -> None:
    policies = [bench.policy(f"boost fast.two by {factor}") for factor in (2, 3)]
    bench.engine.configure(policies[0])
    old = bench.engine.current().epoch
    inside, leave = threading.Barrier(4), threading.Event()
    kernels: list[str] = []

    def request() -> None:
        with bench.engine.pin():
            inside.wait(10)
            leave.wait(10)
            kernels.append(bench.call(1))

    holding = [threading.Thread(target=request) for _ in range(3)]
    for thread in holding:
        thread.start()
    inside.wait(10)
    assert bench.engine.status().pinned_epochs == {}, "pins of the epoch in force are no news"
    bench.engine.configure(bench.policy("quarantine fast.two"))
    assert bench.engine.status().pinned_epochs == {old: 3}
    assert bench.call(1) == "fast.one"
    leave.set()
    for thread in holding:
        thread.join(10)
    assert kernels == ["fast.two"] * 3, "a quarantine does not reach what was pinned before it"
    assert bench.engine.status().pinned_epochs == {}


def test_rules_of_threads_do_not_undo_each_other_while_files_are_reloaded(bench: Bench, tmp_path: Path) -> None:
    kernels = [f"own.k{number}" for number in range(5)]  # the last one is never disabled
    file = tmp_path / "p.lzp"
    file.write_text('policy "p" standalone\n', encoding="utf-8")
    bench.engine.configure(material(file))
    for name in kernels:
        register(bench.engine, bench.machine, lambda size, name=name: name, f"kernel {name} for work {{ priority 50 }}")
    file.write_text('policy "p" standalone\nlock own.* for work\n', encoding="utf-8")
    bench.engine.configure(material(file))
    rules = RuntimeRules(bench.engine)
    published: Counter[str] = Counter()
    bench.engine.listeners.append(lambda snapshot: published.update(["epoch"]))
    began = bench.engine.current().epoch
    turns = Counter[int]()
    wrong: list[str] = []

    def turn(number: int) -> None:
        own = kernels[number]
        with rules.disabled(own):
            if f"quarantine {own}" not in bench.engine.status().runtime_rules:
                wrong.append(f"{own}: its rule is gone")
            if bench.call(1) == own:
                wrong.append(f"{own} ran though it is disabled")
        if f"quarantine {own}" in bench.engine.status().runtime_rules:
            wrong.append(f"{own}: its rule is left")
        turns[number] += 1

    reloads = 0
    with threads(4, turn) as failures:
        while min(turns[number] for number in range(4)) < 10 and not failures:
            bench.engine.configure(material(file))
            reloads += 1
    assert failures == []
    assert wrong == []
    assert bench.engine.status().runtime_rules == ()
    assert bench.engine.current().epoch - began == published["epoch"] == 2 * sum(turns.values()) + reloads


def test_a_policy_put_back_does_not_bring_back_a_lock_that_was_taken_off(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "p.lzp"
    file.write_text('policy "p" standalone\n', encoding="utf-8")
    rules = RuntimeRules(bench.engine)
    bench.engine.configure(material(file))
    rules.lock("work", "fast.two")
    policy = bench.engine.configure(material(file))
    assert bench.call(1) == "fast.two"
    rules.unlock("work")
    bench.engine.configure(policy)
    assert bench.call(1) == "fast.one"

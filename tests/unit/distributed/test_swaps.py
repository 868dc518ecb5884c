"""Swaps among ranks that are threads here: a real store, an engine for each, and what goes wrong between two phases."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from layerzero.backends.machine import ThisMachine
from layerzero.check.expressions import Value
from layerzero.check.program import Scope
from layerzero.dispatch.call import Dispatcher
from layerzero.dispatch.plan import Plan, PlannedCall
from layerzero.dispatch.warmup import Warmth
from layerzero.distributed import Ranks, processes
from layerzero.distributed.agreement import Agreement, Outcome
from layerzero.distributed.board import Board
from layerzero.distributed.processes import Watched, own
from layerzero.distributed.steps import Swap
from layerzero.distributed.swapping import PATIENCE, proposal_of
from layerzero.errors import ArgumentError, PolicyError, RanksError
from layerzero.runtime.breakers import Breakers
from layerzero.runtime.cached import Cached
from layerzero.runtime.engine import Engine
from layerzero.runtime.live import Live
from layerzero.runtime.policy import Policy
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source

dist = pytest.importorskip("torch.distributed")

WORDS = """
field device: enum(cpu, cuda) = cpu
field size: int in 0..1000
field rank: int in 0..8
operation work { needs size optional device fallback spare.one }
kernel fast.one for work { priority 90 adapter "t:f" }
kernel spare.one for work { priority 1 adapter "t:f" }
"""


def policy(name: str, rules: str = "") -> Policy:
    catalog = Source("small_catalog.lzp", WORDS)
    return Policy.from_text(f'policy "{name}" standalone\n{rules}', name=f"{name}.lzp", catalogs=[catalog])


NOON = datetime(2026, 12, 31, 12, tzinfo=UTC)


class Bare:
    """A machine with nothing installed, where no package has to be tried."""

    def environment(self, vocabulary: Vocabulary, today: date) -> Environment:
        return Environment(today=today)

    def devices(self) -> Sequence[Mapping[str, Value]]:
        return [{"device": "cpu"}]


class Rank:
    """A rank with an engine of its own."""

    def __init__(self, store: Any, rank: int, size: int, timeout: float) -> None:
        self.now = NOON
        self.engine = Engine(Bare(), lambda: self.now, Cached())
        self.engine.status()  # the shipped policy, as in a process that joins
        self.warmth = Warmth(Dispatcher(self.engine, ThisMachine(list), Breakers(self.engine)))
        self.board = Board(store, rank, range(size))
        self.ranks = Ranks(self.engine, Live(self.engine), self.warmth, self.board, {"rank": rank}, timeout)

    @property
    def policy(self) -> str:
        return self.engine.current().identity.name


Group = Callable[..., list[Rank]]


@pytest.fixture
def group() -> Iterator[Group]:
    """Makes a group of ranks that have a policy `first` in common."""
    made: list[Rank] = []
    # The store lives as long as the test: it is the server, and each board has a connection of its own.
    store = dist.TCPStore("127.0.0.1", 0, 1, True, timedelta(seconds=10))

    def make(size: int = 2, timeout: float = 5.0, agreed: bool = True) -> list[Rank]:
        made.extend(Rank(store, rank, size, timeout) for rank in range(size))
        if agreed:
            together(made, lambda one: one.ranks.configure(policy("first")))
        return made

    yield make
    for one in made:
        one.ranks.close()


def together(ranks: list[Rank], act: Callable[[Rank], Any]) -> list[Any]:
    """What all ranks call at once: the results, or the exceptions."""

    def safely(rank: Rank) -> Any:
        try:
            return act(rank)
        except (RanksError, PolicyError) as error:
            return error

    with ThreadPoolExecutor(len(ranks)) as pool:
        return list(pool.map(safely, ranks))


def test_a_swap_waits_for_its_step_on_each_rank(group: Group) -> None:
    ranks = group()
    at = ranks[0].ranks.swap(policy("second"))
    for one in ranks:
        for number in range(1, at):
            assert one.ranks.step() == number
            assert one.policy == "first"
        assert one.ranks.step() == at
        assert one.policy == "second"


def test_a_loop_that_runs_ahead_is_promised_a_later_step(group: Group) -> None:
    ranks = group()
    ended, logs = threading.Event(), [dict[int, str](), dict[int, str]()]

    def loop(one: Rank) -> None:
        steps = 0
        while not ended.is_set() or steps < last:
            steps = one.ranks.step()
            logs[one.board.rank][steps] = one.policy
            # Rank 1 passes what is promised before it is asked.
            time.sleep(0.001 if one is ranks[0] else 0.0002)

    last = 0
    loops = [threading.Thread(target=loop, args=(one,)) for one in ranks]
    for thread in loops:
        thread.start()
    at = ranks[0].ranks.swap(policy("second"))
    last = at + 2
    ended.set()
    for thread in loops:
        thread.join(30)
    for log in logs:
        assert all((name == "second") is (number >= at) for number, name in log.items())


def test_two_swaps_may_wait_for_their_steps(group: Group) -> None:
    ranks = group()
    second, third = ranks[0].ranks.swap(policy("second")), ranks[0].ranks.swap(policy("third"))
    for one in ranks:
        seen = [(one.ranks.step(), one.policy) for _ in range(third)]
        assert seen[-1] == (third, "third")
        assert dict(seen)[second] in ("second", "third")
        assert one.engine.current().epoch == ranks[0].engine.current().epoch


@pytest.mark.parametrize("error", [PolicyError("no room is left here"), RuntimeError("no room is left here")])
def test_a_rank_that_refuses_a_policy_keeps_it_from_all(
    error: Exception, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = group()

    def prepare(material: object, day: object) -> Any:
        raise error

    monkeypatch.setattr(ranks[1].engine, "prepare", prepare)
    with pytest.raises(RanksError, match="rank 1: .*no room is left here"):
        ranks[0].ranks.swap(policy("second"))
    for one in ranks:
        for _ in range(5):
            one.ranks.step()
        assert one.policy == "first"
    assert "no room" in (ranks[0].ranks.status().failure or "")


def test_a_rank_that_was_promised_and_hears_nothing_ends_the_swap_for_all(group: Group) -> None:
    ranks = group(size=3, timeout=30.0)
    leader = Agreement(ranks[0].board, 30.0)
    # The leader gets as far as the promise, and dies.
    candidate = ranks[0].engine.prepare(policy("second").origin, ranks[0].engine.today())  # type: ignore[arg-type]
    leader.board.post("swap/1/proposal", proposal_of(candidate))
    leader.board.post("swap/1/step/0", {"at": 2})
    for rank in (1, 2):
        while leader.board.read(f"swap/1/vote/0/{rank}") is None:
            time.sleep(0.01)
    ranks[1].ranks.step()
    started = time.monotonic()
    ranks[1].ranks.step()
    assert PATIENCE <= time.monotonic() - started < PATIENCE + 5
    assert not leader.settle("swap/1", Outcome("")).commit  # a leader that comes back finds it ended
    for _ in range(3):
        ranks[2].ranks.step()
    assert [one.policy for one in ranks] == ["first"] * 3
    assert "rank 1 was at step 2" in (ranks[2].ranks.status().failure or "")


def test_a_leader_whose_process_has_ended_is_not_waited_for(group: Group) -> None:
    ranks = group(timeout=1800.0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as process:
        ranks[1].board._watched[0] = Watched({**own(), "pid": process.pid, "started": processes._started(process.pid)})
        assert not ranks[1].board.ended(0)
        candidate = ranks[0].engine.prepare(policy("second").origin, ranks[0].engine.today())  # type: ignore[arg-type]
        ranks[0].board.post("swap/1/proposal", proposal_of(candidate))
        process.communicate("")
    while ranks[1].ranks.status().failure is None:
        time.sleep(0.01)
    assert "the process of rank 0, which leads, has ended" in (ranks[1].ranks.status().failure or "")
    assert ranks[1].policy == "first"


def test_a_process_elsewhere_is_not_judged() -> None:
    assert not Watched({}).ended
    assert not Watched({**own(), "machine": "another", "pid": 2**22 + 1}).ended
    assert Watched({**own(), "pid": 2**22 + 1}).ended
    assert Watched({**own(), "started": "1"}).ended  # the number is another process's by now


def test_where_the_store_is_gone_a_promised_step_raises_again_and_again(group: Group) -> None:
    ranks = group(timeout=30.0)
    swapping = ranks[1].ranks._swapping
    swapping.closed.set()
    swapping.steps.arm(Swap(1, ranks[1].engine.prepare(policy("second").origin)), 1)  # type: ignore[arg-type]
    ranks[1].board._store = Gone()
    for step in (1, 2):
        with pytest.raises(RanksError, match=f"not known whether the ranks swapped at step {step}.*Connection reset"):
            ranks[1].ranks.step()
    ranks[1].board._store = ranks[0].board._store
    assert ranks[1].policy == "first"


class Gone:
    """The store of a process that is dead."""

    def __getattr__(self, name: str) -> Any:
        raise dist.DistNetworkError("Connection reset by peer")


def test_a_breaker_that_opened_before_the_step_stays_open_after_it(group: Group) -> None:
    ranks = group()
    at = ranks[0].ranks.swap(policy("second"))
    opened = {"fast.one": "3 failures in a row"}
    ranks[1].engine.change(lambda inputs: replace(inputs, open_breakers=opened))
    for _ in range(at):
        ranks[1].ranks.step()
    assert ranks[1].policy == "second"
    until = time.monotonic() + 10
    while not ranks[1].engine.current().environment.open_breakers and time.monotonic() < until:
        time.sleep(0.01)
    assert (ranks[1].policy, ranks[1].engine.status().open_breakers) == ("second", opened)


def test_what_a_rank_found_out_is_said_and_keeps_no_policy_away(group: Group, caplog: pytest.LogCaptureFixture) -> None:
    ranks = group()
    ranks[1].engine.change(lambda inputs: replace(inputs, open_breakers={"fast.one": "3 failures in a row"}))
    with caplog.at_level(logging.WARNING, "layerzero"):
        ranks[0].ranks.swap(policy("second"))
    assert "breaker of `fast.one`: not so on rank 0, open on rank 1" in caplog.text


def test_another_file_on_one_rank_is_named_on_all(group: Group) -> None:
    ranks = group(agreed=False)
    found = together(ranks, lambda one: one.ranks.configure(policy("mine" if one.board.rank else "ours")))
    for error in found:
        assert re.search(r"policy: `ours` \(\w+\) on rank 0, `mine` \(\w+\) on rank 1", str(error))
        assert "file mine.lzp: " in str(error)
    assert [one.policy for one in ranks] == [ranks[0].policy] * 2 != ["mine"] * 2


def test_decisions_that_differ_are_named(group: Group) -> None:
    ranks = group(agreed=False)
    for one in ranks:
        call = PlannedCall((8,), {"size": 8, "device": "cpu", "rank": one.board.rank}, None, None, False, None)
        one.warmth.plans["work"] = Plan("work", (call,), policy("first").snapshot.identity, "")
    found = together(ranks, lambda one: one.ranks.configure(policy("first", "deny fast.one when rank == 1")))
    for error in found:
        assert "decision for work (8,)" in str(error)
        assert "fast.one on rank 0, spare.one on rank 1" in str(error)


def test_a_rank_that_left_is_named_at_once(group: Group) -> None:
    ranks = group(size=3, timeout=60.0)
    ranks[2].ranks.close()
    with pytest.raises(RanksError, match="rank 2 left the group"):
        ranks[0].ranks.swap(policy("second"))


def test_a_swap_begins_on_the_leader_after_an_agreement(group: Group) -> None:
    ranks = group(agreed=False)
    with pytest.raises(ArgumentError, match="agreed on: call `configure`"):
        ranks[0].ranks.swap(policy("second"))
    with pytest.raises(ArgumentError, match="rank 0 leads this group"):
        ranks[1].ranks.swap(policy("second"))


def test_a_configure_between_two_steps_overrides_a_swap_that_waits(group: Group) -> None:
    ranks = group()
    at = ranks[0].ranks.swap(policy("second"))
    together(ranks, lambda one: one.ranks.configure(policy("third")))
    for one in ranks:
        for _ in range(at + 2):
            one.ranks.step()
        assert one.policy == "third"


def test_a_rule_ends_on_all_ranks_at_one_step_by_the_leaders_clock(group: Group) -> None:
    ranks = group(agreed=False)
    together(ranks, lambda one: one.ranks.configure(policy("first", "deny fast.one until 2027-01-01")))
    for one in reversed(ranks):  # midnight comes first to those that do not lead
        one.now = NOON + timedelta(hours=13)
        one.engine._wake()
        if one is ranks[1]:
            assert kernel(one) == "spare.one"
    until = time.monotonic() + 20
    while ranks[0].ranks.status().swaps == 0 and time.monotonic() < until:
        time.sleep(0.01)
    seen = [[(one.ranks.step(), kernel(one)) for _ in range(4)] for one in ranks]
    assert seen[0] == seen[1]
    assert [name for _, name in seen[0]] == ["spare.one", "fast.one", "fast.one", "fast.one"]


def kernel(one: Rank) -> str | None:
    return one.engine.current().decide(Scope("work"), {"size": 1, "device": "cpu"}).kernel


def test_joining_wants_torch_distributed_to_be_initialised() -> None:
    import layerzero as lz

    with pytest.raises(ArgumentError, match="call `init_process_group` before"):
        lz.join_ranks()

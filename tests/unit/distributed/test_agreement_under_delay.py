"""What all of it promises: no two ranks run a step under two policies, however late the store answers each of them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import pytest

from layerzero.check.expressions import Value
from layerzero.distributed import swapping
from layerzero.distributed.agreement import Agreement
from layerzero.distributed.board import Board
from layerzero.distributed.report import Report
from layerzero.distributed.swapping import Swapping
from layerzero.errors import RanksError
from layerzero.runtime.cached import Cached
from layerzero.runtime.engine import Candidate, Engine
from layerzero.runtime.policy import Policy
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.environment import Environment

dist = pytest.importorskip("torch.distributed")

RANKS, SWAPS = 3, 6


class Bare:
    """A machine with nothing installed."""

    def environment(self, vocabulary: Vocabulary, today: date) -> Environment:
        return Environment(today=today)

    def devices(self) -> Sequence[Mapping[str, Value]]:
        return ()


class Late:
    """A store whose every answer may take its time."""

    def __init__(self, store: Any, chance: random.Random) -> None:
        self._store, self._chance = store, chance

    def __getattr__(self, name: str) -> Any:
        act = getattr(self._store, name)

        def late(*args: Any) -> Any:
            found = act(*args)
            if self._chance.random() < 0.1:
                time.sleep(self._chance.uniform(0, 0.04))  # a loop has the patience for half of that
            return found

        return late


class Rank:
    """A loop, and what its steps were run under."""

    def __init__(self, store: Any, rank: int, chance: random.Random) -> None:
        self.engine = Engine(Bare(), builder=Cached())
        self.engine.configure(Policy.from_text('policy "p0" standalone'))
        self.board = Board(store, rank, range(RANKS))
        self.board._store = Late(self.board._store, chance)
        self.swapping = Swapping(self.engine, Agreement(self.board, 10.0), self.report)
        self.log: list[str] = []
        self.ended = threading.Event()
        self.pace = chance.uniform(0.004, 0.008)

    def report(self, candidate: Candidate) -> Report:
        return {"digest": "", "facts": {}, "state": {}, "decisions": {}}

    def loop(self) -> None:
        while not self.ended.is_set():
            self.swapping.step()
            self.log.append(self.engine.current().identity.name)
            time.sleep(self.pace)


@pytest.fixture
def store() -> Iterator[Any]:
    yield dist.TCPStore("127.0.0.1", 0, 1, True, timedelta(seconds=10))


@pytest.mark.stress
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_step_has_one_policy(seed: int, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swapping, "PATIENCE", 0.03)
    monkeypatch.setattr(swapping, "_IDLE", 0.005)
    ranks = [Rank(store, rank, random.Random(f"{seed} {rank}")) for rank in range(RANKS)]
    threads = [threading.Thread(target=one.loop) for one in ranks]
    threads += [threading.Thread(target=one.swapping.follow) for one in ranks[1:]]
    for thread in threads:
        thread.start()
    for number in range(1, SWAPS + 1):
        text = Policy.from_text(f'policy "p{number}" standalone')
        assert text.origin is not None
        with suppress(RanksError):  # ended by a loop that lost its patience, which is half of the point
            ranks[0].swapping.lead(ranks[0].engine.prepare(text.origin, ranks[0].engine.today()))
    time.sleep(0.2)
    for one in ranks:
        one.swapping.closed.set()
        one.ended.set()
    for thread in threads:
        thread.join(20)
    for step, policies in enumerate(zip(*(one.log for one in ranks), strict=False), 1):
        assert len(set(policies)) == 1, f"step {step} of seed {seed}"
    assert len(set(ranks[0].log)) > 1

"""The store of a process group -> what ranks tell each other: small JSON texts under names, each written once.

No operation waits for another rank; those who wait look again. So one connection serves all threads of a rank, and the
loop is never behind a thread that waits.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from layerzero.distributed.processes import Watched, own
from layerzero.errors import RanksError

Json = dict[str, Any]

PAUSE = 0.005  # seconds between two looks for something that is about to come
_ANSWER = timedelta(seconds=5)  # for one operation of the store


class Board:
    """What the ranks of one group have said.

    Attributes:
        rank: Of this process, in the whole world.
        ranks: Of the group, the leader first.
    """

    def __init__(self, store: Any, rank: int, ranks: Sequence[int]) -> None:
        self.rank = rank
        self.ranks = tuple(ranks)
        with _answering():
            self._store = store.clone()  # a connection of our own: the group's may be waiting for something
            self._store.set_timeout(_ANSWER)
            # Who joins a group again begins a board of its own, as all others do who join it again.
            self._prefix = f"layerzero/{self._store.add(f'layerzero/joined/{rank}', 1)}/"
        self._watched: dict[int, Watched] = {}
        self.post(f"process/{rank}", own())

    @property
    def leads(self) -> bool:
        return self.rank == self.ranks[0]

    def post(self, key: str, data: Json) -> None:
        """Say something to all."""
        packed = base64.b85encode(zlib.compress(json.dumps(data).encode()))  # a policy of 10 000 rules fits
        with _answering():
            self._store.set(self._prefix + key, packed.decode())

    def read(self, key: str) -> Json | None:
        """What was said, None where nothing was yet."""
        with _answering():
            if not self._store.check([self._prefix + key]):
                return None
            found: Json = json.loads(zlib.decompress(base64.b85decode(self._store.get(self._prefix + key))))
            return found

    def settle(self, key: str, proposal: Json) -> Json:
        """Decide something once for all: the first proposal holds, and everybody gets that one."""
        with _answering():
            found: Json = json.loads(self._store.compare_set(self._prefix + key, "", json.dumps(proposal)))
            return found

    def settled(self, key: str) -> Json | None:
        """What was decided, None where nothing is yet."""
        with _answering():
            if not self._store.check([self._prefix + key]):
                return None
            found: Json = json.loads(self._store.get(self._prefix + key))
            return found

    def gather(self, key: str, seconds: float) -> tuple[Mapping[int, Json], str]:
        """What each rank said under `key`, and in words who said nothing: in time, or because it has left or ended;
        nobody waits for others then."""
        found: dict[int, Json] = {}
        until = time.monotonic() + seconds
        while True:
            missing = [rank for rank in self.ranks if rank not in found]
            for rank in missing:
                said = self.read(f"{key}/{rank}")
                if said is None:
                    break  # ranks are about equally fast: one look at a time while the first is not there
                found[rank] = said
            else:
                return found, ""
            late = time.monotonic() > until
            if late or self.read(f"left/{missing[0]}") is not None or any(map(self.ended, missing)):
                rest = ((rank, self.read(f"{key}/{rank}")) for rank in missing)
                found |= {rank: said for rank, said in rest if said is not None}
                return found, self._silent([rank for rank in missing if rank not in found], seconds)
            time.sleep(PAUSE)

    def _silent(self, missing: Sequence[int], seconds: float) -> str:
        left = [rank for rank in missing if self.read(f"left/{rank}") is not None]
        ended = [rank for rank in missing if rank not in left and self.ended(rank)]
        parts = [f"{spelt(left)} left the group"] if left else []
        parts += [f"the process of {spelt([rank])} has ended" for rank in ended]
        if missing and not parts:  # else nobody waited for the others so long
            parts.append(f"{spelt(missing)} did not answer within {seconds:g} s")
        return "; ".join(parts)

    def ended(self, rank: int) -> bool:
        """Whether the process of a rank is known to have ended; one on another machine is only missed."""
        if rank not in self._watched:
            told = self.read(f"process/{rank}")
            if told is None:  # it has not joined yet
                return False
            self._watched[rank] = Watched(told)
        return self._watched[rank].ended

    def leave(self) -> None:
        """Nobody needs to wait for this rank any more."""
        self.post(f"left/{self.rank}", {})

    def forget(self, keys: Iterable[str]) -> None:
        """Take away what nobody reads any more."""
        with _answering():
            for key in keys:
                self._store.delete_key(self._prefix + key)


def spelt(ranks: Sequence[int]) -> str:
    """`rank 2`; `ranks 0, 1, 3`"""
    return f"rank{'' if len(ranks) == 1 else 's'} {', '.join(map(str, sorted(ranks)))}"


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of torch: the process that holds the store is gone, or does not answer
        raise RanksError(f"the store of the process group does not answer: {str(error).splitlines()[0]}") from error

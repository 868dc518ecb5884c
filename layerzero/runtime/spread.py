"""One function over many items, on a Ray cluster: the results in the order of the items, whatever happens to workers.

A call whose worker dies (killed, out of memory, its machine gone) is made again on another one. So a function has to
give the same when it is called twice, and what it reads (files) has to be there on every machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from typing import Any, TypeVar

from layerzero.errors import LayerZeroError, MissingDependencyError

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Found = TypeVar("Found")

ATTEMPTS = 4
_QUEUED = 2  # calls for each that runs


class WorkersLostError(LayerZeroError):
    """Every attempt at one item ended its worker."""


class Board:
    """A word for each topic, which every worker can write and the program reads; it outlives the workers."""

    def __init__(self, ray: Any, words: Any) -> None:
        self._ray, self._words = ray, words

    def put(self, topic: str, word: str | None) -> None:
        """Written when this returns."""
        self._ray.get(self._words.put.remote(topic, word))

    def get(self, topic: str) -> str | None:
        found: str | None = self._ray.get(self._words.get.remote(topic))
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _board, (self._words,)


def _board(words: Any) -> Board:
    import ray

    return Board(ray, words)


class _Words:
    def __init__(self) -> None:
        self._words: dict[str, str | None] = {}

    def put(self, topic: str, word: str | None) -> None:
        self._words[topic] = word

    def get(self, topic: str) -> str | None:
        return self._words.get(topic)


class Cluster:
    """A Ray cluster to spread calls over; `with Cluster("local") as cluster: ...` leaves it at the end.

    Args:
        address: "local" starts one here for as long as it is needed; "auto" or HOST:PORT joins one that runs.

    Raises:
        MissingDependencyError: ray is not installed.
        LayerZeroError: There is no such cluster.
    """

    def __init__(self, address: str = "local") -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError("`--ray` needs ray: pip install 'layerzero[large]'") from error
        self._ray = ray
        os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of calls that were given up with the first error
        self._joined = ray.is_initialized()  # by the program: it stays
        if self._joined:
            return
        own = {"include_dashboard": False} if address == "local" else {}
        try:
            ray.init(address, log_to_driver=False, logging_level="error", **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise LayerZeroError(f"no Ray cluster at `{address}`: {error}") from error

    def __enter__(self) -> Cluster:
        self._said = redirect_stdout(sys.stderr)  # Ray tells of dead workers on standard output
        self._said.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if not self._joined:
            self._ray.shutdown()
        self._said.__exit__(*error)

    @property
    def workers(self) -> int:
        """How many calls of one CPU run at once."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def one_a_machine(self) -> float:
        """The CPUs that a call has to ask for to be alone on its machine, of the smallest that is there."""
        return float(min(node["Resources"].get("CPU", 1.0) for node in self._ray.nodes() if node["Alive"]))

    def board(self) -> Board:
        """A new board."""
        return Board(self._ray, self._ray.remote(_Words).options(num_cpus=0).remote())

    def spread(
        self,
        function: Callable[[Shared, Item], Found],
        shared: Shared,
        items: Iterable[Item],
        needs: Mapping[str, float] | None = None,
        lost: Callable[[Item], Item] = lambda item: item,
    ) -> Iterator[Found]:
        """`function(shared, item)` for each item.

        Args:
            shared: What all calls need, sent to each machine once.
            needs: What a call takes of a machine: `{"num_cpus": 1, "num_gpus": 1}`.
            lost: Asked, when a worker has died, what to try in the item's place; another item has all its attempts.

        Raises:
            WorkersLostError: ATTEMPTS workers died over one item.
            Exception: What the function raised.
        """
        ray = self._ray
        remote = ray.remote(function).options(max_retries=0, scheduling_strategy="SPREAD", **(needs or {"num_cpus": 1}))
        kept = ray.put(shared)
        waiting = enumerate(items)
        running: dict[Any, tuple[int, Item, int]] = {}
        done: dict[int, Found] = {}
        told = 0

        def start(place: int, item: Item, attempt: int) -> None:
            running[remote.remote(kept, item)] = (place, item, attempt)

        while True:
            # What is done and cannot be told yet counts too, so that one slow item does not let results pile up.
            while len(running) + len(done) < _QUEUED * self.workers and (one := next(waiting, None)) is not None:
                start(*one, 1)
            if not running:
                return
            [ready], _ = ray.wait(list(running))
            place, item, attempt = running.pop(ready)
            try:
                done[place] = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error  # what the function raised
            except ray.exceptions.RayError as error:  # the worker, its machine or what it held is gone
                if attempt == ATTEMPTS:
                    raise WorkersLostError(f"{ATTEMPTS} workers died over `{item}`: {error}") from error
                other = lost(item)
                start(place, other, attempt + 1 if other == item else 1)
            while told in done:
                yield done.pop(told)
                told += 1

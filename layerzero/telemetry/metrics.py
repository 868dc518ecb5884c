"""What happened -> families of numbers with labels, for whichever system shows them.

Labels are names that policies declare (operations, kernels, experiments, arms) and a few fixed words; nothing that a
request brings becomes one. Their text is shown without control characters.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from layerzero.runtime.record import Called
from layerzero.runtime.snapshot import Snapshot
from layerzero.syntax.visible import visible
from layerzero.telemetry.counting import MOST_KEYS, OTHER, Counting, Row, Table
from layerzero.telemetry.feed import FEED, Deciding, Feed

_BREAKER = {"closed": 0.0, "half_open": 1.0, "open": 2.0}
_LONGEST = 200

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """`layerzero_decisions_total{operation,kernel,degraded}`; counters are named without `_total`."""

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    samples: tuple[tuple[Labels, float | Row], ...]


class Metrics:
    """Counts what the dispatchers of a feed do. Making one switches it on; `close` switches it off."""

    def __init__(self, feed: Feed = FEED) -> None:
        self._counting = Counting()
        self._lock = threading.Lock()
        self._swaps = self._failures = 0
        self._states: dict[tuple[str, str], str] = {}  # kernel, device -> the state of its breaker
        self._moves: Counter[tuple[str, str, str]] = Counter()
        self._attached: list[Deciding] = []
        self._undo: list[Callable[[], None]] = []
        self._feed = feed
        feed.listen(self)

    def attach(self, deciding: Deciding) -> None:
        """See feed.Listener."""
        with self._lock:
            self._attached.append(deciding)
            self._states.update(dict.fromkeys(map(_kernel_and_device, deciding.breakers.open), "open"))
        deciding.dispatcher.add_sink(self.called)
        self._undo.append(lambda: deciding.dispatcher.remove_sink(self.called))
        self._hear(deciding.engine.listeners, self.swapped)
        self._hear(getattr(deciding.engine, "failure_listeners", None), self.failed)
        self._hear(deciding.breakers.listeners, self.moved)

    def close(self) -> None:
        """Count no more; what was counted stays."""
        self._feed.leave(self)
        while self._undo:
            self._undo.pop()()

    def _hear(self, listeners: list[Any] | None, listener: Callable[..., None]) -> None:
        if listeners is not None:
            listeners.append(listener)
            self._undo.append(lambda: listeners.remove(listener))

    # ------------------------------------------------------------ what happens

    def called(self, called: Called) -> None:
        """A dispatcher's sink."""
        decision, seconds = called.decision, called.seconds
        operation, kernel = decision.scope.operation, decision.kernel
        if kernel is None:
            self._counting.count(("error", operation, decision.error or ""), 0.0)
            failed = True
        else:
            failed = called.error is not None
            how = "failed" if failed else "degraded" if decision.degraded else "served"
            degraded = "true" if decision.degraded else "false"
            self._counting.count(("call", operation, kernel, how, degraded), seconds)
        for experiment, arm in decision.arms.items():
            self._counting.count(("arm", experiment, arm, "failed" if failed else "served"), seconds)

    def swapped(self, snapshot: Snapshot) -> None:
        """An engine's listener."""
        with self._lock:
            self._swaps += 1

    def failed(self, *_: object) -> None:
        """Told of each policy that could not be loaded."""
        with self._lock:
            self._failures += 1

    def moved(self, name: str, state: str) -> None:
        """A listener of breakers."""
        key = _kernel_and_device(name)
        with self._lock:
            if key not in self._states and len(self._states) >= MOST_KEYS:
                key = (OTHER, "")
            self._states[key] = state
            self._moves[*key, state] += 1

    # ------------------------------------------------------------ numbers

    def families(self) -> Iterator[Family]:
        """All numbers, as of now."""
        totals = self._counting.totals()
        yield from _calls(totals)
        yield from _arms(totals)
        with self._lock:
            swaps, failures, states, moves = self._swaps, self._failures, dict(self._states), Counter(self._moves)
            attached = list(self._attached)
        yield _family("swaps", "Snapshots put in force.", "counter", (), [((), swaps)])
        yield _family(
            "load_failures", "Policies that could not be loaded or published.", "counter", (), [((), failures)]
        )
        yield _family(
            "breaker_state",
            "Of a kernel that has failed: 0 closed, 1 half open, 2 open.",
            "gauge",
            ("kernel", "device"),
            ((key, _BREAKER.get(state, 0.0)) for key, state in states.items()),
        )
        yield _family(
            "breaker_changes", "Changes of breakers.", "counter", ("kernel", "device", "state"), moves.items()
        )
        yield from _status(attached)


def _kernel_and_device(name: str) -> tuple[str, str]:
    """`fast.one on cuda` -> its two labels."""
    kernel, _, device = name.partition(" on ")
    return kernel, device


def _calls(totals: Table) -> Iterator[Family]:
    decisions: Counter[Labels] = Counter()
    degraded: Counter[Labels] = Counter()
    failed: Counter[Labels] = Counter()
    errors: Counter[Labels] = Counter()
    seconds: dict[Labels, Row] = {}
    for key, row in totals.items():
        if key[0] == "error":
            errors[key[1:]] += len(row)
        elif key[0] == "call":
            _, operation, kernel, how, fallen = key
            decisions[operation, kernel, fallen] += len(row)
            seconds.setdefault((operation, kernel), Row()).add(row)
            if how == "failed":
                failed[operation, kernel] += len(row)
            if fallen == "true":
                degraded[operation, kernel] += len(row)
    words = ("operation", "kernel")
    yield _family("decisions", "Calls by the kernel chosen.", "counter", (*words, "degraded"), decisions.items())
    yield _family("degradations", "Calls served by a fallback or after a failure.", "counter", words, degraded.items())
    yield _family("decision_errors", "Calls without a kernel.", "counter", ("operation", "error"), errors.items())
    yield _family("kernel_failures", "Calls in which the kernel raised.", "counter", words, failed.items())
    yield _family("kernel_seconds", "Time in the kernel's function on the host.", "histogram", words, seconds.items())


def _arms(totals: Table) -> Iterator[Family]:
    calls: Counter[Labels] = Counter()
    errors: Counter[Labels] = Counter()
    seconds: dict[Labels, Row] = {}
    for key, row in totals.items():
        if key[0] == "arm":
            calls[key[1:3]] += len(row)
            errors[key[1:3]] += len(row) if key[3] == "failed" else 0
            seconds.setdefault(key[1:3], Row()).add(row)
    words = ("experiment", "arm")
    yield _family("arm_calls", "Kernel calls in an arm.", "counter", words, calls.items())
    yield _family("arm_call_errors", "Kernel calls in an arm that failed.", "counter", words, errors.items())
    yield _family("arm_call_seconds", "Kernel calls in an arm, host time.", "histogram", words, seconds.items())


def _status(attached: Iterable[Deciding]) -> Iterator[Family]:
    """What is read when somebody looks: the policy in force, pins, drops, and how requests went."""
    infos, epochs, pins, requests, errors, latencies, stopped = [], [], [], [], [], [], []
    dropped = 0
    for deciding in attached:
        status = deciding.engine.status()
        infos.append(((status.policy, status.version or "", status.digest, status.environment), 1.0))
        epochs.append(((status.digest,), float(status.epoch)))
        pins.append(((status.digest,), float(sum(status.pinned_epochs.values()))))
        dropped += deciding.dropped()
        for one in deciding.arms():
            arm = (one.experiment, one.arm)
            requests.append((arm, one.requests))
            errors.append((arm, one.errors))
            latencies.append((arm, one.latency_ms_sum / 1000))
            stopped.append((arm, float(one.stopped)))
    names, words = ("policy", "version", "digest", "environment"), ("experiment", "arm")
    yield _family("policy_info", "The policy in force.", "gauge", names, infos)
    yield _family("epoch", "The epoch in force.", "gauge", ("digest",), epochs)
    yield _family("older_pins", "Pins that hold an older epoch.", "gauge", ("digest",), pins)
    yield _family("log_dropped_records", "Records that decision logs lost.", "counter", (), [((), dropped)])
    yield _family("arm_requests", "Requests in an arm.", "counter", words, requests)
    yield _family("arm_request_errors", "Requests in an arm that failed.", "counter", words, errors)
    yield _family("arm_request_seconds", "Time that an arm's requests took in all.", "counter", words, latencies)
    yield _family("arm_stopped", "Whether a guard has ended the arm.", "gauge", words, stopped)


def _family(
    name: str,
    help: str,
    kind: Literal["counter", "gauge", "histogram"],
    labels: Labels,
    samples: Iterable[tuple[Labels, Any]],
) -> Family:
    """Samples whose labels are shown alike are added up (gauges: the last counts); past the bound, under `(other)`."""
    found: dict[Labels, Any] = {}
    for words, value in samples:
        shown = tuple(visible(word)[:_LONGEST] for word in words)
        if shown not in found and len(found) >= MOST_KEYS:
            shown = tuple(OTHER for _ in words)
        if isinstance(value, Row):
            found.setdefault(shown, Row()).add(value)
        else:
            found[shown] = float(value) + (found.get(shown, 0.0) if kind == "counter" else 0.0)
    return Family(f"layerzero_{name}", help, kind, labels, tuple(sorted(found.items(), key=lambda item: item[0])))

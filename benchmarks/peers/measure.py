"""Functions and their inputs -> p50 and p99 of one call each, all in turn round by round in one run.

Each call is timed by itself, by the wall and by the process's own CPU time, and the smaller counts; the clock's own
cost is taken off. The wall alone would charge a call for the time in which other processes ran: on a busy machine that
multiplies the long calls and leaves the short ones alone. CPU time alone is too coarse for the short ones. Nothing that
is measured here waits for anything, and CPU time holds all threads of the process.

A busy machine still slows all by sharing caches, so ratios within one run can be compared, not times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns, process_time_ns
from typing import Any

ENOUGH_FOR_P99 = 300


@dataclass(frozen=True, slots=True)
class Case:
    """`function(one)` is timed for the inputs in turn, at most so many of them a round."""

    function: Callable[[Any], object]
    inputs: Sequence[Any]
    a_round: int | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Nanoseconds of one call, the clock's cost taken off; p99 is None where too few were timed to tell it."""

    p50: float
    p99: float | None
    calls: int


def measure(cases: Mapping[str, Case], rounds: int = 10, seconds_a_round: float = 0.15) -> dict[str, Timing]:
    """Time every case in every round: its inputs once, or as many as fit into the time."""
    samples: dict[str, list[int]] = {name: [] for name in cases}
    position = dict.fromkeys(cases, 0)
    clock: list[int] = []
    for _ in range(rounds):
        clock.extend(_clock_alone(200))
        for name, case in cases.items():
            start = position[name]
            inputs = [*case.inputs[start:], *case.inputs[:start]][: case.a_round]
            taken = _time(case.function, inputs, int(seconds_a_round * 1e9))
            samples[name].extend(taken)
            position[name] = (start + len(taken)) % len(case.inputs)
    cost = _quantile(clock, 0.5)
    return {name: _timing(found, cost) for name, found in samples.items()}


def _time(function: Callable[[Any], object], inputs: Sequence[Any], budget_ns: int) -> list[int]:
    now, cpu = perf_counter_ns, process_time_ns
    taken: list[int] = []
    end = now() + budget_ns
    for one in inputs:
        cpu_started = cpu()
        started = now()
        function(one)
        ended = now()
        cpu_ended = cpu()
        taken.append(min(ended - started, cpu_ended - cpu_started))
        if ended > end:
            break
    return taken


def _clock_alone(times: int) -> list[int]:
    now, cpu = perf_counter_ns, process_time_ns
    taken = []
    for _ in range(times):
        cpu_started = cpu()
        started = now()
        ended = now()
        cpu_ended = cpu()
        taken.append(min(ended - started, cpu_ended - cpu_started))
    return taken


@contextmanager
def stopwatch() -> Iterator[Callable[[], int]]:
    """Nanoseconds since its start, by the same rule: `with stopwatch() as elapsed: ...; elapsed()`"""
    cpu_started, started = process_time_ns(), perf_counter_ns()
    yield lambda: min(perf_counter_ns() - started, process_time_ns() - cpu_started)


def _timing(samples: list[int], cost: float) -> Timing:
    p99 = max(_quantile(samples, 0.99) - cost, 1.0) if len(samples) >= ENOUGH_FOR_P99 else None
    return Timing(max(_quantile(samples, 0.5) - cost, 1.0), p99, len(samples))


def _quantile(samples: list[int], share: float) -> float:
    return float(sorted(samples)[min(len(samples) - 1, int(share * len(samples)))])

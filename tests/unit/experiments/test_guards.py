"""How often guards stop falsely, and how soon rightly: benchmarks/experiments.py in small, with fixed seeds."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from layerzero.check.program import Guard
from layerzero.experiments.guards import GuardTest, _kept, spell, value
from layerzero.experiments.tally import Tally, Units
from layerzero.syntax.source import Source, Span

SPAN = Span(Source("", ""), 0, 0)
ONE_PERCENT = Guard("error_rate", "<", 0.01, False, span=SPAN)


@pytest.fixture(scope="module")
def simulation(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_experiments", root / "benchmarks" / "experiments.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def feed(test: GuardTest, tally: Tally, errors: list[bool]) -> int | None:
    """The number of the request that ends the arm."""
    for number, error in enumerate(errors, start=1):
        tally.requests.add(error, False, False)
        if test.broken(tally, Tally(), news=error):
            return number
    return None


@pytest.mark.slow
def test_of_a_thousand_runs_without_a_difference_at_most_five_percent_stop(simulation: ModuleType) -> None:
    # Errors at the very bound and heavy-tailed latencies: the tour's two guards together.
    question = simulation.QUESTIONS[0]
    assert question.same and question.error == 0.01
    answer = simulation.ask(question, runs=1000, requests=400)
    assert answer.stopped <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 7))
def test_other_guards_keep_the_level_too(simulation: ModuleType, number: int) -> None:
    question = simulation.QUESTIONS[number]
    assert question.same
    assert simulation.ask(question, runs=60, requests=500).stopped <= 0.05


def test_ten_percent_errors_are_stopped_within_a_hundred_requests(simulation: ModuleType) -> None:
    by_name = {question.name: question for question in simulation.QUESTIONS}
    alone = simulation.ask(by_name["10 % errors, one guard"], runs=200, requests=2000)
    assert alone.stopped == 1.0
    assert alone.median <= 40 and alone.within_100 >= 0.95
    tour = simulation.ask(by_name["10 % errors, the tour's guards"], runs=200, requests=2000)
    assert tour.stopped == 1.0
    assert tour.median <= 50 and tour.within_100 >= 0.93


def test_every_tenth_request_that_fails_ends_the_arm_at_the_fourth(simulation: ModuleType) -> None:
    tally = Tally()
    test = GuardTest(ONE_PERCENT, 0.025, tally, Tally())
    assert feed(test, tally, [number % 10 == 9 for number in range(100)]) in (30, 40)
    assert test.state == 1.0


def test_a_slow_arm_is_stopped_and_an_equal_one_is_not(simulation: ModuleType) -> None:
    by_name = {question.name: question for question in simulation.QUESTIONS}
    slow = simulation.ask(by_name["1.3 times as slow, steady latencies"], runs=10, requests=1500)
    assert slow.stopped == 1.0
    mean = simulation.ask(by_name["twice as slow, mean"], runs=10, requests=1500)
    assert mean.stopped == 1.0


def test_an_arm_that_fails_after_many_good_requests_is_found_soon() -> None:
    tally = Tally()
    test = GuardTest(ONE_PERCENT, 0.05, tally, Tally())
    assert feed(test, tally, [False] * 50_000) is None
    found = feed(test, tally, [number % 10 == 9 for number in range(1000)])
    # From the whole count alone it would take more than 500 failures.
    assert found is not None and found <= 250


def test_what_a_guard_keeps_is_bounded() -> None:
    tally = Tally()
    test = GuardTest(Guard("p95_latency", "<", 50.0, False, span=SPAN), 0.05, tally, Tally())
    for _ in range(200_000):
        tally.requests.add(False, False, False)
        tally.latencies.add(10.0)
        assert not test.broken(tally, Tally())
    ((_, watch),) = test._watches
    assert len(watch.starts) <= 40
    assert watch.starts[0].block == 0
    assert all(_kept(block, block) for block in range(1000))


def test_a_test_that_restarts_forgets() -> None:
    tally = Tally()
    test = GuardTest(ONE_PERCENT, 0.05, tally, Tally())
    assert feed(test, tally, [True] * 20) is not None
    test.restart(tally, Tally())
    assert test.state == 0.0
    assert feed(test, tally, [False] * 1000) is None
    assert feed(test, tally, [True] * 10) is not None


def test_two_failures_alone_end_no_arm() -> None:
    tally = Tally()
    assert feed(GuardTest(ONE_PERCENT, 0.05, tally, Tally()), tally, [True] * 10) == 3
    tally = Tally()
    never = replace(ONE_PERCENT, limit=0.0)
    assert feed(GuardTest(never, 0.05, tally, Tally()), tally, [False, True]) == 2  # not one may fail


def test_a_guard_from_below() -> None:
    tally = Tally()
    test = GuardTest(replace(ONE_PERCENT, metric="nan_rate", operator=">", limit=0.5), 0.05, tally, Tally())
    assert feed(test, tally, [False] * 100) is None  # asked only with news
    assert test.broken(tally, Tally(), news=True)


def test_spelling_and_value() -> None:
    tally = Tally()
    assert value(ONE_PERCENT, tally) is None
    tally.calls.add(True, False, False)
    assert value(ONE_PERCENT, tally) == 1.0  # no requests: calls
    tally.requests.add(False, False, False)
    assert value(ONE_PERCENT, tally) == 0.0
    tally.add_latency(10.0)
    p95 = Guard("p95_latency", "<", 1.1, True, span=SPAN)
    assert value(p95, tally) == pytest.approx(10.0, rel=0.005)
    assert spell(p95) == "p95_latency < 1.1 * control"
    assert spell(ONE_PERCENT) == "error_rate < 1%"
    assert spell(Guard("mean_latency", "<=", 20.0, False, span=SPAN)) == "mean_latency <= 20"


def test_units_are_sampled_evenly_in_bounded_memory() -> None:
    units = Units(most=1000)
    for number in range(40_000):
        units.add(f"u{number}", "b" if number % 4 == 0 else "a")
    counts = units.by_arm()
    assert sum(counts.values()) <= 1000
    assert sum(counts.values()) / units.share == pytest.approx(40_000, rel=0.2)
    assert counts["b"] / sum(counts.values()) == pytest.approx(0.25, abs=0.06)
    units = Units()
    for _ in range(10):
        units.add(7, "a")  # one unit, however often
    assert units.by_arm() == {"a": 1}

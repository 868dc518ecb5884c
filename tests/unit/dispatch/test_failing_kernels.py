"""A kernel that raises: the call goes on where it can, and the breaker takes the kernel out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from layerzero.errors import ArgumentError, NoKernelError


def broken(size: int) -> Any:
    raise RuntimeError(f"bad size {size}")


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 10 s"
        time.sleep(0.005)


def test_the_call_goes_on_with_the_next_kernel(bench: Any) -> None:
    bench.kernel("fast.one", broken)
    assert bench.call() == "fast.two"


def test_the_record_says_what_failed_and_is_degraded(bench: Any) -> None:
    bench.kernel("fast.one", broken)
    records: list[Any] = []
    bench.dispatcher.sinks = (records.append,)
    bench.call()
    assert [(record.kernel, record.degraded, record.error is None) for record in records] == [
        ("fast.one", False, False),
        ("fast.two", True, True),
    ]
    assert records[1].decision.recovered_from == ("fast.one",)
    assert "fast.one" in records[1].decision.proof.rejected


def test_the_last_failure_is_raised_when_nothing_is_left(bench: Any) -> None:
    for name in ("fast.one", "fast.two", "spare.one"):
        bench.kernel(name, broken)
    with pytest.raises(RuntimeError, match="bad size 7") as caught:
        bench.call(7)
    assert any("spare.one" in note for note in caught.value.__notes__)


def test_wrong_arguments_are_the_callers_fault_and_count_nothing(bench: Any) -> None:
    def refuse(size: int) -> None:
        raise ArgumentError("argument `size`: wanted less")

    bench.kernel("fast.one", refuse)
    for _ in range(5):
        with pytest.raises(ArgumentError):
            bench.call()
    assert dict(bench.breakers.open) == {}


def test_a_denied_kernel_is_not_used_after_a_failure_either(bench: Any) -> None:
    bench.configure("deny {fast.two, spare.one}")
    bench.kernel("fast.one", broken)
    with pytest.raises(RuntimeError):
        bench.call()


def test_failures_in_a_row_open_the_breaker_and_an_epoch_says_so(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    bench.kernel("fast.one", broken)
    epoch = bench.engine.current().epoch
    with caplog.at_level(logging.ERROR, logger="layerzero"):
        for _ in range(3):
            bench.call()
    assert "fast.one" in bench.breakers.open
    assert "breaker of `fast.one` opened" in caplog.text
    wait_until(lambda: bench.engine.current().epoch > epoch)
    assert "fast.one" in bench.engine.current().environment.open_breakers
    assert bench.engine.status().open_breakers["fast.one"].startswith("3 failures in a row on cpu")


def test_an_open_breaker_stops_calls_before_its_epoch_is_out(bench: Any) -> None:
    calls = []

    def count(size: int) -> Any:
        calls.append(size)
        return broken(size)

    bench.kernel("fast.one", count)
    with bench.engine.pin():  # an old snapshot, in which the kernel is still feasible
        assert [bench.call() for _ in range(6)] == ["fast.two"] * 6
    assert len(calls) == 3


def test_a_success_forgets_earlier_failures(bench: Any) -> None:
    outcomes = iter([broken, broken, lambda size: "ok", broken, broken, lambda size: "ok"])
    bench.kernel("fast.one", lambda size: next(outcomes)(size))
    assert [bench.call() for _ in range(6)] == ["fast.two", "fast.two", "ok"] * 2
    assert dict(bench.breakers.open) == {}


def test_after_the_cool_down_exactly_one_call_tries_and_success_closes(bench: Any) -> None:
    bench.kernel("fast.one", broken)
    for _ in range(3):
        bench.call()
    tried = []
    bench.kernel("fast.one", lambda size: tried.append(size) or "fast.one again")
    bench.clock.now = 11.0
    bench.engine.change(lambda inputs: inputs)
    with bench.engine.pin(bench.engine.current()):
        pass
    bench.breakers._wanted.put(None)  # the publisher looks at the clock when it wakes
    wait_until(lambda: "fast.one" not in bench.engine.current().environment.open_breakers)
    assert bench.breakers.may_try("fast.one", "cpu")
    assert not bench.breakers.may_try("fast.one", "cpu")
    assert bench.call() == "fast.two"  # somebody else is trying
    bench.breakers.succeeded("fast.one", "cpu")
    assert bench.call() == "fast.one again"
    assert dict(bench.breakers.open) == {}


def test_a_failing_trial_opens_it_again(bench: Any) -> None:
    bench.kernel("fast.one", broken)
    for _ in range(3):
        bench.call()
    bench.clock.now = 11.0
    bench.breakers._wanted.put(None)
    wait_until(lambda: "fast.one" not in bench.engine.current().environment.open_breakers)
    assert bench.call() == "fast.two"
    assert "4 failures" in bench.breakers.open["fast.one"]
    assert not bench.breakers.may_try("fast.one", "cpu")


def test_no_kernel_carries_the_decision(bench: Any) -> None:
    bench.configure("deny *")
    with pytest.raises(NoKernelError, match="denied") as caught:
        bench.call()
    assert caught.value.decision.kernel is None

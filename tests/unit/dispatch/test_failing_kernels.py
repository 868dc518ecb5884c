"""A kernel that raises: the call goes on where it can, and the breaker takes the kernel out."""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from layerzero.check.program import Scope
from layerzero.compiler.compile import compile_operation
from layerzero.compiler.form import Form
from layerzero.compiler.matcher import build
from layerzero.errors import ArgumentError, NoKernelError
from layerzero.operations.call import Call
from layerzero.runtime.breakers import BreakerSettings
from layerzero.runtime.policy import Policy
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.interpret import decide
from layerzero.syntax.source import Source


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


def test_inputs_that_no_kernel_can_serve_take_no_kernel_from_others(bench: Any) -> None:
    def refuses_seven(size: int) -> Any:
        return broken(size) if size == 7 else "served"

    for name in ("fast.one", "fast.two", "spare.one"):
        bench.kernel(name, refuses_seven)
    for _ in range(5):
        with pytest.raises(RuntimeError, match="bad size 7"):
            bench.call(7)
    assert bench.call(1) == "served"
    assert dict(bench.breakers.open) == {}


def test_a_failure_after_which_no_other_may_be_asked_counts(bench: Any) -> None:
    bench.kernel("fast.one", broken)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            bench.dispatcher.call(Call("work", {"size": 1, "device": "cpu", "graph_capture": True}, (1,), {}))
    assert set(bench.breakers.open) == {"fast.one on cpu"}


def test_a_trial_on_inputs_that_nothing_serves_leaves_the_next_call_to_try(bench: Any) -> None:
    half_open(bench)
    for name in ("fast.one", "fast.two", "spare.one"):
        bench.kernel(name, broken)
    with pytest.raises(RuntimeError):
        bench.call()
    bench.kernel("fast.one", lambda size: "fast.one again")
    assert bench.call() == "fast.one again"
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
    assert "fast.one on cpu" in bench.breakers.open
    assert "breaker of `fast.one on cpu` opened" in caplog.text
    wait_until(lambda: bench.engine.current().epoch > epoch)
    assert "fast.one on cpu" in bench.engine.current().environment.open_breakers
    assert bench.engine.status().open_breakers["fast.one on cpu"].startswith("3 failures in a row on cpu")


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
    bench.breakers._wanted.put(None)  # the publisher looks at the clock when it wakes
    wait_until(lambda: "fast.one on cpu" not in bench.engine.current().environment.open_breakers)
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
    wait_until(lambda: "fast.one on cpu" not in bench.engine.current().environment.open_breakers)
    assert bench.call() == "fast.two"
    assert "4 failures" in bench.breakers.open["fast.one on cpu"]
    assert not bench.breakers.may_try("fast.one", "cpu")


def half_open(bench: Any, device: str = "cpu") -> None:
    """Open the breaker of `fast.one` and let its cool-down pass, with the epoch that makes it feasible again."""
    bench.kernel("fast.one", broken)
    for _ in range(3):
        bench.call(device=device)
    bench.clock.now += 11.0
    bench.breakers._wanted.put(None)
    wait_until(lambda: not bench.engine.current().environment.open_breakers)


def test_of_many_threads_exactly_one_call_tries(bench: Any) -> None:
    half_open(bench)
    tried, leave = [], threading.Event()

    def waiting(size: int) -> str:
        tried.append(size)
        assert leave.wait(10)
        return "fast.one again"

    bench.kernel("fast.one", waiting)
    answers: list[str] = []
    threads = [threading.Thread(target=lambda: answers.append(bench.call())) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answers) == 7)
    leave.set()
    for thread in threads:
        thread.join(10)
    assert len(tried) == 1
    assert sorted(answers) == ["fast.one again", *["fast.two"] * 7]
    assert dict(bench.breakers.open) == {}


def test_a_question_is_not_the_call_that_tries(bench: Any) -> None:
    half_open(bench)
    for _ in range(3):
        assert bench.dispatcher.decide(*bench.asked()).kernel == "fast.two"
    bench.kernel("fast.one", lambda size: "fast.one again")
    assert bench.call() == "fast.one again"


def test_a_trial_that_says_nothing_leaves_the_next_call_to_try(bench: Any) -> None:
    half_open(bench)

    def refuse(size: int) -> None:
        raise ArgumentError("argument `size`: wanted less")

    def interrupted(size: int) -> None:
        raise KeyboardInterrupt

    for function, error in ((refuse, ArgumentError), (interrupted, KeyboardInterrupt)):
        bench.kernel("fast.one", function)
        with pytest.raises(error):
            bench.call()
    bench.kernel("fast.one", lambda size: "fast.one again")
    assert bench.call() == "fast.one again"
    assert dict(bench.breakers.open) == {}


def test_a_trial_that_never_ends_blocks_no_other_for_ever(bench: Any) -> None:
    half_open(bench)
    thread = threading.Thread(target=lambda: bench.breakers.may_try("fast.one", "cpu"))  # and its call hangs
    thread.start()
    thread.join()
    bench.kernel("fast.one", lambda size: "fast.one again")
    assert bench.call() == "fast.two"
    bench.clock.now += 11.0
    assert bench.call() == "fast.one again"


def test_a_call_that_began_before_does_not_close_it(bench: Any) -> None:
    bench.kernel("fast.one", broken)
    for _ in range(3):
        bench.call()
    bench.breakers.succeeded("fast.one", "cpu")
    assert "fast.one on cpu" in bench.breakers.open


def test_a_breaker_belongs_to_one_device(bench: Any) -> None:
    def only_on_cuda(size: int) -> str:
        return str(broken(size)) if bench.device == "cuda" else "fast.one"

    def call(device: str) -> Any:
        bench.device = device
        return bench.call(device=device)

    bench.kernel("fast.one", only_on_cuda)
    assert [call("cuda") for _ in range(3)] == ["fast.two"] * 3
    for _ in range(2):  # before the epoch is out, decided around it, and after, compiled
        assert call("cuda") == "fast.two"
        assert call("cpu") == "fast.one"
        wait_until(lambda: "fast.one on cuda" in bench.engine.current().environment.open_breakers)
    assert set(bench.breakers.open) == {"fast.one on cuda"}
    decision = bench.dispatcher.decide(Scope("work"), {"size": 1, "device": "cuda"})
    assert [reason.kind for reason in decision.proof.rejected["fast.one"]] == ["breaker"]


def test_the_compiled_form_bars_a_device_that_is_not_fixed(bench: Any) -> None:
    policy = Policy.from_text('policy "small" standalone\n', catalogs=[Source("small_catalog.lzp", bench.words)])
    environment = replace(policy.environment, open_breakers={"fast.one on cuda": "it failed"})
    compiled = Snapshot(policy.snapshot.vocabulary, environment, policy.program)
    for device, kernel in (("cuda", "fast.two"), ("cpu", "fast.one")):
        values = {"size": 1, "device": device}
        assert compiled.decide(Scope("work"), values, {}).kernel == kernel
        assert decide(policy.program, environment, Scope("work"), values, {}).kernel == kernel
    form = compile_operation(policy.program, environment, {}, policy.program.operations["work"])
    matcher = build(Form("", "", {}, {"work": form}))
    assert matcher.decide("work", {"size": 1, "device": "cuda"}, {}).kernel == "fast.two"
    assert matcher.decide("work", {"size": 1, "device": "cpu"}, {}).kernel == "fast.one"


# ---------------------------------------------------------------- NaN


NAN = float("nan")


def test_nan_is_not_looked_for_unless_asked(bench: Any) -> None:
    bench.kernel("fast.one", lambda size: NAN)
    assert [bench.call() != bench.call() for _ in range(3)] == [True] * 3
    assert dict(bench.breakers.open) == {}


def test_nan_where_the_reference_has_none_is_a_failure(bench: Any) -> None:
    bench.dispatcher.configure_breakers(BreakerSettings(failures=3, cool_down=10.0, nan_rate=1.0))
    bench.kernel("fast.one", lambda size: (1.0, [NAN]))
    records: list[Any] = []
    bench.dispatcher.sinks = (records.append,)
    assert [bench.call() for _ in range(3)] == ["fast.two"] * 3
    assert "`fast.one` returned NaN where `spare.one` has none" in bench.breakers.open["fast.one on cpu"]
    assert "it returned NaN in this call" in str(records[1].decision.explain())


def test_nan_that_the_reference_has_too_is_the_result(bench: Any) -> None:
    bench.dispatcher.configure_breakers(BreakerSettings(nan_rate=1.0))
    bench.kernel("fast.one", lambda size: NAN)
    bench.kernel("spare.one", lambda size: NAN)
    result = bench.call()
    assert result != result
    assert dict(bench.breakers.open) == {}


def test_a_reference_that_fails_says_nothing(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    bench.dispatcher.configure_breakers(BreakerSettings(nan_rate=1.0))
    bench.kernel("fast.one", lambda size: NAN)
    bench.kernel("spare.one", broken)
    assert bench.call() != 0.0
    assert "cannot say whether NaN is right" in caplog.text
    assert dict(bench.breakers.open) == {}


def test_a_share_of_the_results_is_looked_at(bench: Any) -> None:
    bench.dispatcher.configure_breakers(BreakerSettings(nan_rate=0.25))
    looked: list[int] = []
    bench.kernel("fast.one", lambda size: NAN)
    bench.kernel("spare.one", lambda size: looked.append(size) or NAN)
    for _ in range(40):
        bench.call()
    assert len(looked) == 10


@pytest.mark.parametrize(
    "wrong", [{"failures": 0}, {"failures": 1.5}, {"cool_down": -1}, {"nan_rate": 2}, {"nan_rate": NAN}]
)
def test_settings_outside_their_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        BreakerSettings(**wrong)


def test_no_kernel_carries_the_decision(bench: Any) -> None:
    bench.configure("deny *")
    with pytest.raises(NoKernelError, match="denied") as caught:
        bench.call()
    assert caught.value.decision.kernel is None


def test_no_kernel_goes_to_another_process_with_its_trace(bench: Any) -> None:
    bench.configure("deny *")
    with pytest.raises(NoKernelError) as caught:
        bench.call()
    arrived = pickle.loads(pickle.dumps(caught.value))
    assert type(arrived) is NoKernelError
    assert "denied" in str(arrived) and str(arrived) == str(caught.value)

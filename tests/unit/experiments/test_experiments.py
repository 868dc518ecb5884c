"""Enrolment, outcomes and stops, from the calls of a program to the decisions that follow."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from layerzero.errors import ArgumentError, ContextError
from layerzero.experiments import service
from layerzero.experiments.trial import Stop
from layerzero.runtime import ambient
from layerzero.semantics.experiments import bucket

TRIAL = "experiment trial on tenant { arm control 50%  arm other 50% { boost new.one by 10 }  guard error_rate < 1% }"
Bench = Any  # of conftest.py


def totals(bench: Bench, arm: str = "other") -> service.ArmTotals:
    return next(one for one in bench.experiments.totals() if one.arm == arm)


# ---------------------------------------------------------------- enrolment


def test_an_arm_is_sticky_and_in_the_decision(bench: Bench) -> None:
    for arm, kernel in (("control", "good.one"), ("other", "new.one")):
        for tenant in bench.tenants(arm, 5):
            with ambient.context({"tenant": tenant}):
                assert [bench.call() for _ in range(3)] == [kernel] * 3
            decision = bench.decide(tenant)
            assert decision.arms == {"trial": arm}
            assert decision.kernel == kernel


def test_the_arm_is_computed_once_for_all_decisions_inside(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    enrol = type(bench.engine.current()).enrol
    monkeypatch.setattr(
        type(bench.engine.current()), "enrol", lambda self, values: asked.append(1) or enrol(self, values)
    )
    with bench.experiments.request({"tenant": "a"}):
        for _ in range(10):
            bench.call()
    assert len(asked) == 1


def test_a_growing_share_moves_nobody_who_is_in(bench: Bench) -> None:
    def arms(share: str) -> dict[str, str]:
        bench.configure(TRIAL.replace("on tenant", f"on tenant share {share}"))
        snapshot = bench.engine.current()
        found = {name: snapshot.enrol({"tenant": name}).get("trial") for name in names}
        return {name: arm for name, arm in found.items() if arm is not None}

    names = [f"t{number}" for number in range(3000)]
    before: dict[str, str] = {}
    for share in ("0%", "0.01%", "1%", "5%", "20%", "50%", "100%"):
        now = arms(share)
        assert before.items() <= now.items()
        before = now
    assert len(before) == len(names)


def test_a_ramp_keeps_what_was_counted(bench: Bench) -> None:
    bench.configure(TRIAL.replace("on tenant", "on tenant share 50%"))
    enrolled = [name for name in bench.tenants("other", 40) if bucket("trial", "share", name) < 5000]
    for tenant in enrolled:
        bench.experiments.outcome({"tenant": tenant})
    bench.configure(TRIAL)
    assert totals(bench).requests == len(enrolled) > 0


def test_an_arm_cut_differently_begins_anew(bench: Bench) -> None:
    bench.experiments.outcome({"tenant": bench.tenants("other", 1)[0]})
    assert totals(bench).requests == 1
    bench.configure(TRIAL.replace("arm control 50%  arm other 50%", "arm control 60%  arm other 40%"))
    assert totals(bench).requests == 0


def test_without_the_key_outside_the_share_and_in_an_empty_arm_nobody_counts(bench: Bench) -> None:
    bench.configure(
        "experiment trial on tenant share 10% { arm control 100%  arm other 0% { boost new.one by 10 } "
        "guard error_rate < 1% }"
    )
    assert bench.call() == "good.one"
    with bench.experiments.request({"size": 3}) as keyless:
        assert keyless.arms == {}
    outside = next(f"t{n}" for n in range(1000) if bucket("trial", "share", f"t{n}") >= 1000)
    assert bench.experiments.outcome({"tenant": outside}, error=True) == {}
    assert {one.requests for one in bench.experiments.totals()} == {0}
    inside = [f"t{n}" for n in range(2000) if bucket("trial", "share", f"t{n}") < 1000]
    assert {arm for tenant in inside for arm in bench.experiments.outcome({"tenant": tenant}).values()} == {"control"}
    assert totals(bench, "control").requests == len(inside)


def test_a_key_that_the_call_itself_gives_enrols_inside_a_context_too(bench: Bench) -> None:
    bench.configure(
        "experiment by_size on size { arm control 50%  arm other 50% { boost new.one by 10 } guard error_rate < 1% }"
    )
    sizes = {
        arm: next(n for n in range(1000) if (bucket("by_size", "arm", str(n)) < 5000) == (arm == "control"))
        for arm in ("control", "other")
    }
    with ambient.context({"tenant": "somebody"}):
        assert bench.call(sizes["other"]) == "new.one"
        assert bench.call(sizes["control"]) == "good.one"


# ---------------------------------------------------------------- outcomes


def test_a_request_counts_its_latency_and_no_error(bench: Bench) -> None:
    with bench.experiments.request({"tenant": bench.tenants("other", 1)[0]}) as request:
        assert request.arms == {"trial": "other"}
        time.sleep(0.01)
    counted = totals(bench)
    assert (counted.requests, counted.errors) == (1, 0)
    assert 10.0 <= counted.latency_ms_sum < 2000.0


def test_an_exception_that_leaves_a_request_is_an_error(bench: Bench) -> None:
    with pytest.raises(KeyError):
        with bench.experiments.request({"tenant": bench.tenants("other", 1)[0]}):
            raise KeyError("x")
    assert totals(bench).errors == 1
    assert ambient.here() is None


def test_a_cancelled_request_does_not_count(bench: Bench) -> None:
    with pytest.raises(asyncio.CancelledError):
        with bench.experiments.request({"tenant": bench.tenants("other", 1)[0]}):
            raise asyncio.CancelledError
    assert totals(bench).requests == 0


def test_what_the_program_says_of_a_request_wins(bench: Bench) -> None:
    tenant = bench.tenants("other", 1)[0]
    with bench.experiments.request({"tenant": tenant}) as request:
        request.outcome(latency_ms=7.0, error=True, nan=True, tokens=128, accepted=0.5)
    counted = totals(bench)
    assert (counted.errors, counted.latency_ms_sum) == (1, 7.0)
    tally = bench.experiments.read(lambda trials, _: trials["trial"].tallies["other"])
    assert tally.requests.nan == 1
    assert {name: seen.mean for name, seen in tally.metrics.items()} == {"tokens": 128.0, "accepted": 0.5}


def test_a_kernel_that_raises_counts_by_itself(bench: Bench) -> None:
    def broken(size: int) -> str:
        raise RuntimeError("no")

    bench.kernel("new.one", broken)
    tenant = bench.tenants("other", 1)[0]
    with ambient.context({"tenant": tenant}):
        assert bench.call() == "good.one"  # went on with another kernel
        assert bench.call() == "good.one"
    counted = totals(bench)
    assert (counted.calls, counted.call_errors, counted.call_degraded, counted.requests) == (2, 2, 2, 0)
    with bench.experiments.request({"tenant": tenant}):
        assert bench.call() == "good.one"
        assert bench.call() == "good.one"
    counted = totals(bench)
    assert (counted.requests, counted.errors, counted.degraded) == (1, 1, 1)  # one request, however many calls
    assert counted.calls == 2


def test_good_calls_outside_of_requests_count_too(bench: Bench) -> None:
    with ambient.context({"tenant": bench.tenants("other", 1)[0]}):
        for _ in range(5):
            bench.call()
    counted = totals(bench)
    assert (counted.calls, counted.call_errors) == (5, 0)


def test_failing_kernels_alone_stop_an_arm(bench: Bench) -> None:
    def broken(size: int) -> str:
        raise RuntimeError("no")

    bench.kernel("new.one", broken)
    for tenant in bench.tenants("other", 20):
        with ambient.context({"tenant": tenant}):
            bench.call()
    assert bench.stopped == (("trial", "other"),)


def test_an_outcome_enrols_as_the_request_did(bench: Bench) -> None:
    tenant = bench.tenants("other", 1)[0]
    assert bench.experiments.outcome({"tenant": tenant}, latency_ms=3.0, error=True) == {"trial": "other"}
    with ambient.context({"tenant": tenant}):
        assert bench.experiments.outcome({}, latency_ms=5.0) == {"trial": "other"}
    counted = totals(bench)
    assert (counted.requests, counted.errors, counted.latency_ms_sum) == (2, 1, 8.0)


@pytest.mark.parametrize("latency", [-1.0, float("nan"), float("inf"), "3", True])
def test_a_latency_that_is_none_is_refused(bench: Bench, latency: Any) -> None:
    with pytest.raises(ArgumentError, match="latency_ms"):
        bench.experiments.outcome({"tenant": "a"}, latency_ms=latency)


def test_an_outcome_without_a_request_is_refused(bench: Bench) -> None:
    with pytest.raises(ArgumentError, match="request_id"):
        bench.experiments.outcome({}, error=True)
    with pytest.raises(ContextError):
        bench.experiments.outcome({"size": "many"})
    with pytest.raises(ContextError):
        with bench.experiments.request({"size": "many"}):
            raise AssertionError("not reached")
    assert ambient.here() is None


def test_nothing_is_lost_between_threads(bench: Bench) -> None:
    tenants = bench.tenants("control", 50)

    def serve() -> None:
        for turn in range(1000):
            with bench.experiments.request({"tenant": tenants[turn % 50]}) as request:
                request.outcome(latency_ms=1.0, error=turn % 10 == 0)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = totals(bench, "control")
    assert (counted.requests, counted.errors, counted.latency_ms_sum) == (4000, 400, pytest.approx(4000.0))


def test_a_failing_arm_is_ended_while_threads_serve(bench: Bench) -> None:
    def flaky(size: int) -> str:
        if random.random() < 0.3:
            raise RuntimeError("no")
        return "new.one"

    bench.kernel("new.one", flaky)
    tenants = bench.tenants("other", 50) + bench.tenants("control", 50)
    served: list[tuple[int, str]] = []
    problems: list[BaseException] = []
    ended = threading.Event()

    def serve(own: int) -> None:
        rng = random.Random(own)
        try:
            while not ended.is_set():
                tenant = rng.choice(tenants)
                with bench.experiments.request({"tenant": tenant}):
                    kernel = bench.call()
                    decided = bench.decide(tenant)
                served.append((decided.epoch, "control" if tenant in tenants[50:] else "other"))
                assert kernel in ("good.one", "new.one")
                time.sleep(0.0005)
        except BaseException as problem:  # noqa: BLE001 - a failure of a thread is one of the test
            problems.append(problem)

    threads = [threading.Thread(target=serve, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 30.0
    while not bench.engine.status().stopped_arms and time.monotonic() < until:
        time.sleep(0.01)
    stopped = bench.engine.status().stopped_arms
    time.sleep(0.1)
    ended.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert stopped == (("trial", "other"),)
    tally = bench.experiments.read(lambda trials, _: trials["trial"].tallies["other"])
    before = sum(arm == "other" and epoch == served[0][0] for epoch, arm in served)
    assert tally.requests.total == before  # to the last request that began before the stop
    assert tally.requests.total + tally.after_stop == sum(arm == "other" for _, arm in served)
    assert totals(bench, "control").requests == sum(arm == "control" for _, arm in served)


def test_a_full_queue_drops_and_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_MOST_WAITING", 10)
    monkeypatch.setattr(bench.experiments, "_start", lambda: None)
    tenant = bench.tenants("control", 1)[0]
    for _ in range(25):
        bench.experiments.outcome({"tenant": tenant})
    assert totals(bench, "control").requests == 10
    assert bench.experiments.dropped == 15


def test_a_policy_without_experiments_costs_calls_nothing(bench: Bench) -> None:
    assert bench.dispatcher.sinks
    bench.configure("")
    assert bench.dispatcher.sinks == ()
    bench.configure(TRIAL)
    assert len(bench.dispatcher.sinks) == 1


def test_experiments_of_a_scoped_policy_count_too(bench: Bench) -> None:
    policy = bench.policy(TRIAL.replace("trial", "scoped"))
    bench.configure("")

    def broken(size: int) -> str:
        raise RuntimeError("no")

    bench.kernel("new.one", broken)
    with bench.engine.using(policy):
        for tenant in bench.tenants("other", 20, "scoped"):
            with bench.experiments.request({"tenant": tenant}):
                bench.call()
        assert bench.stopped == (("scoped", "other"),)
        with bench.experiments.request({"tenant": tenant}) as request:
            assert bench.call() == "good.one"
            assert request.arms == {"scoped": "control"}


def test_requests_of_asyncio_tasks_do_not_mix(bench: Bench) -> None:
    names = {arm: bench.tenants(arm, 20) for arm in ("control", "other")}

    async def serve(arm: str, tenant: str) -> None:
        with bench.experiments.request({"tenant": tenant}) as request:
            await asyncio.sleep(0.001)
            assert bench.call() == ("new.one" if arm == "other" else "good.one")
            assert request.arms == {"trial": arm}

    async def serve_all() -> None:
        await asyncio.gather(*(serve(arm, tenant) for arm, tenants in names.items() for tenant in tenants))

    asyncio.run(serve_all())
    assert totals(bench, "control").requests == totals(bench).requests == 20


# ---------------------------------------------------------------- stops


def test_a_stopped_arm_goes_on_as_control_and_everybody_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Stop] = []
    bench.experiments.listeners.append(told.append)
    epoch = bench.engine.status().epoch
    with caplog.at_level(logging.WARNING, logger="layerzero"):
        bench.fail()
    assert bench.stopped == (("trial", "other"),)
    assert bench.engine.status().epoch == epoch + 1
    tenant = bench.tenants("other", 40)[-1]
    decision = bench.decide(tenant)
    assert (decision.arms, decision.kernel) == ({"trial": "control"}, "good.one")
    assert "arm `other` of `trial` was stopped by guard error_rate < 1%, seen 100% after " in str(decision.explain())
    assert "the call goes on as control" in decision.explain().why
    assert "stopped" not in str(bench.decide(bench.tenants("control", 1)[0]).explain())
    assert [(stop.experiment, stop.arm, stop.guard) for stop in told] == [("trial", "other", "error_rate < 1%")]
    assert told[0].requests <= 5
    assert "arm `other` of `trial` was stopped by guard error_rate < 1%" in caplog.text


def test_the_thread_stops_an_arm_by_itself(bench: Bench) -> None:
    for tenant in bench.tenants("other", 30):
        bench.experiments.outcome({"tenant": tenant}, error=True)
    until = time.monotonic() + 20.0
    while not bench.engine.status().stopped_arms and time.monotonic() < until:
        time.sleep(0.01)
    assert bench.engine.status().stopped_arms == (("trial", "other"),)


def test_a_request_keeps_its_arm_to_its_end(bench: Bench) -> None:
    tenant = bench.tenants("other", 40)[-1]
    with bench.experiments.request({"tenant": tenant}) as request:
        bench.fail()
        assert bench.call() == "new.one"
        assert request.arms == {"trial": "other"}
    with bench.experiments.request({"tenant": tenant}) as request:
        assert bench.call() == "good.one"
        assert request.arms == {"trial": "control"}


def test_control_is_never_stopped(bench: Bench) -> None:
    bench.fail("control", 200)
    assert bench.stopped == ()


def test_requests_after_a_stop_do_not_count_for_control(bench: Bench) -> None:
    bench.fail()
    before = totals(bench).requests
    for tenant in bench.tenants("other", 7):
        with bench.experiments.request({"tenant": tenant}):
            bench.call()
        with ambient.context({"tenant": tenant}):
            bench.call()
    assert totals(bench, "control").requests == 0
    assert totals(bench).requests == before
    assert bench.experiments.read(lambda trials, _: trials["trial"].tallies["other"].after_stop) == 7


def test_without_a_control_arm_a_stopped_arm_enrols_nobody(bench: Bench) -> None:
    bench.configure(
        "experiment trial on tenant { arm a 50% arm other 50% { boost new.one by 10 } guard error_rate < 1% }"
    )
    bench.fail()
    decision = bench.decide(bench.tenants("other", 1)[0])
    assert (dict(decision.arms), decision.kernel) == ({}, "good.one")
    assert "goes on as one that is not enrolled" in str(decision.explain())


def test_a_stop_outlives_a_reload_of_the_same_experiment(bench: Bench) -> None:
    bench.fail()
    for text in (
        TRIAL + " boost spare.one by 2",
        TRIAL.replace("on tenant", "on tenant share 60%"),
        TRIAL.replace("< 1%", "< 90%"),
        "",
        TRIAL,
    ):
        bench.configure(text)
        assert bench.stopped == (("trial", "other"),)


@pytest.mark.parametrize(
    "text",
    [
        TRIAL.replace("on tenant", 'on tenant salt "again"'),
        TRIAL.replace("arm other 50%", "arm other 40% { boost new.one by 10 } arm third 10%"),
    ],
    ids=["another salt", "another arm"],
)
def test_an_experiment_drawn_anew_is_no_longer_stopped(bench: Bench, text: str) -> None:
    bench.fail()
    bench.configure(text)
    assert bench.stopped == ()


def test_a_renamed_experiment_is_not_stopped(bench: Bench) -> None:
    bench.fail()
    bench.configure(TRIAL.replace("trial", "retrial"))
    assert bench.engine.current().enrol({"tenant": bench.tenants("other", 1, "retrial")[0]}) == {"retrial": "other"}


def test_an_arm_that_is_resumed_serves_and_is_watched_again(bench: Bench) -> None:
    bench.fail()
    bench.experiments.resume("trial.other")
    assert bench.stopped == ()
    assert bench.decide(bench.tenants("other", 1)[0]).kernel == "new.one"
    for tenant in bench.tenants("other", 50):
        bench.experiments.outcome({"tenant": tenant})
    assert bench.stopped == ()
    bench.fail()
    assert bench.stopped == (("trial", "other"),)
    with pytest.raises(ArgumentError, match="`trial.control` is not stopped; stopped: `trial.other`"):
        bench.experiments.resume("trial.control")


def test_ten_percent_errors_stop_the_arm_within_a_hundred_requests(bench: Bench) -> None:
    rng = random.Random(1)
    for tenant in bench.tenants("other", 100):
        bench.experiments.outcome({"tenant": tenant}, latency_ms=5.0, error=rng.random() < 0.1)
    assert bench.stopped == (("trial", "other"),)


def test_a_slow_arm_is_stopped(bench: Bench) -> None:
    bench.configure(TRIAL.replace("error_rate < 1%", "p95_latency < 1.10 * control"))
    rng = random.Random(1)
    names = [(arm, name) for arm in ("control", "other") for name in bench.tenants(arm, 400)]
    rng.shuffle(names)
    for arm, name in names:
        latency = rng.lognormvariate(2.0, 0.5) * (3.0 if arm == "other" else 1.0)
        bench.experiments.outcome({"tenant": name}, latency_ms=latency)
    assert bench.stopped == (("trial", "other"),)


@pytest.mark.parametrize("metric", ["degraded_rate < 5%", "nan_rate < 1%", "mean_latency < 20", "p99_latency < 40"])
def test_each_metric_can_stop_an_arm(bench: Bench, metric: str) -> None:
    bench.configure(TRIAL.replace("error_rate < 1%", metric))
    for tenant in bench.tenants("other", 120):
        with bench.experiments.request({"tenant": tenant}) as request:
            request.outcome(latency_ms=60.0, nan=True)
            request.saw(failed=False, degraded=True)
    assert bench.stopped == (("trial", "other"),)


def test_guards_that_change_begin_anew(bench: Bench) -> None:
    for tenant in bench.tenants("other", 1000):
        bench.experiments.outcome({"tenant": tenant}, error=tenant.endswith("3"))
    bench.configure(TRIAL.replace("< 1%", "< 50%"))
    assert bench.stopped == (("trial", "other"),)
    bench.experiments.resume("trial.other")
    tests = bench.experiments.read(lambda trials, _: trials["trial"].tests["other"])
    assert [test.guard.limit for test in tests] == [0.5]
    assert bench.stopped == ()


def test_an_epoch_that_cannot_be_published_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    change = bench.engine.change
    monkeypatch.setattr(bench.experiments, "_start", lambda: None)

    def failing(of: Callable[..., Any]) -> Any:
        raise OSError("no room")

    monkeypatch.setattr(bench.engine, "change", failing)
    with pytest.raises(OSError):
        bench.fail()
    monkeypatch.setattr(bench.engine, "change", change)
    assert bench.stopped == (("trial", "other"),)


def test_an_older_epoch_heard_late_changes_nothing(bench: Bench) -> None:
    old = bench.engine.current()
    bench.configure(TRIAL.replace("< 1%", "< 50%"))
    bench.experiments.published(old)
    tests = bench.experiments.read(lambda trials, _: trials["trial"].tests["other"])
    assert [test.guard.limit for test in tests] == [0.5]


def test_trials_of_the_past_are_bounded(bench: Bench) -> None:
    many = [TRIAL.replace("trial", f"trial{number}") for number in range(70)]
    bench.configure("\n".join(many))  # all of a policy's experiments count, however many
    assert len({one.experiment for one in bench.experiments.totals()}) >= 70
    for turn in range(3):
        bench.configure(TRIAL.replace("trial", f"later{turn}"))
    assert len({one.experiment for one in bench.experiments.totals()}) <= 71
    assert "later2" in {one.experiment for one in bench.experiments.totals()}


# ---------------------------------------------------------------- the thread


def test_the_thread_ends_when_nothing_happens_and_comes_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_IDLE", 0.05)
    tenant = bench.tenants("control", 1)[0]
    for turn in range(1, 4):
        bench.experiments.outcome({"tenant": tenant})
        until = time.monotonic() + 20.0
        while bench.experiments._thread is not None and time.monotonic() < until:
            time.sleep(0.01)
        assert bench.experiments._thread is None
        counted = bench.experiments.read(lambda trials, _: trials["trial"].tallies["control"].requests.total)
        assert counted == turn


@pytest.mark.skipif(not hasattr(os, "fork"), reason="never: the platform has no fork")
def test_a_forked_process_counts_on_its_own(bench: Bench) -> None:
    tenants = bench.tenants("other", 30)
    bench.experiments.outcome({"tenant": tenants[0]})
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for tenant in tenants:
                bench.experiments.outcome({"tenant": tenant}, error=True)
            until = time.monotonic() + 20.0
            while not bench.engine.status().stopped_arms and time.monotonic() < until:
                time.sleep(0.01)
            code = 0 if bench.engine.status().stopped_arms else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bench.stopped == ()


def test_outcomes_do_not_keep_old_snapshots(bench: Bench) -> None:
    with bench.experiments.request({"tenant": bench.tenants("other", 1)[0]}):
        pass
    old = weakref.ref(bench.engine.current())
    bench.configure(TRIAL + " boost spare.one by 2")
    bench.experiments.settle()
    until = time.monotonic() + 20.0
    while old() is not None and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    assert old() is None

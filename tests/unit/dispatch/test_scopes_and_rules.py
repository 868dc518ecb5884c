"""Pins, scoped policies, rules made by calls, fields around calls, epochs of the calendar."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from layerzero.errors import ArgumentError, ContextError, PolicyError
from layerzero.runtime import ambient
from layerzero.runtime.building import InProcess
from layerzero.runtime.engine import Engine
from layerzero.runtime.policy import Policy
from layerzero.runtime.rules import RuntimeRules
from layerzero.syntax.source import Source


def other(bench: Any, text: str) -> Policy:
    catalog = Source("small_catalog.lzp", bench.words)
    return Policy.from_text('policy "other" standalone\n' + text, name="other.lzp", catalogs=[catalog])


# ---------------------------------------------------------------- configure


def test_a_bad_policy_leaves_the_one_before_in_force(bench: Any, tmp_path: Path) -> None:
    before = bench.engine.current()
    (tmp_path / "bad.lzp").write_text('policy "bad" standalone\ndeny nothing.known')
    with pytest.raises(PolicyError, match="nothing.known"):
        bench.engine.configure(tmp_path / "bad.lzp")
    assert bench.engine.current() is before
    assert "nothing.known" in bench.engine.status().last_failure


def test_an_absent_file_says_so(bench: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.lzp"):
        bench.engine.configure(tmp_path / "none.lzp")


def test_each_publication_is_an_epoch_of_its_own(bench: Any) -> None:
    first = bench.engine.current().epoch
    bench.configure("deny fast.one")
    assert bench.engine.current().epoch == first + 1
    assert bench.call() == "fast.two"


# ---------------------------------------------------------------- pin


def test_a_pin_keeps_its_snapshot_through_swaps(bench: Any) -> None:
    with bench.engine.pin():
        bench.configure("deny fast.one")
        assert bench.call() == "fast.one"
        assert bench.engine.status().pinned_epochs == {bench.engine.status().epoch - 1: 1}
    assert bench.call() == "fast.two"
    assert bench.engine.status().pinned_epochs == {}


def test_a_pin_binds_its_own_thread_only(bench: Any) -> None:
    seen = []
    with bench.engine.pin():
        bench.configure("deny fast.one")
        thread = threading.Thread(target=lambda: seen.append(bench.call()))
        thread.start()
        thread.join()
    assert seen == ["fast.two"]


def test_a_pin_belongs_to_its_task(bench: Any) -> None:
    async def pinned() -> str:
        with bench.engine.pin():
            await asyncio.sleep(0.05)
            return str(bench.call())

    async def swapping() -> str:
        await asyncio.sleep(0.01)
        bench.configure("deny fast.one")
        return str(bench.call())

    async def both() -> list[str]:
        return await asyncio.gather(pinned(), swapping())

    assert asyncio.run(both()) == ["fast.one", "fast.two"]


def test_status_is_asked_while_threads_pin_and_let_go(bench: Any) -> None:
    over, failures = threading.Event(), list[BaseException]()

    def pin() -> None:
        while not over.is_set():
            with bench.engine.pin():
                pass

    def ask() -> None:
        try:
            while not over.is_set():
                bench.engine.status()
        except BaseException as error:  # noqa: BLE001 - the test fails by it
            failures.append(error)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=work) for work in (pin, pin, pin, ask, ask)]
    for thread in threads:
        thread.start()
    over.wait(0.5)
    over.set()
    for thread in threads:
        thread.join(10)
    sys.setswitchinterval(usual)
    assert failures == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_pin_that_is_never_left_counts_no_more_when_it_is_gone(bench: Any) -> None:
    held = bench.engine.pin()
    contextvars.copy_context().run(held.__enter__)
    bench.configure("deny fast.one")
    assert list(bench.engine.status().pinned_epochs.values()) == [1]
    del held
    gc.collect()
    assert bench.engine.status().pinned_epochs == {}


def test_old_snapshots_go_when_nobody_holds_them(bench: Any) -> None:
    kept = bench.dispatcher.decide(*bench.asked())
    gone = []
    for number in range(50):
        bench.configure(f"boost fast.two by {number}.5")
        gone.append(weakref.ref(bench.engine.current()))
    bench.configure("")
    gc.collect()
    assert sum(reference() is not None for reference in gone) == 0
    assert kept.explain().selected_kernel == "fast.one"


# ---------------------------------------------------------------- using


def test_using_decides_by_another_policy_here_and_nowhere_else(bench: Any) -> None:
    policy = other(bench, "deny fast.one")
    seen = []
    with bench.engine.using(policy):
        thread = threading.Thread(target=lambda: seen.append(bench.call()))
        thread.start()
        thread.join()
        assert bench.call() == "fast.two"
    assert seen == ["fast.one"]
    assert bench.call() == "fast.one"


def test_using_belongs_to_its_task_and_survives_what_is_put_in_force_beneath(bench: Any) -> None:
    async def served(text: str) -> list[Any]:
        with bench.engine.using(other(bench, text)):
            before = bench.call()
            await asyncio.sleep(0.02)
            return [before, bench.call()]

    async def changing() -> Any:
        await asyncio.sleep(0.01)
        bench.configure("lock spare.one for work")
        return bench.call()

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(served("deny fast.one"), served(""), changing())

    assert asyncio.run(all_of_them()) == [["fast.two", "fast.two"], ["fast.one", "fast.one"], "spare.one"]


def test_a_change_is_compiled_for_scoped_policies_before_it_is_in_force(bench: Any) -> None:
    compiled: list[int] = []

    class Builder(InProcess):
        def compile(self, *arguments: Any) -> Any:
            compiled.append(threading.get_ident())
            return super().compile(*arguments)

    bench.engine.builder = Builder()
    inside, swapped = threading.Event(), threading.Event()
    answers: list[Any] = []

    def serve() -> None:
        with bench.engine.using(other(bench, "boost fast.two by 9")):
            answers.append(bench.call())
            inside.set()
            assert swapped.wait(10)
            compiled.clear()
            answers.extend([bench.call(), bench.call()])

    thread = threading.Thread(target=serve)
    thread.start()
    assert inside.wait(10)
    bench.configure("")
    RuntimeRules(bench.engine).disabled("fast.two")
    swapped.set()
    thread.join(10)
    assert answers == ["fast.two", "fast.one", "fast.one"]
    assert compiled == [], "a serving thread compiled"


def test_scoped_policies_that_nobody_uses_any_more_are_let_go(bench: Any) -> None:
    with bench.engine.using(other(bench, "deny fast.one")):
        bench.call()
    gone = [weakref.ref(one.snapshot) for one in bench.engine._scoped.values()]
    for _ in range(10):
        bench.configure("")
    gc.collect()
    assert len(gone) == 1 and bench.engine._scoped == {} and gone[0]() is None


def test_a_rule_that_a_scoped_policy_cannot_have_is_refused_and_fails_nobody_else(bench: Any) -> None:
    words = 'policy "other" standalone\n' + bench.words.replace("fast.two", "slow.two")
    with bench.engine.using(Policy.from_text(words.replace('adapter "t:f"', ""), name="other.lzp")):
        with pytest.raises(PolicyError, match="fast.two"):
            RuntimeRules(bench.engine).lock("work", "fast.two")
        assert bench.engine.current().decide(*bench.asked()) is not None
    assert bench.call() == "fast.one"


def test_only_a_policy_can_be_scoped(bench: Any) -> None:
    with pytest.raises(ArgumentError, match=r"`policy`.*lz\.Policy\.load"), bench.engine.using("next.lzp"):
        pass


def test_rules_of_calls_stand_on_top_of_a_scoped_policy(bench: Any) -> None:
    rules = RuntimeRules(bench.engine)
    rules.lock("work", "spare.one")
    with bench.engine.using(other(bench, "deny fast.one")):
        assert bench.call() == "spare.one"
        rules.unlock("work")
        assert bench.call() == "fast.two"


# ---------------------------------------------------------------- rules made by calls


def test_a_lock_holds_until_unlocked_and_names_the_callers_line(bench: Any) -> None:
    rules = RuntimeRules(bench.engine)
    rules.lock("work", "fast.two")
    decision = bench.dispatcher.decide(*bench.asked())
    assert decision.kernel == "fast.two"
    assert Path(__file__).name in decision.locked_by[0]
    rules.unlock("work")
    assert bench.call() == "fast.one"


def test_a_second_lock_of_an_operation_replaces_the_first(bench: Any) -> None:
    rules = RuntimeRules(bench.engine)
    rules.lock("work", "fast.two")
    rules.lock("work", "spare.one")
    assert bench.call() == "spare.one"


def test_a_lock_never_wins_over_infeasibility(bench: Any) -> None:
    rules = RuntimeRules(bench.engine)
    rules.lock("work", "fast.two")
    with rules.disabled("fast.two"):
        decision = bench.dispatcher.decide(*bench.asked())
    assert decision.error == "lock_failed"


def test_run_time_rules_survive_a_new_policy(bench: Any) -> None:
    RuntimeRules(bench.engine).lock("work", "spare.one")
    bench.configure("lock fast.two for work priority 1000000")
    assert bench.call() == "spare.one"


def test_prefer_boosts_and_a_later_preference_replaces_it(bench: Any) -> None:
    rules = RuntimeRules(bench.engine)
    rules.prefer("fast.two", priority=100)
    assert bench.dispatcher.decide(*bench.asked()).score == 160.0
    rules.prefer("fast.two", priority=0)
    assert bench.call() == "fast.one"


def test_preferences_of_different_operations_stand_beside_each_other(bench: Any) -> None:
    bench.configure("extend work { view small when size < 100  view large when size >= 100 }")
    rules = RuntimeRules(bench.engine)
    rules.prefer("fast.two", priority=100, operation="work.small")
    rules.prefer("fast.two", priority=50, operation="work.large")
    rules.prefer("fast.two", priority=200, operation="work.small")
    assert bench.dispatcher.decide(*bench.asked(1)).score == 240.0
    assert bench.dispatcher.decide(*bench.asked(100)).score == 120.0


def test_disabled_is_undone_by_its_block_and_by_enable(bench: Any) -> None:
    rules = RuntimeRules(bench.engine)
    with rules.disabled("fast.one"):
        assert bench.call() == "fast.two"
    assert bench.call() == "fast.one"
    rules.disabled("fast.one")
    rules.enable("fast.one")
    assert bench.call() == "fast.one"


def test_the_end_of_one_block_leaves_anothers_rule(bench: Any) -> None:
    rules = RuntimeRules(bench.engine)
    outer = rules.disabled("fast.one")
    with rules.disabled("fast.one"):
        pass
    assert bench.call() == "fast.two"
    with outer:
        pass
    assert bench.call() == "fast.one"


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda rules: rules.lock("work", "fast.tow"), PolicyError, "did you mean `fast.two`"),
        (lambda rules: rules.lock("wrok", "fast.two"), PolicyError, "did you mean `work`"),
        (lambda rules: rules.unlock("work"), ArgumentError, "no lock"),
        (lambda rules: rules.enable("fast.one"), ArgumentError, "not disabled"),
        (lambda rules: rules.prefer("fast.one", priority=-101), ArgumentError, "priority"),
        (lambda rules: rules.prefer("fast.one", priority=float("nan")), ArgumentError, "priority"),
        (lambda rules: rules.prefer("fast.one", priority=float("inf")), ArgumentError, "priority"),
        (lambda rules: rules.prefer("fast.one", priority="high"), ArgumentError, "priority"),
        (lambda rules: rules.prefer("fast.one by 3 for work", priority=1), ArgumentError, "`kernel`"),
        (lambda rules: rules.lock("work", ""), ArgumentError, "`kernel`"),
        (lambda rules: rules.lock("work when size > 3", "fast.two"), ArgumentError, "`operation`"),
        (lambda rules: rules.lock("work", "fast.two\ndeny *"), ArgumentError, "`kernel`"),
        (lambda rules: rules.disabled("fast.two until 2020-01-01"), ArgumentError, "`kernel`"),
        (lambda rules: rules.disabled(None), ArgumentError, "`kernel`"),
    ],
)
def test_a_wrong_call_changes_nothing(bench: Any, wrong: Any, error: type[Exception], message: str) -> None:
    epoch = bench.engine.current().epoch
    with pytest.raises(error, match=message):
        wrong(RuntimeRules(bench.engine))
    assert bench.engine.current().epoch == epoch


# ---------------------------------------------------------------- fields around calls


def test_fields_around_a_call_are_read_by_rules(bench: Any) -> None:
    bench.configure('deny fast.one when has(tenant) and tenant == "bank"')
    with ambient.context({"tenant": "bank"}):
        assert bench.call() == "fast.two"
        with ambient.context({"tenant": None}):
            assert bench.call() == "fast.one"
    assert bench.call() == "fast.one"


def test_a_field_of_the_wrong_type_is_an_error_of_the_call(bench: Any) -> None:
    with ambient.context({"tenant": 3}), pytest.raises(ContextError, match="tenant"):
        bench.call()


def test_a_field_that_no_policy_declares_is_said_once_and_fails_nothing(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with ambient.context({"tenantt": "bank"}), caplog.at_level(logging.WARNING, logger="layerzero"):
        assert [bench.call(), bench.call()] == ["fast.one", "fast.one"]
    assert caplog.text.count("tenantt") == 1


# ---------------------------------------------------------------- the calendar


def test_a_rule_ends_at_midnight_in_a_running_process(bench: Any, tmp_path: Path) -> None:
    now = [datetime(2026, 12, 31, 23, 59, 59, 900_000, tzinfo=UTC)]
    engine = Engine(bench.machine, clock=lambda: now[0])
    catalog = Source("small_catalog.lzp", bench.words)
    text = 'policy "p" standalone\nquarantine fast.one for work until 2027-01-01'
    engine.configure(Policy.from_text(text, catalogs=[catalog]))
    assert engine.current().decide(*bench.asked()).kernel == "fast.two"
    now[0] = datetime(2027, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    deadline = time.monotonic() + 10
    while engine.current().decide(*bench.asked()).kernel != "fast.one":
        assert time.monotonic() < deadline, "the quarantine outlived its day"
        time.sleep(0.01)


def test_a_clock_that_is_set_forward_and_back_is_followed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerzero.runtime.engine._LONGEST_WAIT", timedelta(seconds=0.02))  # a minute
    now = [datetime(2026, 12, 1, tzinfo=UTC)]
    engine = Engine(bench.machine, clock=lambda: now[0])
    catalog = Source("small_catalog.lzp", bench.words)
    text = 'policy "p" standalone\nquarantine fast.one for work until 2027-01-01'
    engine.configure(Policy.from_text(text, catalogs=[catalog]))
    for day, kernel in (("2026-12-31", "fast.two"), ("2027-02-01", "fast.one"), ("2026-11-01", "fast.two")):
        now[0] = datetime.fromisoformat(day).replace(tzinfo=UTC)
        deadline = time.monotonic() + 10
        while engine.current().environment.today != now[0].date():
            assert time.monotonic() < deadline, f"{day} was not noticed"
            time.sleep(0.005)
        assert engine.current().decide(*bench.asked()).kernel == kernel
    engine.close()


def test_warnings_of_a_policy_reach_the_log(bench: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "p.lzp").write_text('policy "p"\ndeny nothing.*')
    with caplog.at_level(logging.WARNING, logger="layerzero"):
        bench.engine.configure(tmp_path / "p.lzp")
    assert "LZ501" in caplog.text

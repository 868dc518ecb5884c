"""What records become: counts by group and time, the last decisions, epochs; and that none of it grows without end."""

from __future__ import annotations

import pytest

from layerzero.dashboard import tally as bounds
from layerzero.dashboard.tally import OTHER, Asked, Group, Tally
from tests.unit.dashboard.records import NOON_SECONDS, record

ALL = Asked(frozenset({"a", "b", "m"}))


def sums(tally: Tally, by: str, asked: Asked = ALL, span: str = "30m", now: float = NOON_SECONDS) -> dict[str, float]:
    return {one["name"]: sum(one["values"]) for one in tally.timeline(span, by, asked, now)["series"]}


def test_calls_are_counted_by_operation_kernel_and_arm() -> None:
    tally = Tally()
    tally.add("a", record(count=3), NOON_SECONDS)
    tally.add("a", record(kernel="fast.two", arms={"trial": "new"}, degraded=True), NOON_SECONDS)
    tally.add("b", record(operation="other", kernel=None, error="no_kernel", raised="NoKernelError"), NOON_SECONDS)
    assert sums(tally, "kernel") == {"fast.one": 3, "fast.two": 1, "": 1}
    assert sums(tally, "arms") == {"": 4, "trial.new": 1}
    assert sums(tally, "kernel", Asked(frozenset({"a"}), operation="work", arms="trial.new")) == {"fast.two": 1}
    assert tally.totals[Group("a", "work", "fast.two", "trial.new")].degraded == 1
    assert tally.totals[Group("b", "other", "", "")].raised == 1


def test_the_timeline_ends_now_or_where_an_old_log_ends() -> None:
    tally = Tally()
    tally.add("a", record(), NOON_SECONDS)
    line = tally.timeline("30m", "kernel", ALL, NOON_SECONDS + 600)
    assert line["start"] + line["length"] * line["width"] == NOON_SECONDS + 610
    assert line["series"][0]["values"][-61] == 1
    old = tally.timeline("30m", "kernel", ALL, NOON_SECONDS + 90_000)
    assert old["series"][0]["values"][-1] == 1


def test_what_is_older_than_a_span_leaves_it_and_only_it() -> None:
    tally = Tally()
    tally.add("a", record(kernel="fast.two"), NOON_SECONDS)
    tally.add("a", record(time="2026-11-25T13:00:00Z"), NOON_SECONDS + 3600)
    now = NOON_SECONDS + 3600
    assert sums(tally, "kernel", now=now) == {"fast.one": 1}
    assert sums(tally, "kernel", span="6h", now=now) == {"fast.one": 1, "fast.two": 1}
    tally.add("a", record(kernel="fast.two"), now)
    assert sums(tally, "kernel", now=now) == {"fast.one": 1}


def test_a_record_of_the_future_or_of_no_time_is_refused() -> None:
    tally = Tally()
    assert "ahead of this machine's clock" in (tally.add("a", record(time="9999-01-01T00:00:00Z"), NOON_SECONDS) or "")
    assert tally.add("a", record(time="soon"), NOON_SECONDS) == "its time cannot be read"
    assert tally.totals == {}


def test_names_past_the_bound_count_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_GROUPS", 3)
    tally = Tally()
    for number in range(10):
        tally.add("a", record(operation=f"work{number}"), NOON_SECONDS)
    assert sums(tally, "operation") == {"work0": 1, "work1": 1, "work2": 1, OTHER: 7}
    assert len(tally.totals) == 4


def test_series_past_the_bound_are_added_up() -> None:
    tally = Tally()
    for number in range(20):
        tally.add("a", record(kernel=f"fast.k{number:02}", count=number + 1), NOON_SECONDS)
    found = sums(tally, "kernel")
    assert len(found) == bounds.MOST_SERIES + 1 and sum(found.values()) == 210


def test_records_epochs_and_ids_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOST_RECORDS", "MOST_EPOCHS", "MOST_IDS"):
        monkeypatch.setattr(bounds, name, 5)
    tally = Tally()
    for number in range(50):
        tally.add("a", record(epoch=number, id=f"id{number}"), NOON_SECONDS)
    assert [kept.record["epoch"] for kept in tally.records(ALL, "")] == [49, 48, 47, 46, 45]
    assert list(tally.epochs["a"]) == [(number, "a" * 64) for number in range(45, 50)]
    tally.again("a", {"id1": 4, "id49": 2}, NOON_SECONDS)
    assert tally.unplaced["a"] == 4
    assert next(iter(tally.records(ALL, ""))).calls == 3


def test_records_are_bounded_by_their_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_RECORD_BYTES", 100_000)
    tally = Tally()
    for _ in range(10):
        tally.add("a", record(values={"tenant": "x" * 30_000}), NOON_SECONDS)
    assert len(list(tally.records(ALL, ""))) == 3


def test_counts_without_a_time_are_in_the_totals_alone() -> None:
    tally = Tally()
    tally.add("a", record(id="r"), NOON_SECONDS)
    tally.again("a", {"r": 100}, None)
    tally.again("a", {"r": 10}, NOON_SECONDS)
    assert sums(tally, "kernel") == {"fast.one": 11}
    assert tally.totals[Group("a", "work", "fast.one", "")].calls == 111


def test_only_degraded_or_only_errors() -> None:
    tally = Tally()
    for number, given in enumerate(({}, {"degraded": True}, {"error": "no_kernel"}, {"raised": "ValueError"})):
        tally.add("a", record(epoch=number, **given), NOON_SECONDS)
    assert [kept.record["epoch"] for kept in tally.records(ALL, "degraded")] == [1]
    assert [kept.record["epoch"] for kept in tally.records(ALL, "errors")] == [3, 2]


def test_a_call_around_a_kernel_that_failed_is_no_epoch() -> None:
    tally = Tally()
    tally.add("a", record(recovered_from=["fast.two"]), NOON_SECONDS)
    assert tally.epochs == {}


def test_a_counter_of_an_endpoint_is_shown_by_its_growth_also_after_a_restart() -> None:
    tally, group = Tally(), Group("m", "work", "fast.one", "")
    for total, now in ((1000.0, 0), (1010.0, 10), (4.0, 20)):
        tally.counted(group, total, 2.0, NOON_SECONDS + now)
    assert sums(tally, "kernel", now=NOON_SECONDS + 20) == {"fast.one": 14}
    assert tally.totals[group].calls == 1014
    assert tally.totals[group].degraded == 2

"""Rules from measurements that are made up: which there are, how far they reach, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from layerzero.check import load_text, require
from layerzero.perf.database import Database, Key, MachineInfo
from layerzero.perf.grids import Axis, Grid, Place
from layerzero.perf.measure import Failed, Timing
from layerzero.perf.report import failures, median, regrets, summary, totals
from layerzero.perf.survey import BASELINE, Decider, survey
from layerzero.perf.tune import Tuned, rules_text, spelled, tune
from layerzero.semantics.environment import Environment
from layerzero.syntax.formatter import format_source
from layerzero.syntax.source import Source

POLICY = """
policy "p" standalone
field n: int in 1..1Mi
field rows: int in 1..1Mi
field fused: bool = false
operation op { needs n  optional rows, fused  fallback c.op }
kernel a.op for op { priority 60 }
kernel b.op for op { priority 50 }
kernel c.op for op { priority 0 }
"""
LENGTHS = (64, 512, 4096, 32768)
GRID = Grid("grid", "op", {}, (Axis("n", LENGTHS),))

Times = Mapping[str, float | str]


def tuned(
    tmp_path, times: Callable[[Place], Times], grid: Grid = GRID, policy: str = POLICY, spread: float = 0.1
) -> tuple[Tuned, list[str | None], list[str | None]]:
    """The rules for made-up times, and the picks at each point before and with them."""
    database = Database(tmp_path / "m.sqlite", MachineInfo({"device": "cpu"}, {}))
    for place in grid.places():
        for kernel, time in times(place).items():
            found = Failed(time) if isinstance(time, str) else Timing(time, spread, time, time, 7)
            database.put(Key(grid.operation, grid.fields(place)), kernel, found)
    environment = Environment(assume_packages=True)
    before = survey(Decider(require(load_text(policy)), environment), database, [grid])
    found = tune(before)
    text = policy + rules_text(found, ["made up"])
    assert isinstance(format_source(Source("tuned.lzp", rules_text(found, ["made up"]))), str)
    after = survey(Decider(require(load_text(text)), environment), database, [grid])
    return found, [one.picked for one in before], [one.picked for one in after]


def test_a_policy_that_picks_the_fastest_gets_no_rule(tmp_path):
    found, before, after = tuned(tmp_path, lambda place: {"a.op": 10.0, "b.op": 20.0})
    assert found.rules == () and before == after == ["a.op"] * 4


def test_a_crossover_is_estimated_between_two_points(tmp_path):
    found, before, after = tuned(tmp_path, lambda place: {"a.op": 10.0, "b.op": 20.0 if place[0] < 2 else 5.0})
    (rule,) = found.rules
    assert (rule.kernel, rule.conditions) == ("b.op", ("n >= 1536",))
    assert before == ["a.op"] * 4 and after == ["a.op", "a.op", "b.op", "b.op"]


def test_a_range_in_the_middle_has_two_ends(tmp_path):
    found, _, after = tuned(tmp_path, lambda place: {"a.op": 10.0, "b.op": 5.0 if place[0] in (1, 2) else 20.0})
    assert [rule.conditions for rule in found.rules] == [("192 <= n <= 12Ki",)]
    assert after == ["a.op", "b.op", "b.op", "a.op"]


def test_between_two_points_the_ranges_of_both_kernels_meet(tmp_path):
    policy = POLICY.replace("priority 0", "priority 70")

    def times(place: Place) -> Times:
        early = place[0] < 2
        return {"a.op": 5.0 if early else 9.0, "b.op": 9.0 if early else 5.0, "c.op": 50.0}

    found, _, after = tuned(tmp_path, times, policy=policy)
    assert {rule.kernel: rule.conditions for rule in found.rules} == {"a.op": ("n <= 1536",), "b.op": ("n >= 1536",)}
    assert after == ["a.op", "a.op", "b.op", "b.op"]


@pytest.mark.parametrize(
    ("faster", "spread"), [(9.8, 0.0), (8.0, 3.0)], ids=["within five percent", "within the spread"]
)
def test_a_difference_inside_the_noise_makes_no_rule(tmp_path, faster, spread):
    found, before, after = tuned(tmp_path, lambda place: {"a.op": 10.0, "b.op": faster}, spread=spread)
    assert found.rules == () and before == after


def test_a_kernel_that_is_level_lends_its_points_to_a_wider_range(tmp_path):
    # b is level with a at 64 and 512, and clearly faster above: one rule without a condition serves all.
    found, _, after = tuned(tmp_path, lambda place: {"a.op": 10.0, "b.op": 10.0 if place[0] < 2 else 5.0})
    assert [rule.conditions for rule in found.rules] == [()] and after == ["b.op"] * 4


def test_boxes_over_two_axes_and_a_regime(tmp_path):
    grid = Grid("two", "op", {}, (Axis("fused", (False, True)), Axis("rows", (1, 64, 4096)), Axis("n", LENGTHS)))

    def times(place: Place) -> Times:
        fused, rows, n = place
        return {"a.op": 10.0, "b.op": 5.0 if fused or (rows == 2 and n >= 2) else 20.0}

    found, _, after = tuned(tmp_path, times, grid)
    assert [rule.conditions for rule in found.rules] == [("fused",), ("rows >= 512", "n >= 1536")]
    wanted = ["b.op" if times(place)["b.op"] == 5.0 else "a.op" for place in grid.places()]
    assert after == wanted


def test_what_all_points_share_stands_in_the_rule_but_for_what_lies_beyond(tmp_path):
    grid = Grid("g", "op", {"rows": 8, "fused": True}, GRID.axes, beyond=frozenset({"rows"}))
    found, _, _ = tuned(tmp_path, lambda place: {"a.op": 10.0, "b.op": 5.0}, grid)
    assert [rule.conditions for rule in found.rules] == [("fused",)]


def test_a_rule_says_what_was_measured(tmp_path):
    found, _, _ = tuned(tmp_path, lambda place: {"a.op": 10.0, "b.op": [20.0, 20.0, 8.0, 2.5][place[0]]})
    assert found.rules[0].because == "1.2x to 4x over a.op: 2.5 against 10 us at n 32Ki; 2 points"


def test_a_failed_pick_is_replaced(tmp_path):
    found, _, after = tuned(tmp_path, lambda place: {"a.op": "RuntimeError: no", "b.op": 5.0})
    assert after == ["b.op"] * 4 and found.rules[0].because.startswith("a.op failed at n 64")


def test_a_score_of_zero_and_an_order_are_said_to_be_out_of_reach(tmp_path):
    found, _, _ = tuned(tmp_path, lambda place: {"a.op": 10.0, "c.op": 5.0})
    assert not found.rules and {one.why for one in found.unruled} == {"its score is 0, which no factor changes"}
    (tmp_path / "m.sqlite").unlink()
    ordered = POLICY + "order a.op > b.op for op as mine\n"
    found, _, after = tuned(tmp_path, lambda place: {"a.op": 10.0, "b.op": 5.0}, policy=ordered)
    assert {one.why for one in found.unruled} == {"`mine` decides, whatever the scores"} and after == ["a.op"] * 4


def test_regret_and_totals(tmp_path):
    database = Database(tmp_path / "m.sqlite", MachineInfo({"device": "cpu"}, {}))
    for place in GRID.places():
        times = {"a.op": 10.0, "b.op": [5.0, 10.0, 20.0, 20.0][place[0]], BASELINE: 30.0}
        for kernel, time in times.items():
            database.put(Key("op", GRID.fields(place)), kernel, Timing(time, 0.0, time, time, 7))
        database.put(Key("op", GRID.fields(place)), "c.op", Failed("RuntimeError: x"))
    samples = survey(Decider(require(load_text(POLICY)), Environment(assume_packages=True)), database, [GRID])
    assert sorted(one.ratio for one in regrets(samples)) == [1.0, 1.0, 1.0, 2.0] and median(regrets(samples)) == 1.0
    of = totals(samples)
    assert (of.policy_us, of.best_us, of.plain_us) == (40.0, 35.0, 120.0)
    assert of.backends == {"a": 40.0, "b": 55.0} and of.best_backend == ("a", 40.0)
    assert "2.00x at grid: n = 64: a.op 10 us, b.op 5 us" in summary(samples)[1]
    assert failures(samples) == ["c.op at grid: n = 64 and 3 more: RuntimeError: x"]


def test_numbers_are_spelled_as_people_write_them():
    assert [spelled(value) for value in (64, 512, 4096, 1500, 0.5, "bf16")] == [
        "64",
        "512",
        "4Ki",
        "1500",
        "0.5",
        "bf16",
    ]


def test_a_kernel_that_is_level_with_the_fastest_does_not_replace_a_faster_pick(tmp_path):
    policy = POLICY.replace("priority 0", "priority 40")
    database = Database(tmp_path / "m.sqlite", MachineInfo({"device": "cpu"}, {}))
    for place in GRID.places():
        for kernel, time, spread in (("a.op", 11.0, 0.0), ("b.op", 11.5, 9.0), ("c.op", 10.0, 0.0)):
            database.put(Key("op", GRID.fields(place)), kernel, Timing(time, spread, time, time, 7))
    decider = Decider(require(load_text(policy)), Environment(assume_packages=True))
    assert [rule.kernel for rule in tune(survey(decider, database, [GRID])).rules] == ["c.op"]


def test_a_single_point_makes_no_rule(tmp_path):
    # b is a little faster at 512 and far slower around: both crossovers fall on the point itself.
    found, _, after = tuned(tmp_path, lambda place: {"a.op": 10.0, "b.op": 9.0 if place[0] == 1 else 90.0})
    assert not found.rules and after == ["a.op"] * 4
    assert [one.why for one in found.unruled] == ["faster at this one point, and not around it"]


def test_texts_are_written_in_quotes(tmp_path):
    policy = POLICY.replace("field fused", "field tenant: string\nfield fused").replace(
        "rows, fused", "rows, fused, tenant"
    )
    grid = Grid("g", "op", {"tenant": 'a "b"'}, GRID.axes)
    database = Database(tmp_path / "m.sqlite", MachineInfo({"device": "cpu"}, {}))
    for place in grid.places():
        for kernel, time in (("a.op", 10.0), ("b.op", 5.0)):
            database.put(Key("op", grid.fields(place)), kernel, Timing(time, 0.0, time, time, 7))
    samples = survey(Decider(require(load_text(policy)), Environment(assume_packages=True)), database, [grid])
    found = tune(samples, texts=frozenset({"tenant"}))
    assert [rule.conditions for rule in found.rules] == [('tenant == "a \\"b\\""',)]
    require(load_text(policy + rules_text(found, [])))


def test_a_range_does_not_reach_over_a_point_where_the_score_is_zero(tmp_path):
    policy = POLICY + "boost b by 0 for op when n == 512 as never_there\n"
    found, _, after = tuned(tmp_path, lambda place: {"a.op": 10.0, "b.op": 5.0}, policy=policy)
    assert after == ["b.op", "a.op", "b.op", "b.op"]
    assert {one.why for one in found.unruled} == {"its score is 0, which no factor changes"}

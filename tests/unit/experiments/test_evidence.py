"""Evidence is a fair game: while the bound holds, its mean is at most 1; where the bound is broken, it grows."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings, strategies as st

from layerzero.experiments import evidence
from layerzero.experiments.latencies import GROWTH, Latencies, bucket, edge


def filled(values: list[float]) -> Latencies:
    made = Latencies()
    for value in values:
        made.add(value)
    return made


def capital(logarithm: float) -> float:
    return math.exp(min(logarithm, 700.0))


@pytest.mark.parametrize("bound", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("of", [1, 10, 200])
@pytest.mark.parametrize("side", ["above", "below"])
def test_at_its_bound_a_rate_has_mean_one_exactly(bound: float, of: int, side: evidence.Side) -> None:
    chances = [math.comb(of, bad) * bound**bad * (1 - bound) ** (of - bad) for bad in range(of + 1)]
    mean = sum(chance * capital(evidence.rate(bad, of, bound, side)) for bad, chance in enumerate(chances))
    assert mean == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(("side", "truth"), [("above", 0.02), ("below", 0.2)])
def test_inside_its_bound_a_rate_has_mean_below_one(side: evidence.Side, truth: float) -> None:
    chances = [math.comb(100, bad) * truth**bad * (1 - truth) ** (100 - bad) for bad in range(101)]
    mean = sum(chance * capital(evidence.rate(bad, 100, 0.05, side)) for bad, chance in enumerate(chances))
    assert mean < 0.9


def test_two_rates_at_the_bound_have_mean_at_most_one() -> None:
    of, rate, factor = 30, 0.1, 1.5
    arm = [math.comb(of, k) * (factor * rate) ** k * (1 - factor * rate) ** (of - k) for k in range(of + 1)]
    control = [math.comb(of, k) * rate**k * (1 - rate) ** (of - k) for k in range(of + 1)]
    mean = sum(
        one * other * capital(evidence.rate_against(bad, of, control_bad, of, factor, "above"))
        for bad, one in enumerate(arm)
        for control_bad, other in enumerate(control)
        if one * other > 1e-9
    )
    assert mean <= 1.0


@settings(max_examples=60, deadline=None)
@given(
    bad=st.integers(0, 50), good=st.integers(0, 500), control_bad=st.integers(0, 50), control_good=st.integers(0, 500)
)
def test_the_least_favourable_rate_is_found(bad: int, good: int, control_bad: int, control_good: int) -> None:
    of, control_of = bad + good, control_bad + control_good
    found = evidence.rate_against(bad, of, control_bad, control_of, 1.2, "above")
    for step in range(1, 100):
        rate = step / 100
        known = evidence.rate(bad, of, min(1.2 * rate, 1.0), "above") + evidence.rate(
            control_bad, control_of, rate, "below"
        )
        assert found <= known + 1e-9


@settings(max_examples=60, deadline=None)
@given(
    seen=st.lists(st.floats(0.1, 100.0), max_size=80),
    control=st.lists(st.floats(0.1, 100.0), max_size=80),
    share=st.sampled_from([0.5, 0.95]),
    factor=st.sampled_from([0.8, 1.0, 1.1]),
    side=st.sampled_from(["above", "below"]),
    threshold=st.floats(0.05, 200.0),
)
def test_the_least_favourable_quantile_is_found(
    seen: list[float], control: list[float], share: float, factor: float, side: evidence.Side, threshold: float
) -> None:
    found = evidence.quantile_against(filled(seen), filled(control), share, factor, side)
    if not seen or not control:
        assert found == 0.0
        return
    # With the values themselves, not buckets, and any quantile of control's that there may be.
    if side == "above":
        slow = sum(value > factor * threshold for value in seen)
        other = sum(value >= threshold for value in control)
    else:
        slow = sum(value >= factor * threshold for value in seen)
        other = sum(value > threshold for value in control)
    opposite: evidence.Side = "below" if side == "above" else "above"
    known = evidence.rate(slow, len(seen), 1 - share, side) + evidence.rate(other, len(control), 1 - share, opposite)
    assert found <= known + 1e-9


def test_a_mean_is_a_fair_game_even_with_infinite_variance() -> None:
    rng = random.Random(3)
    capitals = []
    for _ in range(300):
        values = [rng.paretovariate(1.5) for _ in range(100)]  # the mean is 3
        capitals.append(capital(evidence.mean(filled(values), 3.0, "above")))
    assert sum(capitals) / len(capitals) < 1.5
    assert sum(one >= 20 for one in capitals) <= 15


def test_evidence_grows_where_the_bound_is_broken() -> None:
    slow, fast = filled([20.0 + k % 7 for k in range(300)]), filled([10.0 + k % 5 for k in range(300)])
    enough = math.log(1000)
    assert evidence.rate(20, 200, 0.01, "above") > enough
    assert evidence.rate(0, 1000, 0.1, "below") > enough
    assert evidence.rate_against(60, 300, 6, 300, 1.1, "above") > enough
    assert evidence.quantile(slow, 0.95, 15.0, "above") > enough
    assert evidence.quantile(fast, 0.95, 15.0, "below") > enough
    assert evidence.quantile_against(slow, fast, 0.95, 1.1, "above") > enough
    assert evidence.quantile_against(fast, slow, 0.95, 1.0, "below") > enough
    assert evidence.mean(slow, 12.0, "above") > enough
    assert evidence.mean(fast, 22.0, "below", cap=50.0) > enough
    assert evidence.mean_against(slow, fast, 1.1, "above", cap=50.0) > enough


def test_bounds_at_the_ends() -> None:
    assert evidence.rate(1, 10, 0.0, "above") == math.inf  # no request may fail, and one did
    assert evidence.rate(0, 10, 0.0, "above") <= 0.0
    assert evidence.rate(5, 5, 1.0, "above") == pytest.approx(0.0)
    assert evidence.rate(0, 3, 1.0, "below") == math.inf
    assert evidence.rate(0, 0, 0.01, "above") == pytest.approx(0.0)
    assert evidence.mean(filled([1.0]), 0.0, "above") == math.inf
    assert evidence.mean_against(filled([1.0]), filled([1.0]), 1.1, "above", cap=math.inf) == 0.0


@given(st.floats(1e-3, 1e7))
def test_a_bucket_holds_its_values_to_half_a_percent(value: float) -> None:
    place = bucket(value)
    assert edge(place) * (1 - 1e-12) <= value <= edge(place + 1) * (1 + 1e-12)
    assert edge(place + 1) / edge(place) == pytest.approx(GROWTH)


def test_latencies_keep_quantiles_in_bounded_memory() -> None:
    rng = random.Random(1)
    values = [rng.lognormvariate(2.0, 2.0) for _ in range(20_000)]
    seen, ordered = filled([*values, 0.0, 1e300]), sorted([*values, 0.0, 1e300])
    assert len(seen.counts) <= 5542
    for share in (0.01, 0.5, 0.95, 0.999):
        assert seen.quantile(share) == pytest.approx(ordered[math.ceil(share * len(ordered)) - 1], rel=0.005)
    earlier = seen.copy()
    seen.add(5.0)
    assert seen.since(earlier).counts == {bucket(5.0): 1}
    assert Latencies().quantile(0.5) is None

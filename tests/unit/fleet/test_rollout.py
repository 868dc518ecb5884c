"""Which bundle a node has to run: shares that only grow, holds, replays, clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from layerzero.fleet.bundle import Bundle, BundleError, Sealed, open_sealed
from layerzero.fleet.rollout import SKEW, RolloutState, admit, choose, in_share, release_of
from layerzero.semantics.experiments import bucket
from tests.unit.fleet.made import signed, trusting

OPS = trusting("ops")
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def opened(sealed: Sealed) -> Bundle:
    return open_sealed(sealed, OPS)


STABLE, CANDIDATE = opened(signed(7)), opened(signed(8, share=2000))
IN = next(f"node-{n}" for n in range(100) if bucket("p", "share", f"node-{n}") < 500)
OUT = next(f"node-{n}" for n in range(100) if bucket("p", "share", f"node-{n}") >= 5000)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1), st.integers(1, 9999))
def test_a_growing_share_moves_nobody_out(node: str, share: int) -> None:
    smaller, larger = opened(signed(8, share=share)), opened(signed(8, share=share + 1))
    assert in_share(larger, node) or not in_share(smaller, node)


def test_a_share_is_about_that_share_of_the_nodes() -> None:
    inside = sum(in_share(CANDIDATE, f"node-{n}") for n in range(5000))
    assert 900 < inside < 1100


def test_the_candidate_runs_inside_its_share_and_the_stable_one_elsewhere() -> None:
    both = [STABLE, CANDIDATE]
    assert choose(both, IN, (), (), "") is CANDIDATE
    assert choose(both, OUT, (), (), "") is STABLE
    assert choose([CANDIDATE], OUT, (), (), "") is None


def test_a_hold_stops_those_who_have_not_begun() -> None:
    both, held = [STABLE, CANDIDATE], {CANDIDATE.digest}
    assert choose(both, IN, (), held, STABLE.digest) is STABLE
    assert choose(both, IN, (), held, CANDIDATE.digest) is CANDIDATE


def test_a_node_does_not_run_what_has_failed_on_it() -> None:
    both = [STABLE, CANDIDATE]
    assert choose(both, IN, {CANDIDATE.digest}, (), CANDIDATE.digest) is STABLE
    assert choose(both, IN, {CANDIDATE.digest, STABLE.digest}, (), "") is None


def test_a_node_remembers_what_it_must_not_go_below() -> None:
    state = RolloutState().saw(STABLE).saw(CANDIDATE)
    assert (state.name, state.version, state.digest) == ("p", 7, STABLE.digest)
    admit(CANDIDATE, state, NOW)
    admit(STABLE, state, NOW)
    for wrong, why in (
        (signed(6), "version 7 has been in force, so this is a replay"),
        (signed(6, share=500), "this is a replay"),
        (signed(7, "# other\n"), "another bundle .* has had this version"),
        (signed(7, share=500), "for everybody already"),
    ):
        with pytest.raises(BundleError, match=why):
            admit(opened(wrong), state, NOW)
    with pytest.raises(BundleError, match="`q` is followed here"):
        admit(STABLE, RolloutState("q"), NOW)


def test_times_hold_within_the_skew_of_a_clock() -> None:
    begin, end = NOW - timedelta(days=1), NOW + timedelta(days=1)
    bundle = opened(signed(7, not_before=begin, expires=end))
    second = timedelta(seconds=1)
    for now in (begin - SKEW, begin, end, end + SKEW):
        admit(bundle, RolloutState(), now)
    with pytest.raises(
        BundleError, match=r"valid from 2026-11-25T12:00:00Z; the clock of this node says 2026-11-25T11:54"
    ):
        admit(bundle, RolloutState(), begin - SKEW - second)
    with pytest.raises(BundleError, match="expired at 2026-11-27T12:00:00Z"):
        admit(bundle, RolloutState(), end + SKEW + second)


def test_the_last_moment_of_the_calendar_is_a_time_like_others() -> None:
    admit(opened(signed(7, expires=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))), RolloutState(), NOW)


def test_a_candidate_is_newer_than_the_stable_bundle() -> None:
    assert release_of([CANDIDATE, STABLE]) == (CANDIDATE, STABLE)
    assert release_of([STABLE]) == (None, STABLE)
    for wrong in ([opened(signed(6, share=500)), STABLE], [STABLE, opened(signed(8))], [CANDIDATE, CANDIDATE]):
        with pytest.raises(BundleError):
            release_of(wrong)

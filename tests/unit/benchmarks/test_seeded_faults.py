"""Faults planted in random policies are found, and nothing that is claimed is wrong: a small run of the benchmark."""

from __future__ import annotations

from benchmarks.seeded_faults import Tally, run


def test_planted_faults_are_found_and_no_claim_is_unsound() -> None:
    tally = Tally()
    for one in run(policies=2, seed=1, samples=30):
        tally.add(one)
    assert tally.misses == []
    assert tally.unsound == []
    assert tally.unknown <= 0.05, tally.doubts
    assert sum(tally.planted.values()) == 8
    assert tally.claims >= 6

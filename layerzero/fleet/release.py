"""The bytes of a release -> the bundles in it that a node may run, and why another one may not come in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from layerzero.fleet.bundle import Bundle, BundleError, open_sealed, split
from layerzero.fleet.keys import Trust
from layerzero.fleet.rollout import RolloutState, admit, release_of


@dataclass(frozen=True, slots=True)
class Release:
    """What may come in of a release. `state` is what the node remembers after it; `refused` why a bundle may not."""

    candidate: Bundle | None
    stable: Bundle | None
    state: RolloutState
    refused: BundleError | None = None


def read_release(data: bytes, trust: Trust, state: RolloutState, now: datetime) -> Release:
    """Verify and admit each bundle for itself, so that a bad candidate does not keep a good stable bundle out."""
    admitted: list[Bundle] = []
    refused: BundleError | None = None
    try:
        for sealed in split(data):
            try:
                bundle = open_sealed(sealed, trust)
                admit(bundle, state, now)
                admitted.append(bundle)
            except BundleError as error:
                refused = refused or error
        candidate, stable = release_of(admitted)
    except BundleError as error:
        return Release(None, None, state, error)
    for bundle in admitted:
        state = state.saw(bundle)
    return Release(candidate, stable, state, refused)

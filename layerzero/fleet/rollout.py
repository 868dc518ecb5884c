"""A release, what a node remembers and what holds it up -> the bundle that the node has to run. Pure functions.

candidate 8 (share 5 %)  ─┐   share: bucket(name, "share", node) below it, as experiments enrol; a growing share
stable 7                 ─┴▶  moves nobody out, and the same nodes come first in every roll-out of a name
                              hold: the source has one for the candidate: who runs it stays, nobody else begins
                              failed: this node has tried it: it runs the stable one
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from layerzero.fleet.bundle import Bundle, BundleError
from layerzero.semantics.experiments import bucket

SKEW = timedelta(minutes=5)  # that a node's clock may be wrong by


@dataclass(frozen=True, slots=True)
class RolloutState:
    """What a node remembers from one start to the next: it follows `prod`, and has seen stable version 7.

    Attributes:
        name: Of the bundles that it follows, from the first on.
        version: The highest that was offered to everybody; what is below is a replay.
        digest: Of that one.
    """

    name: str = ""
    version: int = 0
    digest: str = ""

    def saw(self, bundle: Bundle) -> RolloutState:
        """After a bundle was admitted."""
        if not bundle.is_stable:
            return replace(self, name=bundle.manifest.name)
        return RolloutState(bundle.manifest.name, bundle.manifest.version, bundle.digest)


def admit(bundle: Bundle, state: RolloutState, now: datetime) -> None:
    """Refuse what must not come in, though its signature holds.

    Raises:
        BundleError: Of another name, older than what was in force, another content under its version, not valid yet
            or any more.
    """
    manifest = bundle.manifest
    if state.name and manifest.name != state.name:
        raise BundleError(f"{bundle} is refused: `{state.name}` is followed here")
    if manifest.version < state.version:
        raise BundleError(f"{bundle} is refused: version {state.version} has been in force, so this is a replay")
    if manifest.version == state.version and not bundle.is_stable:
        raise BundleError(f"{bundle} is refused: it is for everybody already, so a share of nodes is a replay")
    if manifest.version == state.version and bundle.digest != state.digest:
        raise BundleError(f"{bundle} is refused: another bundle ({state.digest[:12]}) has had this version")
    clock = f"; the clock of this node says {now:%Y-%m-%dT%H:%M:%SZ}"
    if manifest.expires is not None and now - SKEW > manifest.expires:
        raise BundleError(f"{bundle} is refused: it expired at {manifest.expires:%Y-%m-%dT%H:%M:%SZ}{clock}")
    if manifest.not_before is not None and now + SKEW < manifest.not_before:
        raise BundleError(f"{bundle} is refused: it is valid from {manifest.not_before:%Y-%m-%dT%H:%M:%SZ}{clock}")


def in_share(bundle: Bundle, node: str) -> bool:
    """Whether a bundle is for this node."""
    return bundle.is_stable or bucket(bundle.manifest.name, "share", node) < bundle.share


def release_of(bundles: Iterable[Bundle]) -> tuple[Bundle | None, Bundle | None]:
    """The candidate and the stable bundle of a release.

    Raises:
        BundleError: There are two of a kind, or the candidate is no newer.
    """
    found = list(bundles)
    candidates, stable = [one for one in found if not one.is_stable], [one for one in found if one.is_stable]
    if len(candidates) > 1 or len(stable) > 1:
        raise BundleError("a release has one stable bundle and one candidate at most")
    if candidates and stable and candidates[0].manifest.version <= stable[0].manifest.version:
        raise BundleError(f"{candidates[0]} is refused: it is no newer than the stable {stable[0]}")
    return next(iter(candidates), None), next(iter(stable), None)


def choose(
    bundles: Iterable[Bundle], node: str, failed: Collection[str], held: Collection[str], running: str
) -> Bundle | None:
    """The bundle that a node has to run, of those that were admitted; None where there is none for it.

    Args:
        failed: Digests of bundles that this node has tried.
        held: Digests of candidates that nobody may begin.
        running: The digest of the bundle in force here.
    """
    for one in sorted(bundles, key=lambda one: one.manifest.version, reverse=True):
        may_begin = one.is_stable or one.digest == running or one.digest not in held
        if may_begin and one.digest not in failed and in_share(one, node):
            return one
    return None

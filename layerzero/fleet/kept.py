"""What a node needs at its next start: the bundles that it ran last, signed as they came, and what it must not go
below. They are verified again when they are used, so a key that is trusted no more takes them along."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from layerzero.fleet.bundle import Bundle, BundleError, open_sealed, split
from layerzero.fleet.keys import Trust
from layerzero.fleet.rollout import RolloutState, release_of
from layerzero.fleet.source import shown
from layerzero.runtime.last_good import Kept

log = logging.getLogger("layerzero")

SCHEMA = "lz.kept_bundle/1"


class KeptBundles:
    """The file of one source on this machine."""

    def __init__(self, url: str, node: str, folder: Path | None) -> None:
        self.kept = Kept(f"{shown(url)}\0{node}".encode(), folder, ".lzb")

    def save(self, state: RolloutState, bundles: Iterable[Bundle]) -> None:
        """Keep the bundle in force and the stable one; not where another process has kept a later state here, which
        would bring a replay back at the next start."""
        with suppress(OSError, ValueError, TypeError, LookupError):
            there, _ = self._read()
            if there.name == state.name and there.version > state.version:
                return
        head = {"schema": SCHEMA, "name": state.name, "version": state.version, "digest": state.digest}
        self.kept.write(json.dumps(head).encode("ascii") + b"\n" + b"".join(b.sealed.to_bytes() for b in bundles))

    def read(self, trust: Trust) -> tuple[RolloutState, Bundle | None, Bundle | None]:
        """What was kept: the candidate and the stable bundle, where a trusted key has signed them. Nothing where
        nothing is, or it is bad, which the log says."""
        try:
            state, data = self._read()
            sealed = split(data) if data else ()
        except FileNotFoundError:
            return RolloutState(), None, None
        except (OSError, ValueError, TypeError, LookupError, BundleError) as error:
            log.error("the last good bundle in %s is not used: %s", self.kept.file, error)
            return RolloutState(), None, None
        bundles = []
        for one in sealed:
            try:
                bundles.append(open_sealed(one, trust))
            except BundleError as error:
                log.error("a bundle kept in %s is not used: %s", self.kept.file, error)
        try:
            return state, *release_of(bundles)
        except BundleError as error:
            log.error("the bundles kept in %s are not used: %s", self.kept.file, error)
            return state, None, None

    def _read(self) -> tuple[RolloutState, bytes]:
        head, _, data = self.kept.read_bytes().partition(b"\n")
        found = json.loads(head)
        if found["schema"] != SCHEMA:
            raise ValueError(f"it has the schema `{found['schema']}`, not `{SCHEMA}`")
        return RolloutState(str(found["name"]), int(found["version"]), str(found["digest"])), data

"""A policy's files -> an unsigned bundle, checked as nodes will check it; and bundles -> the release to push."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from layerzero.check import load, load_sources, require
from layerzero.check.loader import Root
from layerzero.check.program import Layer, Program
from layerzero.errors import ArgumentError
from layerzero.fleet.bundle import EVERYBODY, NAME, Bundle, BundleError, Sealed, open_sealed, seal, split
from layerzero.fleet.keys import Trust
from layerzero.fleet.rollout import RolloutState, admit
from layerzero.fleet.source import AbsentError, Source
from layerzero.syntax.source import Source as Text
from layerzero.syntax.visible import visible


def build(
    root: Root,
    catalogs: Sequence[Path] = (),
    *,
    name: str | None = None,
    version: int | None = None,
    not_before: datetime | None = None,
    expires: datetime | None = None,
) -> Sealed:
    """Put a policy into a bundle: its files with all that they import, and catalogs, as further files with facts.

    Args:
        name: None is the name in the policy's header.
        version: None is the version in the policy's header, where that is a whole number.

    Raises:
        PolicyError: The policy has errors where only its own files are present; a catalog in a bundle may not name an
            adapter, for a signature says which kernels are wanted and never which code runs.
        BundleError: Something is outside what a bundle may have.
    """
    program = require(load(root, catalogs=catalogs))
    given = {str(path): f"catalogs/{path.name}" for path in catalogs}
    files = [
        Text(given.get(text.source.name) or _name(text.source.name, root.folder), text.source.text)
        for text in program.texts
        if text.layer is Layer.POLICY or text.source.name in given
    ]
    for file in files:
        if not file.text.strip():
            raise BundleError(f"{file.name} is empty")
    alone = require(load_sources(files))
    return seal(
        name or _header_name(alone),
        version if version is not None else _header_version(alone),
        files,
        not_before=not_before,
        expires=expires,
    )


def _name(path: str, folder: Path) -> str:
    name = Path(os.path.relpath(path, folder)).as_posix()
    if name.startswith("../"):
        raise BundleError(f"{path} lies outside of {folder}, the folder of the bundle")
    return name


def _header_name(program: Program) -> str:
    if not NAME.fullmatch(program.name):
        raise BundleError(f"`{visible(program.name)}` is no name for a bundle (letters, digits and `._-`); give --name")
    return program.name


def _header_version(program: Program) -> int:
    try:
        return int(program.version or "")
    except ValueError:
        raise BundleError("the header of the policy has no whole number as version; give --version") from None


def push(source: Source, sealed: Sealed, trust: Trust, now: datetime) -> tuple[Bundle, ...]:
    """Put a bundle in front of a fleet: a stable one replaces the release, a candidate comes before its stable bundle.

    Returns:
        The release.

    Raises:
        BundleError: No node that trusts these keys would take it.
        SourceError: The source is away, or somebody else has pushed meanwhile.
    """
    bundle = open_sealed(sealed, trust)
    mark, before = _present(source, trust)
    stable = next((one for one in before if one.is_stable), None)
    state = RolloutState() if stable is None else RolloutState().saw(stable)
    admit(bundle, state, now)
    release = (bundle,) if bundle.share == EVERYBODY or stable is None else (bundle, stable)
    source.push(b"".join(one.sealed.to_bytes() for one in release), mark)
    return release


def _present(source: Source, trust: Trust) -> tuple[str | None, list[Bundle]]:
    """What a source has: its mark, and the bundles in it that a trusted key has signed."""
    try:
        fetched = source.fetch(None, 0.0)
    except AbsentError:
        return None, []
    found = []
    with suppress(BundleError):  # whatever else is there is replaced
        found = [open_sealed(one, trust) for one in split(fetched.data or b"")]
    return fetched.mark, found


def with_share(sealed: Sealed, share: float) -> Sealed:
    """For a share of nodes, in percent; signatures for another share do not hold any more."""
    if not 0.01 <= share <= 100:
        raise ArgumentError(f"a share is from 0.01 to 100 percent, not {share:g}")
    wanted = round(share * EVERYBODY / 100)
    return sealed if wanted == sealed.share else replace(sealed, share=wanted, signatures=())

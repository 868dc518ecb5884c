"""A PEP 440 specifier -> the exact set of versions that it accepts, pre-releases included."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.specifiers import Specifier
from packaging.version import Version

from layerzero.regions.sets import Ordered, Plain, Position, interval, ordered
from layerzero.regions.translate import TooComplexError

_EVERY = interval("version")


def accepted(specifiers: Iterable[str]) -> Plain:
    """The versions that fulfil all specifiers of a line.

    Raises:
        TooComplexError: a specifier whose versions are not a few spans, such as `===1.0` or `>1.0`.
    """
    found: Plain = _EVERY
    for text in specifiers:
        found = found.intersect(_one(Specifier(text)))
    return found


def _one(specifier: Specifier) -> Ordered:
    operator, text = specifier.operator, specifier.version
    if operator == "!=":
        return _equal(text).complement()
    if operator == "==":
        return _equal(text)
    version = Version(text)
    if version.local is None:
        match operator:
            case ">=":
                return ordered("version", [(_below(version), _TOP)])
            case "<=":
                return ordered("version", [(_BOTTOM, _below(_after(version)))])
            case "~=":
                prefix = ".".join(map(str, version.release[:-1]))
                start = ordered("version", [(_below(version), _TOP)])
                return start.intersect(_equal(f"{version.epoch}!{prefix}.*"))
            case "<" if not version.is_prerelease and not version.is_postrelease:
                return ordered("version", [(_BOTTOM, _below(Version(f"{version}.dev0")))])  # nor its pre-releases
    raise TooComplexError(f"the versions of `{specifier}` are not a few spans")


def _equal(text: str) -> Ordered:
    if text.endswith(".*"):
        first = Version(text.removesuffix(".*"))
        if first.is_prerelease or first.is_postrelease:
            raise TooComplexError(f"the versions of `=={text}` are not a few spans")
        release = (*first.release[:-1], first.release[-1] + 1)
        behind = Version(f"{first.epoch}!{'.'.join(map(str, release))}.dev0")
        return ordered("version", [(_below(Version(f"{first}.dev0")), _below(behind))])
    version = Version(text)
    if version.local is not None:
        return interval("version", version, version)
    return ordered("version", [(_below(version), _below(_after(version)))])  # 1.4 and every 1.4+local


_BOTTOM, _TOP = _EVERY.spans[0]


def _below(version: Version) -> Position:
    return (1, version, 0)


def _after(version: Version) -> Version:
    """The first version behind all local builds of one."""
    public = version.public
    if version.dev is not None:
        return Version(f"{public.rpartition('.dev')[0]}.dev{version.dev + 1}")
    if version.post is not None:
        return Version(f"{public.rpartition('.post')[0]}.post{version.post + 1}.dev0")
    return Version(f"{public}.post0.dev0")

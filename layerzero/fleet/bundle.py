"""Policy files <-> one signed file. Until a trusted key's signature holds, nothing inside is looked at.

A bundle's bytes, numbers big-endian:

    magic        b"lzbundle1\\n"
    share        2 bytes, 1..10000: the nodes that it is for, as buckets of 10 000; all is a *stable* bundle, less a
                 *candidate*
    signatures   1 byte, how many; each 32 bytes of key id and 64 bytes of Ed25519
    size         4 bytes, of the payload
    payload      4 bytes, the size of the manifest; the manifest as JSON; the files, one after the other

A signature is over the share and the SHA-256 of the payload, which is the bundle's digest. So before the signature
counts and copies of fixed size are all that is read, and another share is another signature over the same payload.
A *release*, what a source holds, is a bundle, or a candidate followed by the stable bundle for everybody else.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from layerzero.check.limits import MAX_FILES
from layerzero.errors import PolicyError
from layerzero.fleet.keys import PrivateKey, Trust
from layerzero.syntax.limits import MAX_FILE_BYTES
from layerzero.syntax.source import Source
from layerzero.syntax.visible import visible

MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
MAX_MANIFEST_BYTES = 1024 * 1024
MAX_SIGNATURES = 8
MAX_NAME_CHARACTERS = 240
MAX_VERSION = 2**53 - 1  # every reader of JSON has it exactly
EVERYBODY = 10_000

SCHEMA = "lz.bundle/1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")  # of bundles and nodes: fits into paths, keys and addresses
_MAGIC = b"lzbundle1\n"
_HEAD = struct.Struct(f">{len(_MAGIC)}sHB")
_SIGNATURE = struct.Struct(">32s64s")
_SIZE = struct.Struct(">I")
TIME = "%Y-%m-%dT%H:%M:%SZ"

MAX_BUNDLE_BYTES = _HEAD.size + MAX_SIGNATURES * _SIGNATURE.size + _SIZE.size + MAX_PAYLOAD_BYTES
MAX_RELEASE_BYTES = 2 * MAX_BUNDLE_BYTES


class BundleError(PolicyError):
    """A bundle is refused; the message says why."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself: `prod 7, from 2026-11-01, until 2027-02-01, 2 files`.

    Attributes:
        version: Grows with each bundle of a name; a lower one is a replay.
        files: Name -> SHA-256, in the order of the names.
    """

    name: str
    version: int
    files: Mapping[str, str]
    sizes: tuple[int, ...]
    not_before: datetime | None = None
    expires: datetime | None = None

    def to_bytes(self) -> bytes:
        """The one spelling that is accepted."""
        files = [[name, size, digest] for (name, digest), size in zip(self.files.items(), self.sizes, strict=True)]
        data = {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "not_before": _spelled(self.not_before),
            "expires": _spelled(self.expires),
            "files": files,
        }
        return json.dumps(data, sort_keys=True, separators=(",", ":")).encode("ascii")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A bundle as it came. Nothing of its payload has been looked at."""

    share: int
    signatures: tuple[tuple[bytes, bytes], ...]
    payload: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.payload).hexdigest()

    def to_bytes(self) -> bytes:
        head = _HEAD.pack(_MAGIC, self.share, len(self.signatures))
        signatures = b"".join(_SIGNATURE.pack(*one) for one in self.signatures)
        return head + signatures + _SIZE.pack(len(self.payload)) + self.payload

    def signed(self, key: PrivateKey, share: int) -> Sealed:
        """With the signature of one more key; those for another share are left out, for they do not hold any more."""
        others = tuple(one for one in self.signatures if one[0] != key.id) if share == self.share else ()
        if len(others) == MAX_SIGNATURES:
            raise BundleError(f"a bundle has at most {MAX_SIGNATURES} signatures")
        return Sealed(share, (*others, (key.id, key.sign(_statement(share, self.payload)))), self.payload)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose signature holds, with the texts of its files."""

    manifest: Manifest
    sources: tuple[Source, ...]
    sealed: Sealed
    digest: str
    signed_by: tuple[str, ...]

    @property
    def share(self) -> int:
        return self.sealed.share

    @property
    def is_stable(self) -> bool:
        return self.share == EVERYBODY

    @property
    def whom(self) -> str:
        """`everybody`; `5 % of nodes`"""
        return "everybody" if self.is_stable else f"{self.share / 100:g} % of nodes"

    def __str__(self) -> str:
        return f"bundle `{self.manifest.name}` version {self.manifest.version} ({self.digest[:12]})"


def seal(name: str, version: int, sources: Sequence[Source], **times: datetime | None) -> Sealed:
    """An unsigned bundle of these files, for everybody; the same files give the same bytes.

    Args:
        times: `not_before` and `expires`, in UTC.

    Raises:
        BundleError: A name, a number or a size is outside what a bundle may have.
    """
    blobs = {one.name: one.text.encode("utf-8") for one in sorted(sources, key=lambda one: one.name)}
    if len(blobs) < len(sources):
        raise BundleError("two files have the same name")
    files = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()}
    manifest = Manifest(name, version, files, tuple(map(len, blobs.values())), **times)
    written = manifest.to_bytes()
    payload = _SIZE.pack(len(written)) + written + b"".join(blobs.values())
    _read(payload)  # what this machine would not accept is not built
    return Sealed(EVERYBODY, (), payload)


def split(data: bytes) -> tuple[Sealed, ...]:
    """The one or two bundles of a release, by their sizes alone.

    Raises:
        BundleError: It is no release, or not all of one.
    """
    found: list[Sealed] = []
    at = 0
    while at < len(data) or not found:
        if len(found) == 2:
            raise BundleError("there is something behind the second bundle")
        one, at = _split_one(data, at)
        found.append(one)
    return tuple(found)


def _split_one(data: bytes, at: int) -> tuple[Sealed, int]:
    magic, share, count = _HEAD.unpack(_part(data, at, _HEAD.size))
    if magic != _MAGIC:
        raise BundleError("this is not a bundle, or one of another version of LayerZero")
    if not 1 <= share <= EVERYBODY or count > MAX_SIGNATURES:
        raise BundleError("the head of the bundle is damaged")
    at += _HEAD.size
    signatures = []
    for _ in range(count):
        signatures.append(_SIGNATURE.unpack(_part(data, at, _SIGNATURE.size)))
        at += _SIGNATURE.size
    (size,) = _SIZE.unpack(_part(data, at, _SIZE.size))
    at += _SIZE.size
    if size > MAX_PAYLOAD_BYTES:
        raise BundleError(f"the bundle holds {size} bytes, the limit is {MAX_PAYLOAD_BYTES}")
    return Sealed(share, tuple(signatures), _part(data, at, size)), at + size


def _part(data: bytes, at: int, size: int) -> bytes:
    if len(data) - at < size:
        raise BundleError(f"the bundle is truncated: it ends at byte {len(data)}, {at + size} were announced")
    return data[at : at + size]


def open_sealed(sealed: Sealed, trust: Trust) -> Bundle:
    """Verify, then read.

    Raises:
        BundleError: No trusted key has signed it, or what a trusted key has signed is no bundle.
    """
    statement = _statement(sealed.share, sealed.payload)
    valid = tuple(name for key, signature in sealed.signatures if (name := trust.verify(key, signature, statement)))
    if not valid:
        raise BundleError(_unsigned(sealed, trust))
    manifest, sources = _read(sealed.payload)
    return Bundle(manifest, sources, sealed, sealed.digest, valid)


def _unsigned(sealed: Sealed, trust: Trust) -> str:
    if not sealed.signatures:
        return "the bundle is not signed"
    known = [key for key, _ in sealed.signatures if key in trust.keys]
    if known:
        return f"the signature of key `{trust.keys[known[0]].name}` does not hold: the bundle was changed"
    by = ", ".join(key.hex()[:12] for key, _ in sealed.signatures)
    trusted = ", ".join(f"`{one.name}` ({key.hex()[:12]})" for key, one in trust.keys.items())
    return f"the bundle is signed by no trusted key, but by {by}; trusted: {trusted}"


def _statement(share: int, payload: bytes) -> bytes:
    return b"layerzero bundle 1\0" + share.to_bytes(2, "big") + hashlib.sha256(payload).digest()


# ---------------------------------------------------------------- the payload, after its signature


def _read(payload: bytes) -> tuple[Manifest, tuple[Source, ...]]:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise BundleError(f"the bundle holds {len(payload)} bytes, the limit is {MAX_PAYLOAD_BYTES}")
    (size,) = _SIZE.unpack(_part(payload, 0, _SIZE.size))
    if size > MAX_MANIFEST_BYTES:
        raise BundleError(f"the manifest has {size} bytes, the limit is {MAX_MANIFEST_BYTES}")
    written = _part(payload, _SIZE.size, size)
    manifest = _manifest(written)
    at = _SIZE.size + size
    sources = []
    for (name, digest), length in zip(manifest.files.items(), manifest.sizes, strict=True):
        blob = _part(payload, at, length)
        at += length
        if hashlib.sha256(blob).hexdigest() != digest:
            raise BundleError(f"file `{name}` is not what the manifest says")
        try:
            sources.append(Source(name, blob.decode("utf-8")))
        except UnicodeDecodeError as error:
            raise BundleError(f"file `{name}` is not UTF-8 at byte {error.start}") from None
    if at != len(payload):
        raise BundleError("there is something behind the last file")
    return manifest, tuple(sources)


def _manifest(written: bytes) -> Manifest:
    try:
        data = json.loads(written)
        manifest = _manifest_from(data)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise BundleError(f"the manifest is damaged: {error}") from None
    if manifest.to_bytes() != written:  # doubled and further keys, blanks, another order
        raise BundleError("the manifest is not in the one form that is accepted")
    return manifest


def _manifest_from(data: dict[str, Any]) -> Manifest:
    if data["schema"] != SCHEMA:
        raise BundleError(f"the manifest has the schema `{visible(str(data['schema']))[:40]}`, not `{SCHEMA}`")
    name, version, files = data["name"], data["version"], data["files"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BundleError("the name of a bundle has letters, digits and `._-`, at most 128")
    if type(version) is not int or not 1 <= version <= MAX_VERSION:
        raise BundleError(f"the version of a bundle is a whole number from 1 to {MAX_VERSION}")
    if not isinstance(files, list) or not 1 <= len(files) <= MAX_FILES:
        raise BundleError(f"a bundle has 1 to {MAX_FILES} files")
    names = [_file_name(one[0]) for one in files]
    if len({one.casefold() for one in names}) < len(names):
        raise BundleError("two files have the same name")
    sizes = tuple(one[1] for one in files)
    if any(type(size) is not int or not 0 <= size <= MAX_FILE_BYTES for size in sizes):
        raise BundleError(f"a file of a bundle has at most {MAX_FILE_BYTES} bytes")
    not_before, expires = _time(data["not_before"]), _time(data["expires"])
    if not_before is not None and expires is not None and expires <= not_before:
        raise BundleError("a bundle that expires before it is valid is of no use")
    return Manifest(name, version, dict(zip(names, (one[2] for one in files), strict=True)), sizes, not_before, expires)


def _file_name(name: object) -> str:
    """Names never reach a file system, and yet none of them could leave its folder."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
        raise BundleError("the name of a file is printable text")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(sign in name for sign in "\\:"):
        raise BundleError(f"file `{name}` would lie outside the bundle")
    return name


def _time(text: object) -> datetime | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise BundleError("a time of the manifest is no text")
    return datetime.strptime(text, TIME).replace(tzinfo=UTC)


def _spelled(time: datetime | None) -> str | None:
    return None if time is None else time.strftime(TIME)

"""Keys and bundles for tests: small policies, one version each."""

from __future__ import annotations

import hashlib
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from layerzero.fleet.bundle import EVERYBODY, Sealed, seal
from layerzero.fleet.keys import PrivateKey, PublicKey, Trust
from layerzero.syntax.source import Source

WORDS = "field n: int in 0..99\noperation o { needs n }\nkernel k.a for o { }\nkernel k.b for o { }\n"
ALL = EVERYBODY


def key(seed: str) -> PrivateKey:
    """The same key for the same text."""
    private = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
    return PrivateKey(hashlib.sha256(private.public_key().public_bytes_raw()).digest(), private)


def trusting(*seeds: str) -> Trust:
    keys = {seed: key(seed) for seed in seeds}
    return Trust({one.id: PublicKey(seed, one.key.public_key()) for seed, one in keys.items()})


def text(version: int, more: str = "") -> str:
    return f'policy "p" version {version} standalone\n{WORDS}{more}'


def unsigned(
    version: int, more: str = "", *, not_before: datetime | None = None, expires: datetime | None = None
) -> Sealed:
    source = Source("p.lzp", text(version, more))
    return seal("p", version, [source], not_before=not_before, expires=expires)


def signed(version: int, more: str = "", share: int = ALL, by: str = "ops", **times: datetime | None) -> Sealed:
    return unsigned(version, more, **times).signed(key(by), share)


def release(*bundles: Sealed) -> bytes:
    return b"".join(one.to_bytes() for one in bundles)

"""Ed25519 keys in PEM files, as openssl writes and reads them. A key's id is the SHA-256 of its 32 public bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerzero.errors import ArgumentError, MissingDependencyError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUFFIX = ".pub"
_MAX_KEY_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`prod`, from `prod.pub`"""

    name: str
    key: Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """Signs; `id` is that of its public half."""

    id: bytes
    key: Ed25519PrivateKey

    def sign(self, statement: bytes) -> bytes:
        return self.key.sign(statement)


@dataclass(frozen=True, slots=True)
class Trust:
    """The public keys of which one has to have signed a bundle, by id. Several serve while keys are changed."""

    keys: Mapping[bytes, PublicKey]

    @classmethod
    def load(cls, given: str | Path | Iterable[str | Path]) -> Trust:
        """Read public keys.

        Args:
            given: A file, a folder whose `*.pub` files are meant, or several of these.

        Raises:
            ArgumentError: A file is no Ed25519 public key in PEM, or there is none.
            FileNotFoundError: There is no such path.
        """
        keys: dict[bytes, PublicKey] = {}
        for path in map(Path, [given] if isinstance(given, str | Path) else given):
            for file in sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]:
                key = _public(file)
                keys[_id(key)] = PublicKey(file.name.removesuffix(SUFFIX), key)
        if not keys:
            raise ArgumentError(f"no public key (*{SUFFIX}) in {given}")
        return cls(keys)

    def verify(self, key: bytes, signature: bytes, statement: bytes) -> str | None:
        """The name of the key where it is trusted and the signature holds."""
        from cryptography.exceptions import InvalidSignature

        known = self.keys.get(key)
        if known is None:
            return None
        try:
            known.key.verify(signature, statement)
        except InvalidSignature:
            return None
        return known.name


def generate(path: Path) -> tuple[Path, Path]:
    """Write a new pair, PATH.key (for its owner's eyes alone) and PATH.pub.

    Raises:
        FileExistsError: One of the two is there; nothing is ever written over a key.
    """
    private_key = _ed25519().Ed25519PrivateKey.generate()
    serialization = _serialization()
    private = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    secret, shown = path.with_name(f"{path.name}.key"), path.with_name(f"{path.name}{SUFFIX}")
    if shown.exists():
        raise FileExistsError(17, "File exists", str(shown))
    for file, data, mode in ((secret, private, 0o600), (shown, public, 0o644)):
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(data)
    return secret, shown


def load_private(path: str | Path) -> PrivateKey:
    """Read a private key.

    Raises:
        ArgumentError: It is no Ed25519 private key in PEM without a passphrase.
    """
    try:
        key = _serialization().load_pem_private_key(_text(Path(path)), password=None)
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{path} is no private key in PEM without a passphrase: {error}") from None
    if not isinstance(key, _ed25519().Ed25519PrivateKey):
        raise ArgumentError(f"{path} is a key of another kind, wanted Ed25519")
    return PrivateKey(_id(key.public_key()), key)


def _public(file: Path) -> Ed25519PublicKey:
    try:
        key = _serialization().load_pem_public_key(_text(file))
    except ValueError as error:
        raise ArgumentError(f"{file} is no public key in PEM: {error}") from None
    if not isinstance(key, _ed25519().Ed25519PublicKey):
        raise ArgumentError(f"{file} is a key of another kind, wanted Ed25519")
    return key  # type: ignore[no-any-return]


def _text(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_MAX_KEY_BYTES)


def _id(key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(key.public_bytes_raw()).digest()


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingDependencyError("signed bundles want cryptography: pip install 'layerzero[fleet]'") from error
    return ed25519


def _serialization() -> Any:
    _ed25519()
    from cryptography.hazmat.primitives import serialization

    return serialization

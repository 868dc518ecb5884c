"""A snapshot -> files named by the digest of what they hold, from which its program and environment are made again.

    snapshots/<sha256>.json   schema `lz.snapshot/1`: the texts by digest, rules of calls among them; the environment
    texts/<sha256>.lzp        one text as it was read
    programs/<digest>.json    the canonical program; its SHA-256 is the policy's digest

Nothing is ever overwritten: equal names hold equal contents. What is read is held against its name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from layerzero.check import load_texts, require
from layerzero.check.digest import canonical_json
from layerzero.check.program import Layer, Program, Text
from layerzero.errors import LayerZeroError
from layerzero.runtime.building import CALLABLE, adopt
from layerzero.runtime.snapshot import Snapshot
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.runtime.whole_file import replace_file
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source

SCHEMA = "lz.snapshot/1"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ExportError(LayerZeroError):
    """An exported snapshot is missing, damaged, or of another version."""


@dataclass(frozen=True)
class Manifest:
    """What one snapshot is made of; `digest` names it."""

    data: Mapping[str, Any]
    texts: tuple[Text, ...]

    @property
    def body(self) -> bytes:
        return _body(self.data)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def manifest_of(snapshot: Snapshot) -> Manifest:
    """The manifest of a snapshot. Two snapshots with the same texts and environment have the same one."""
    texts, identity = snapshot.texts, snapshot.identity
    data = {
        "schema": SCHEMA,
        "policy": {"name": identity.name, "version": identity.version, "digest": identity.digest},
        "texts": [
            {"name": t.source.name, "sha256": text_digest(t.source), "layer": t.layer.name, "trusted": t.trusted}
            for t in texts
        ],
        "registered": sorted(name for name, path in snapshot.vocabulary.adapters.items() if path == CALLABLE),
        "asked_packages": sorted(snapshot.vocabulary.all_packages),  # those not in `packages` were not installed
        "devices": [dict(device) for device in snapshot.devices],
        "environment": environment_data(snapshot.environment),
    }
    return Manifest(data, texts)


def text_digest(source: Source) -> str:
    return hashlib.sha256(_bytes(source.text)).hexdigest()


def environment_data(environment: Environment) -> dict[str, Any]:
    return {
        "packages": dict(environment.packages),
        "broken": dict(environment.broken),
        "no_adapter": dict(environment.no_adapter),
        "open_breakers": dict(environment.open_breakers),
        "stopped_arms": sorted(map(list, environment.stopped_arms)),
        "assume_packages": environment.assume_packages,
        "today": environment.today.isoformat(),
    }


def environment_from(data: Mapping[str, Any]) -> Environment:
    """What `environment_data` wrote."""
    return Environment(
        packages=data["packages"],
        broken=data["broken"],
        no_adapter=data["no_adapter"],
        open_breakers=data["open_breakers"],
        stopped_arms=frozenset((experiment, arm) for experiment, arm in data["stopped_arms"]),
        assume_packages=data["assume_packages"],
        today=date.fromisoformat(data["today"]),
    )


class SnapshotStore:
    """A folder of exported snapshots."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def put(self, manifest: Manifest, program: Program | None = None) -> str:
        """Store a snapshot and, where the program is at hand, its canonical form; returns the snapshot's digest.

        Raises:
            OSError: The folder cannot be written; what was written so far is whole.
        """
        for text in manifest.texts:
            self._write("texts", f"{text_digest(text.source)}.lzp", _bytes(text.source.text))
        if program is not None:
            self._write("programs", f"{program.digest}.json", canonical_json(program).encode())
        self._write("snapshots", f"{manifest.digest}.json", manifest.body)  # last: a manifest has all that it names
        return manifest.digest

    def get(self, digest: str) -> Snapshot:
        """The snapshot of a digest, decided by the interpreter until something compiles it; its epoch is 0.

        Raises:
            ExportError: It is not here, or what is here does not fit its name.
        """
        try:
            data = json.loads(self._read("snapshots", digest, "json"))
            return self._restore(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExportError(f"snapshot {digest[:12]} is not of schema {SCHEMA}: {error}") from error

    def environment(self, digest: str) -> tuple[Environment, frozenset[str]]:
        """The environment of a snapshot, and the packages that were looked for on its machine. Raises as `get`."""
        try:
            data = json.loads(self._read("snapshots", digest, "json"))
            return environment_from(data["environment"]), frozenset(data["asked_packages"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExportError(f"snapshot {digest[:12]} is not of schema {SCHEMA}: {error}") from error

    def devices(self, digest: str) -> list[dict[str, Any]]:
        """The devices that a snapshot was compiled for, as what a context gives of them. Raises as `get`."""
        try:
            devices = json.loads(self._read("snapshots", digest, "json"))["devices"]
            return [{name: value for name, value in device.items() if value is not None} for device in devices]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExportError(f"snapshot {digest[:12]} is not of schema {SCHEMA}: {error}") from error

    def brought(self, digest: str) -> tuple[list[Source], list[str]]:
        """The catalogs that the recorded process brought by calls, and its own kernels. Raises as `get`."""
        try:
            data = json.loads(self._read("snapshots", digest, "json"))
            catalogs = [
                Source(one["name"], self._read("texts", one["sha256"], "lzp").decode("utf-8", "surrogatepass"))
                for one in data["texts"]
                if one["trusted"] and one["name"].startswith("<")
            ]
            return catalogs, [str(name) for name in data["registered"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExportError(f"snapshot {digest[:12]} is not of schema {SCHEMA}: {error}") from error

    def __contains__(self, digest: str) -> bool:
        return _DIGEST.fullmatch(digest) is not None and (self.folder / "snapshots" / f"{digest}.json").is_file()

    def _restore(self, data: Mapping[str, Any]) -> Snapshot:
        if data["schema"] != SCHEMA:
            raise ExportError(f"wanted schema {SCHEMA}, got {data['schema']!r}")
        texts = tuple(
            Text(
                Source(one["name"], self._read("texts", one["sha256"], "lzp").decode("utf-8", "surrogatepass")),
                Layer[one["layer"]],
                one["trusted"],
            )
            for one in data["texts"]
        )
        program = adopt(require(load_texts(texts)), frozenset(data["registered"]))
        if program.digest != data["policy"]["digest"]:
            # The texts are those that were read; another version of LayerZero may understand them otherwise.
            raise ExportError(
                f"the texts make a program with digest {program.digest[:12]}, the snapshot had "
                f"{data['policy']['digest'][:12]}: it was exported by another version of LayerZero"
            )
        return Snapshot(Vocabulary.of(program), environment_from(data["environment"]), program, (), 0, texts)

    def _read(self, kind: str, digest: str, suffix: str) -> bytes:
        if _DIGEST.fullmatch(digest) is None:
            raise ExportError(f"{digest!r} is not a digest")
        path = self.folder / kind / f"{digest}.{suffix}"
        try:
            body = path.read_bytes()
        except OSError as error:
            raise ExportError(f"{path}: {(error.strerror or str(error)).lower()}") from error
        if hashlib.sha256(body).hexdigest() != digest:
            raise ExportError(f"{path}: damaged, its content does not have the digest of its name")
        return body

    def _write(self, kind: str, name: str, body: bytes) -> None:
        path = self.folder / kind / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, body)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _body(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode("ascii")

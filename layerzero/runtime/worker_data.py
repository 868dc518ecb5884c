"""What a process asks its worker, as JSON's types and back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from layerzero.check.program import Text
from layerzero.runtime.building import Material, content_digest
from layerzero.semantics.environment import Environment
from layerzero.syntax.source import Source

Json = dict[str, Any]


def key_of(texts: Sequence[Text], registered: frozenset[str]) -> str:
    """Names a program by all that it was checked from."""
    parts = [f"{one.layer:d}{one.trusted:d}{one.source.name}\0{content_digest(one.source.text)}" for one in texts]
    return hashlib.sha256("\0".join([*parts, *sorted(registered)]).encode("utf-8", "surrogatepass")).hexdigest()


def material_data(material: Material) -> Json:
    """A material as JSON's types."""
    return {
        "path": None if material.path is None else str(material.path),
        "text": None if material.text is None else _source_data(material.text),
        "kept": [_source_data(one) for one in material.kept],
        "prelude": material.prelude,
        "with_catalogs": [_source_data(one) if isinstance(one, Source) else str(one) for one in material.with_catalogs],
        "catalogs": [_source_data(one) for one in material.catalogs],
        "runtime": [_source_data(one) for one in material.runtime],
        "registered": sorted(material.registered),
    }


def material_from(data: Json, folder: str) -> Material:
    """What `material_data` wrote; paths are relative to `folder`."""
    if folder != os.getcwd():
        os.chdir(folder)
    return Material(
        path=None if data["path"] is None else Path(data["path"]),
        text=None if data["text"] is None else Source(*data["text"]),
        kept=tuple(Source(*one) for one in data["kept"]),
        prelude=data["prelude"],
        with_catalogs=tuple(Path(one) if isinstance(one, str) else Source(*one) for one in data["with_catalogs"]),
        catalogs=tuple(Source(*one) for one in data["catalogs"]),
        runtime=tuple(Source(*one) for one in data["runtime"]),
        registered=frozenset(data["registered"]),
    )


def _source_data(source: Source) -> list[str]:
    return [source.name, source.text]


def environment_data(environment: Environment) -> Json:
    """An environment as JSON's types."""
    return {
        "packages": dict(environment.packages),
        "broken": dict(environment.broken),
        "no_adapter": dict(environment.no_adapter),
        "open_breakers": dict(environment.open_breakers),
        "stopped_arms": sorted(list(one) for one in environment.stopped_arms),
        "assume_packages": environment.assume_packages,
        "today": environment.today.toordinal(),
    }


def environment_from(data: Json) -> Environment:
    """What `environment_data` wrote."""
    return Environment(
        packages=data["packages"],
        broken=data["broken"],
        no_adapter=data["no_adapter"],
        open_breakers=data["open_breakers"],
        stopped_arms=frozenset((experiment, arm) for experiment, arm in data["stopped_arms"]),
        assume_packages=data["assume_packages"],
        today=date.fromordinal(data["today"]),
    )

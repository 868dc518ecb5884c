"""A builder that remembers on disk: a policy that was checked and compiled before is neither parsed nor compiled again.

Kept is plain data: the words of a program, and its compiled forms, each under a digest of all that it was made from:
the texts, the machine, the day as far as a rule ends on it, and LayerZero's own code. The folder is the user's own, an
entry that is damaged or does not fit is no entry, and writers replace files as a whole (see syntax.cache). Only
programs without findings are kept; the program itself is checked from its texts when somebody asks for it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import layerzero
from layerzero.check import load_texts, require
from layerzero.check.expressions import Value
from layerzero.check.loader import files_of, installed_catalogs, shipped_files, shipped_name
from layerzero.check.program import Layer, Program, Text
from layerzero.check.stored import program_data, program_from_data
from layerzero.compiler.collecting import no_collecting
from layerzero.compiler.compile import compile_operation
from layerzero.compiler.form import Form, OperationForm
from layerzero.runtime.building import InProcess, Loaded, Material, adopt, content_digest
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.runtime.worker_data import key_of, material_data
from layerzero.semantics.environment import Environment
from layerzero.syntax import cache as kept
from layerzero.syntax.reading import read_source
from layerzero.syntax.source import Source

SCHEMA = "lz.snapshot/1"
T = TypeVar("T")
_DAMAGED = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass
class Cached:
    """Builds as `inner` does, and keeps what it made.

    Attributes:
        whole: Keep whole programs too, for those who explain: a command, a policy that is asked.
        hits: How many programs and forms came from the disk.
        misses: How many had to be made.
    """

    inner: InProcess = field(default_factory=InProcess)
    whole: bool = False
    hits: int = 0
    misses: int = 0

    def load(self, material: Material) -> Loaded:
        """See Builder."""
        key = f"program-{_digest('program', _material_key(material))}"
        found = _unless_damaged(lambda: _loaded(kept.read(key), material))
        if found is not None:
            self.hits += 1
            return replace(found, program=lambda: self._program(found))
        self.misses += 1
        loaded = self.inner.load(material)
        if loaded.warnings or loaded.wanted:
            return loaded
        program = loaded.program()
        loaded = replace(loaded, key=_operations_key(program))
        kept.write(key, _loaded_data(loaded, program))
        if self.whole:
            _keep_program(program, material.registered)
        return loaded

    def _program(self, loaded: Loaded) -> Program:
        """The checked program of what was found on the disk."""
        registered = loaded.material.registered
        program = _unless_damaged(lambda: _kept_program(loaded.texts, registered))
        if program is None:
            program = adopt(require(load_texts(loaded.texts)), registered)
            if self.whole:
                _keep_program(program, registered)
        vars(program)["digest"] = loaded.vocabulary.identity.digest  # as functools.cached_property keeps what it made
        vars(program)["operation_digests"] = json.loads(loaded.key)
        return program

    def revise(self, loaded: Loaded, material: Material) -> Loaded:
        """See Builder."""
        return replace(self.inner.revise(loaded, material), key="")

    def compile(
        self, loaded: Loaded, environment: Environment, devices: Sequence[Mapping[str, Value | None]]
    ) -> list[Form]:
        """See Builder. What changes while a process runs (rules of calls, open breakers) stays in memory."""
        if not loaded.key or environment.open_breakers:
            return self.inner.compile(loaded, environment, devices)
        return [self._form(loaded, environment, device) for device in devices]

    def _form(self, loaded: Loaded, environment: Environment, device: Mapping[str, Value | None]) -> Form:
        where = _machine(environment, loaded.vocabulary.expiries)
        key = f"form-{_digest('form', loaded.key, where, repr(sorted(device.items())))}"
        found = _unless_damaged(lambda: _read_form(kept.read(key)))
        if found is None:
            self.misses += 1
            (found,) = self.inner.compile(loaded, environment, [device])
            kept.write(key, found.to_data())
        else:
            self.hits += 1
            self.inner.remember(json.loads(loaded.key), environment, device, found.operations)
        return Form(loaded.vocabulary.identity.digest, environment.digest, device, found.operations)


def kept_program_form(program: Program, environment: Environment, device: Mapping[str, Value | None]) -> Form:
    """What `compile_program` gives, from the disk where it was compiled before."""
    operations = {name: kept_form(program, environment, device, name) for name in sorted(program.operations)}
    return Form(program.digest, environment.digest, dict(device), operations)


def kept_form(
    program: Program, environment: Environment, device: Mapping[str, Value | None], operation: str
) -> OperationForm:
    """What `compile_operation` gives, from the disk where it was compiled before."""
    expiries = [rule.until for rule in program.rules if rule.until is not None]
    where = _machine(environment, expiries), repr(sorted(device.items()))
    key = f"operation-{_digest('operation', operation, program.operation_digests[operation], *where)}"
    with no_collecting():
        found = _unless_damaged(lambda: _read_operation(kept.read(key), operation))
    if found is None:
        found = compile_operation(program, environment, device, program.operations[operation])
        kept.write(key, found.to_data())
    return found


def _read_operation(data: Any, name: str) -> OperationForm | None:
    return None if data is None else OperationForm.from_data(name, data)


# ---------------------------------------------------------------- keys


def _material_key(material: Material) -> str:
    """All that decides which texts are read, but for what stands in the files."""
    data: dict[str, Any] = material_data(material)
    path = material.path
    if path is not None:
        data["path"] = os.path.abspath(path)
        data["listed"] = [] if path.is_file() else [str(one) for one in files_of(path)[1]] if path.is_dir() else None
    data["shipped"] = [str(one) for one in (*shipped_files(), *installed_catalogs())]
    data["folder"] = os.getcwd()
    return json.dumps(data, sort_keys=True)


def _operations_key(program: Program) -> str:
    return json.dumps(program.operation_digests, sort_keys=True)


def _machine(environment: Environment, expiries: Sequence[date]) -> str:
    """The environment, without what no form depends on: who is in which arm, and days on which no rule ends."""
    ended = [day for day in expiries if day <= environment.today]
    return replace(environment, stopped_arms=frozenset(), today=max(ended, default=date.min)).digest


def _digest(*parts: str) -> str:
    text = "\0".join([SCHEMA, layerzero.__version__, _code(), *parts])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _code() -> str:
    """Names this very code: a change of the checker or compiler makes other forms, also between two versions."""
    root = Path(__file__).resolve().parents[1]
    found = []
    for package in ("syntax", "notations", "check", "semantics", "compiler", "runtime"):
        with os.scandir(root / package) as entries:
            files = [(entry.name, entry.stat()) for entry in entries if entry.name.endswith(".py")]
        found += [f"{package}/{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files]
    return "\n".join(sorted(found))


# ---------------------------------------------------------------- data


def _loaded_data(loaded: Loaded, program: Program) -> dict[str, Any]:
    """A text that came from a file is its path; the others are part of the material, and stand here in full."""
    paths = {_source_name(path): path for path in loaded.files}
    texts: list[list[Any]] = []
    for one in program.texts:
        path = paths.get(one.source.name)
        if path is not None and loaded.contents[path] == content_digest(one.source.text):
            texts.append(["file", path, int(one.layer), one.trusted])
        else:
            texts.append(["text", one.source.name, one.source.text, int(one.layer), one.trusted])
    return {
        "files": [[path, loaded.contents[path]] for path in loaded.files],
        "texts": texts,
        "vocabulary": loaded.vocabulary.to_data(),
        "operations": loaded.key,
    }


def _loaded(data: Any, material: Material) -> Loaded | None:
    """What `_loaded_data` wrote, if every file is as it was."""
    if data is None:
        return None
    sources: dict[str, Source] = {}
    for path, digest in data["files"]:
        source = read_source(Path(path), _source_name(path))
        if not isinstance(source, Source) or content_digest(source.text) != digest:
            return None
        sources[path] = source
    texts = tuple(
        Text(sources[rest[0]] if kind == "file" else Source(*rest[:2]), Layer(rest[-2]), rest[-1])
        for kind, *rest in data["texts"]
    )
    return Loaded(
        material,
        Vocabulary.from_data(data["vocabulary"]),
        _unread,
        tuple(sources),
        texts=texts,
        contents=dict(data["files"]),
        key=str(data["operations"]),
    )


def _unread() -> Program:
    raise AssertionError("unreachable: whoever reads it says how its program is had")


def _program_key(texts: Sequence[Text], registered: frozenset[str]) -> str:
    return f"checked-{_digest('checked', key_of(texts, registered))}"


def _keep_program(program: Program, registered: frozenset[str]) -> None:
    try:
        kept.write(_program_key(program.texts, registered), program_data(program))
    except ValueError:  # an odd value in a test of the policy
        return


def _kept_program(texts: Sequence[Text], registered: frozenset[str]) -> Program | None:
    with no_collecting():
        data = kept.read(_program_key(texts, registered))
        return None if data is None else program_from_data(data, texts)


def _source_name(path: str) -> str:
    """What a file is called in messages."""
    return shipped_name(Path(path)) or path


def _read_form(data: Any) -> Form | None:
    if data is None:
        return None
    with no_collecting():
        return Form.from_data(data)


def _unless_damaged(read: Callable[[], T | None]) -> T | None:
    try:
        return read()
    except _DAMAGED:
        return None

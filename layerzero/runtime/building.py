"""Files and run-time rules -> a program's vocabulary and compiled forms. Two steps, because the environment, which
the second one wants, depends on the packages that the first one finds named."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from layerzero.check import Checked, load, load_sources, load_text, load_texts, require
from layerzero.check.expressions import Value
from layerzero.check.program import Layer, Program, Text
from layerzero.compiler.compile import compile_operation
from layerzero.compiler.form import Form, OperationForm
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.environment import Environment
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.source import Source

NO_POLICY = "<no policy>"
CALLABLE = "<registered>"


@dataclass(frozen=True)
class Material:
    """What a snapshot is made of: the policy's path (None: the shipped policy alone, or a text) with the catalogs that
    it was loaded with, texts that the program itself brings, and the rules of its calls. `kept` are the policy's files
    as they were read once, which stand in for what is at the path now."""

    path: Path | None = None
    text: Source | None = None
    kept: tuple[Source, ...] = ()
    prelude: bool = True
    with_catalogs: tuple[Path | Source, ...] = ()
    catalogs: tuple[Source, ...] = ()  # of registered kernels
    runtime: tuple[Source, ...] = ()
    registered: frozenset[str] = frozenset()  # kernels whose functions the program holds

    def of_policy(self, other: Material) -> Material:
        """This material with the policy of another: what calls and registrations made stays."""
        policy = replace(self, path=other.path, text=other.text, kept=other.kept)
        return replace(policy, prelude=other.prelude, with_catalogs=other.with_catalogs)


@dataclass(frozen=True)
class Loaded:
    """A material read and checked. `program` gives the whole program, perhaps by building it first; `texts` are what
    it was checked from, where they are known without building it. `contents` are the SHA-256 of what was read from each
    of the files, `wanted` files that were looked for and not found; `key` is the builder's own name for it."""

    material: Material
    vocabulary: Vocabulary
    program: Callable[[], Program]
    files: tuple[str, ...]
    warnings: tuple[Diagnostic, ...] = ()
    texts: tuple[Text, ...] = ()
    contents: Mapping[str, str] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()
    key: str = ""

    @property
    def all_texts(self) -> tuple[Text, ...]:
        """What it was checked from, whatever it takes to know."""
        return self.texts or self.program().texts


class Builder(Protocol):
    """Where reading and compiling happen: in this thread, or in a worker process."""

    def load(self, material: Material) -> Loaded:
        """Read and check.

        Raises:
            FileNotFoundError: There is no such path.
            PolicyError: The policy has errors.
        """
        ...

    def revise(self, loaded: Loaded, material: Material) -> Loaded:
        """The same policy, as it was read then, with the catalogs and run-time rules of another material: whatever
        stands in its files by now plays no part.

        Raises:
            PolicyError: A rule or a catalog is wrong.
        """
        ...

    def compile(
        self, loaded: Loaded, environment: Environment, devices: Sequence[Mapping[str, Value | None]]
    ) -> list[Form]:
        """One form for each device."""
        ...


def build_program(material: Material) -> tuple[Program, tuple[str, ...], tuple[Diagnostic, ...]]:
    """Read and check a material: the program, the files read, and the warnings.

    Raises:
        FileNotFoundError: There is no such path.
        PolicyError: The policy has errors.
    """
    checked = read_material(material)
    return adopt(require(checked), material.registered), checked.files, checked.diagnostics


def read_material(material: Material) -> Checked:
    """Read and check a material.

    Raises:
        FileNotFoundError: There is no such path.
        PolicyError: The path is a folder that holds several programs.
    """
    catalogs, runtime, prelude = (*material.with_catalogs, *material.catalogs), material.runtime, material.prelude
    if material.kept:
        return load_sources(material.kept, prelude=prelude, catalogs=catalogs, runtime=runtime)
    if material.path is not None:
        return load(material.path, prelude=prelude, catalogs=catalogs, runtime=runtime)
    text = material.text or Source(NO_POLICY, "")
    return load_text(text.text, name=text.name, prelude=prelude, catalogs=catalogs, runtime=runtime)


def adopt(program: Program, registered: frozenset[str]) -> Program:
    """The program, in which registered kernels have their functions for adapters."""
    adopted = {name: replace(program.kernels[name], adapter=CALLABLE) for name in registered if name in program.kernels}
    return replace(program, kernels={**program.kernels, **adopted}) if adopted else program


def revised_texts(loaded: Loaded, material: Material) -> tuple[Text, ...]:
    """The texts of a policy with the catalogs and run-time rules of another material."""
    brought = {*loaded.material.catalogs, *material.catalogs}
    kept = [one for one in loaded.all_texts if one.layer is not Layer.RUNTIME and one.source not in brought]
    catalogs = [Text(source, Layer.PRELUDE, trusted=True) for source in material.catalogs]
    return (*kept, *catalogs, *(Text(source, Layer.RUNTIME) for source in material.runtime))


def content_digest(text: str) -> str:
    """SHA-256 of a text as it stands in a UTF-8 file."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def contents_of(checked: Checked) -> dict[str, str]:
    """File -> digest of what was read from it."""
    return {file: content_digest(one.text) for file, one in zip(checked.files, checked.sources, strict=True)}


@dataclass
class InProcess:
    """Reads and compiles in the calling thread. Operations that a change leaves alone are not compiled again."""

    kept: int = 256
    _compiled: OrderedDict[tuple[str, ...], OperationForm] = field(default_factory=OrderedDict)

    def load(self, material: Material) -> Loaded:
        """See Builder."""
        checked = read_material(material)
        program = adopt(require(checked), material.registered)
        return Loaded(
            material,
            Vocabulary.of(program),
            lambda: program,
            checked.files,
            checked.diagnostics,
            contents=contents_of(checked),
            wanted=checked.wanted,
        )

    def revise(self, loaded: Loaded, material: Material) -> Loaded:
        """See Builder."""
        checked = load_texts(revised_texts(loaded, material))
        program = adopt(require(checked), material.registered)
        return replace(
            loaded,
            material=material,
            vocabulary=Vocabulary.of(program),
            program=lambda: program,
            warnings=checked.diagnostics,
            texts=(),
        )

    def compile(
        self, loaded: Loaded, environment: Environment, devices: Sequence[Mapping[str, Value | None]]
    ) -> list[Form]:
        """See Builder."""
        program = loaded.program()
        digests = program.operation_digests  # kept: a swap to a policy that was in force before costs little
        return [self._form(program, digests, environment, device) for device in devices]

    def remember(
        self,
        digests: Mapping[str, str],
        environment: Environment,
        device: Mapping[str, Value | None],
        operations: Mapping[str, OperationForm],
    ) -> None:
        """Keep forms that were made elsewhere, by the digests of their operations."""
        where = _where(environment)
        for name, form in operations.items():
            self._compiled[digests[name], where, repr(sorted(device.items()))] = form

    def _form(
        self,
        program: Program,
        digests: Mapping[str, str],
        environment: Environment,
        device: Mapping[str, Value | None],
    ) -> Form:
        operations: dict[str, OperationForm] = {}
        where = _where(environment)
        for name, operation in sorted(program.operations.items()):
            key = (digests[name], where, repr(sorted(device.items())))
            if key not in self._compiled:
                self._compiled[key] = compile_operation(program, environment, device, operation)
            self._compiled.move_to_end(key)
            operations[name] = self._compiled[key]
        while len(self._compiled) > self.kept:
            self._compiled.popitem(last=False)
        return Form(program.digest, environment.digest, device, operations)


def _where(environment: Environment) -> str:
    return replace(environment, stopped_arms=frozenset()).digest  # who is in which arm is not compiled

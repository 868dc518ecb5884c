"""Files and run-time rules -> a program's vocabulary and compiled forms. Two steps, because the environment, which
the second one wants, depends on the packages that the first one finds named."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from layerzero.check import load, load_text, require
from layerzero.check.digest import operation_digest
from layerzero.check.expressions import Value
from layerzero.check.program import Program, Text
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
    it was loaded with, texts that the program itself brings, and the rules of its calls."""

    path: Path | None = None
    text: Source | None = None
    prelude: bool = True
    with_catalogs: tuple[Path | Source, ...] = ()
    catalogs: tuple[Source, ...] = ()  # of registered kernels
    runtime: tuple[Source, ...] = ()
    registered: frozenset[str] = frozenset()  # kernels whose functions the program holds

    def of_policy(self, other: Material) -> Material:
        """This material with the policy of another: what calls and registrations made stays."""
        return replace(self, path=other.path, text=other.text, prelude=other.prelude, with_catalogs=other.with_catalogs)


@dataclass(frozen=True)
class Loaded:
    """A material read and checked. `program` gives the whole program, perhaps by building it first; `texts` are what
    it was checked from, where they are known without building it."""

    material: Material
    vocabulary: Vocabulary
    program: Callable[[], Program]
    files: tuple[str, ...]
    warnings: tuple[Diagnostic, ...] = ()
    texts: tuple[Text, ...] = ()


class Builder(Protocol):
    """Where reading and compiling happen: in this thread, or in a worker process."""

    def load(self, material: Material) -> Loaded:
        """Read and check.

        Raises:
            FileNotFoundError: There is no such path.
            PolicyError: The policy has errors.
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
    catalogs, runtime, prelude = (*material.with_catalogs, *material.catalogs), material.runtime, material.prelude
    if material.path is not None:
        checked = load(material.path, prelude=prelude, catalogs=catalogs, runtime=runtime)
    else:
        text = material.text or Source(NO_POLICY, "")
        checked = load_text(text.text, name=text.name, prelude=prelude, catalogs=catalogs, runtime=runtime)
    program = require(checked)
    adopted = {
        name: replace(program.kernels[name], adapter=CALLABLE)
        for name in material.registered
        if name in program.kernels
    }
    if adopted:
        program = replace(program, kernels={**program.kernels, **adopted})
    return program, checked.files, checked.diagnostics


@dataclass
class InProcess:
    """Reads and compiles in the calling thread. Operations that a change leaves alone are not compiled again."""

    kept: int = 256
    _compiled: OrderedDict[tuple[str, ...], OperationForm] = field(default_factory=OrderedDict)

    def load(self, material: Material) -> Loaded:
        """See Builder."""
        program, files, warnings = build_program(material)
        return Loaded(material, Vocabulary.of(program), lambda: program, files, warnings)

    def compile(
        self, loaded: Loaded, environment: Environment, devices: Sequence[Mapping[str, Value | None]]
    ) -> list[Form]:
        """See Builder."""
        program = loaded.program()
        digests = {name: operation_digest(program, name) for name in program.operations}
        return [self._form(program, digests, environment, device) for device in devices]

    def _form(
        self,
        program: Program,
        digests: Mapping[str, str],
        environment: Environment,
        device: Mapping[str, Value | None],
    ) -> Form:
        operations: dict[str, OperationForm] = {}
        where = replace(environment, stopped_arms=frozenset()).digest  # who is in which arm is not compiled
        for name, operation in sorted(program.operations.items()):
            key = (digests[name], where, repr(sorted(device.items())))
            if key not in self._compiled:
                self._compiled[key] = compile_operation(program, environment, device, operation)
            self._compiled.move_to_end(key)
            operations[name] = self._compiled[key]
        while len(self._compiled) > self.kept:
            self._compiled.popitem(last=False)
        return Form(program.digest, environment.digest, device, operations)

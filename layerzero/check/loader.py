"""Paths -> the parsed files of one program: roots, imports, the prelude and the catalogs.

A program is its root file with everything that it imports, on top of the shipped prelude (unless it says
`standalone`). Imports are relative to the importing file and stay inside the root's folder.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from layerzero.check.checker import Checked, check
from layerzero.check.limits import MAX_FILES, MAX_IMPORT_DEPTH
from layerzero.check.names import Unit
from layerzero.check.program import Layer, Program, Text
from layerzero.errors import PolicyError
from layerzero.notations import Words, is_notation, read as read_notation
from layerzero.resources import shipped
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.reading import read_source
from layerzero.syntax.source import Source, Span
from layerzero.syntax.trees import parse_cached

TEST_SUFFIX = "_test.lzp"


@dataclass(frozen=True, slots=True)
class Root:
    """One program to load: its first files, and the folder that imports may not leave."""

    files: tuple[Path, ...]
    folder: Path

    @property
    def name(self) -> str:
        return str(self.files[0]) if len(self.files) == 1 else str(self.folder)


def find_roots(path: Path, tests: bool = False) -> list[Root]:
    """The programs that a PATH stands for.

    A file is one. A folder, or a glob (`policies/*.lzp`), is every file in it with a `policy` header or, without any,
    all its files as one program. With `tests`, each `*_test.lzp` is a program of its own besides.

    Raises:
        FileNotFoundError: There is no such path, or the folder holds no `.lzp` file.
    """
    if path.is_file():
        return [Root((path,), path.parent)]
    if not path.is_dir() and not glob.has_magic(str(path)):
        raise FileNotFoundError(f"no such file or folder: {path}")
    folder, files = files_of(path)
    if not files:
        raise FileNotFoundError(f"no .lzp file in {path}" if folder == path else f"no file matches {path}")
    live = [file for file in files if not file.name.endswith(TEST_SUFFIX)]
    headed = [file for file in live if _has_header(file)]
    roots = [Root((file,), file.parent) for file in headed]
    if not headed and live:
        roots = [Root(tuple(live), folder)]
    if tests:
        roots.extend(Root((file,), file.parent) for file in files if file.name.endswith(TEST_SUFFIX))
    return roots


def files_of(path: Path) -> tuple[Path, list[Path]]:
    """The files, tests included, that a folder or a glob (`policies/prod/*.lzp`) stands for, and the folder that holds
    them."""
    folder, pattern = path, "**/*.lzp"
    if not path.is_dir():
        first = next(index for index, part in enumerate(path.parts) if glob.has_magic(part))
        folder, pattern = Path(*path.parts[:first]), str(Path(*path.parts[first:]))
    return folder, sorted(one for one in folder.glob(pattern) if one.is_file() and not _hidden(one, folder))


def _hidden(file: Path, folder: Path) -> bool:
    # A Kubernetes ConfigMap keeps its versions in `..data` folders beside the links that are meant.
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _has_header(path: Path) -> bool:
    source = read_source(path)
    if not isinstance(source, Source):
        return False
    file, _ = read_notation(source, Words()) if is_notation(source.name) else _parse(source)
    return file is not None and any(isinstance(statement, nodes.Policy) for statement in file.statements)


def load(
    root: Root | Path | str,
    *,
    prelude: bool = True,
    catalogs: Sequence[Path | Source] = (),
    runtime: Sequence[Source] = (),
    opened: Mapping[Path, str] | None = None,
) -> Checked:
    """Read, parse and check one program.

    Args:
        root: What to load; a path stands for the one program that it holds.
        prelude: False leaves out the shipped prelude, catalogs and rules, as `standalone` in the header does.
        catalogs: Files, or texts, to trust besides the shipped catalogs and those of installed packages.
        runtime: Rules made by calls of the program, the top layer.
        opened: Resolved path -> a text that stands for what is on disk, as editors have it.

    Raises:
        FileNotFoundError: There is no such path.
        PolicyError: A folder that holds several programs.
    """
    if not isinstance(root, Root):
        found = find_roots(Path(root))
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            raise PolicyError(f"{root} holds {len(found)} policies ({names}); name the one you mean")
        root = found[0]
    reading = _reading(catalogs, opened or {})
    for path in root.files:
        reading.read(path, Layer.POLICY, root.folder)
    return _finish(reading, prelude, runtime)


def load_text(
    text: str,
    *,
    name: str = "<text>",
    prelude: bool = True,
    catalogs: Sequence[Path | Source] = (),
    runtime: Sequence[Source] = (),
) -> Checked:
    """Check a policy held in a string. It cannot import: there is no folder to import from."""
    reading = _reading(catalogs)
    reading.add(Source(name, text), None, Layer.POLICY, None, False, ())
    return _finish(reading, prelude, runtime)


def load_sources(
    sources: Sequence[Source],
    *,
    prelude: bool = True,
    catalogs: Sequence[Path | Source] = (),
    runtime: Sequence[Source] = (),
) -> Checked:
    """Check a policy that was read before, all its files: imports among them are not followed again."""
    reading = _reading(catalogs)
    reading.following = False
    for source in sources:
        reading.add(source, None, Layer.POLICY, None, False, ())
    return _finish(reading, prelude, runtime)


def load_texts(texts: Sequence[Text]) -> Checked:
    """Check exactly these texts, as `Program.texts` holds them; no file is read, and imports are not followed."""
    units: list[Unit] = []
    findings: list[Diagnostic] = []
    for text in sorted(texts, key=lambda text: is_notation(text.source.name)):
        if is_notation(text.source.name):
            file, found = read_notation(text.source, Words.of(unit.file for unit in units))
        else:
            file, found = _parse(text.source)
        findings.extend(found)
        if file is not None:
            units.append(Unit(file, text.layer, text.trusted))
    return check(units, findings)


def program_from_text(text: str, prelude: bool = True, name: str = "<text>") -> Program:
    """The program of a text.

    Raises:
        PolicyError: With every diagnostic, when the text has errors.
    """
    return require(load_text(text, name=name, prelude=prelude))


def require(checked: Checked) -> Program:
    """The program, or PolicyError with the findings in its message."""
    if checked.program is not None:
        return checked.program
    from layerzero.syntax.render import render

    errors = [finding for finding in checked.diagnostics if finding.severity == "error"]
    count = f"{len(errors)} error{'s' if len(errors) != 1 else ''}"
    raise PolicyError(f"the policy has {count}\n{render(errors)}", checked.diagnostics)


def _reading(catalogs: Sequence[Path | Source], opened: Mapping[Path, str] = MappingProxyType({})) -> _Reading:
    """Start with the catalogs that the caller trusts, so that an import of one finds it trusted already."""
    reading = _Reading(shipped=_shipped_names(), opened=opened)
    for catalog in catalogs:
        if isinstance(catalog, Source):
            reading.add(catalog, None, Layer.PRELUDE, None, True, ())
        else:
            reading.read(catalog, Layer.PRELUDE, catalog.parent, trusted=True)
    return reading


def _finish(reading: _Reading, prelude: bool, runtime: Sequence[Source]) -> Checked:
    for source in runtime:
        reading.add(source, None, Layer.RUNTIME, None, False, ())
    standalone = any(
        isinstance(statement, nodes.Policy) and statement.standalone
        for unit in reading.units
        for statement in unit.file.statements
    )
    if prelude and not standalone:
        for path in shipped_files():
            reading.read(path, Layer.PRELUDE, shipped("policies"), trusted=True)
        for path in installed_catalogs():
            reading.read(path, Layer.PRELUDE, path.parent, trusted=True)
    reading.add_notations()
    checked = check(reading.units, reading.diagnostics)
    files, wanted = tuple(str(path) for path in reading.paths), tuple(str(path) for path in reading.wanted)
    return Checked(checked.program, checked.diagnostics, files, tuple(reading.sources), wanted)


@lru_cache(maxsize=1)
def shipped_files() -> tuple[Path, ...]:
    """The prelude, the devices, the catalogs and the default rules that come with LayerZero, as resolved paths."""
    folder = shipped("policies")
    kernels = sorted((folder / "kernels").glob("*.lzp"))
    rules = sorted(path for path in (folder / "rules").glob("*.lzp") if not path.name.endswith(TEST_SUFFIX))
    return (folder / "prelude.lzp", folder / "devices.lzp", *kernels, *rules)


@lru_cache(maxsize=1)
def installed_catalogs() -> tuple[Path, ...]:
    """The `.lzp` files of packages that announce themselves under the entry point group `layerzero.catalogs`.

    The value names a package whose folder holds them; it is found, not imported.
    """
    found: list[Path] = []
    for entry in sorted(entry_points(group="layerzero.catalogs"), key=lambda entry: entry.name):
        top, *rest = entry.module.split(".")
        spec = find_spec(top)
        for location in (spec.submodule_search_locations or []) if spec is not None else []:
            found.extend(sorted(Path(location, *rest).glob("*.lzp")))
    return tuple(found)


def shipped_name(path: Path) -> str | None:
    """What a shipped file is called in messages; None for another."""
    return _shipped_names().get(path.resolve())


@lru_cache(maxsize=1)
def _shipped_names() -> dict[Path, str]:
    """`policies/kernels/torch.lzp`: shipped files have one name in messages wherever the package is installed."""
    folder = shipped("policies")
    return {path: str(Path("policies") / path.relative_to(folder)) for path in shipped_files()}


# Programs of one folder share the shipped files and each other's imports: each text is parsed once in a process.
_parse = lru_cache(maxsize=64)(parse_cached)


@dataclass
class _Reading:
    """The files of one program while they are read; each is read once."""

    shipped: dict[Path, str]
    opened: Mapping[Path, str] = field(default_factory=dict)
    units: list[Unit] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)  # of the paths
    wanted: list[Path] = field(default_factory=list)  # that could not be read
    following: bool = True  # imports
    _seen: set[Path] = field(default_factory=set)
    _notations: list[tuple[Source, Layer]] = field(default_factory=list)

    def read(self, path: Path, layer: Layer, folder: Path, trusted: bool = False, chain: tuple[Path, ...] = ()) -> None:
        real = path.resolve()
        if real in self._seen:
            return
        self._seen.add(real)
        if real in self.shipped:  # also when a test imports one of them
            layer, trusted = Layer.PRELUDE, True
        open_text = self.opened.get(real)
        name = self.shipped.get(real)
        source = read_source(path, name) if open_text is None else Source(name or str(path), open_text)
        if isinstance(source, Diagnostic):
            self.diagnostics.append(source)
            self.wanted.append(path)
            return
        self.paths.append(path)
        self.sources.append(source)
        self.add(source, path, layer, folder, trusted, (*chain, real))

    def add(
        self,
        source: Source,
        path: Path | None,
        layer: Layer,
        folder: Path | None,
        trusted: bool,
        chain: tuple[Path, ...],
    ) -> None:
        if is_notation(source.name):
            self._notations.append((source, layer))
            return
        file, diagnostics = _parse(source)
        self.diagnostics.extend(diagnostics)
        if file is None:
            return
        self.units.append(Unit(file, layer, trusted))
        for statement in file.statements:
            if isinstance(statement, nodes.Import) and self.following:
                self._follow(statement, path, layer, folder, trusted, chain)

    def add_notations(self) -> None:
        """Read the YAML files last: what a value means there depends on the fields that the others declare."""
        words = Words.of(unit.file for unit in self.units) if self._notations else Words()
        for source, layer in self._notations:
            file, findings = read_notation(source, words)
            self.diagnostics.extend(findings)
            if file is not None:
                self.units.append(Unit(file, layer))

    def _follow(
        self,
        statement: nodes.Import,
        path: Path | None,
        layer: Layer,
        folder: Path | None,
        trusted: bool,
        chain: tuple[Path, ...],
    ) -> None:
        written, span = statement.path.value, statement.path.span
        if path is None or folder is None:
            self._report("LZ007", f'"{written}" cannot be imported: this text has no folder', span)
            return
        target = path.parent / written
        try:
            real = target.resolve()
        except (OSError, ValueError, RuntimeError) as error:
            self._report("LZ007", f'"{written}" is not a path: {error}', span)
            return
        inside = any(real.is_relative_to(allowed) for allowed in (folder.resolve(), chain[0].parent))
        if not inside:
            self._report(
                "LZ005", f'"{written}" leads outside the folder of the root file', span, f"the folder is {folder}"
            )
        elif real in chain:
            circle = " -> ".join(one.name for one in (*chain[chain.index(real) :], real))
            self._report("LZ004", f"import cycle: {circle}", span)
        elif len(chain) > MAX_IMPORT_DEPTH or len(self.paths) > MAX_FILES:
            self._report("LZ003", f"imports nest deeper than {MAX_IMPORT_DEPTH} or exceed {MAX_FILES} files", span)
        elif target.name.endswith(TEST_SUFFIX) and not path.name.endswith(TEST_SUFFIX):
            self._report("LZ212", f'"{written}" holds tests, which are never part of a live policy', span)
        elif not (target.is_file() or real in self.opened):
            self._report("LZ007", f'"{written}" does not exist', span, f"looked in {path.parent}")
            self.wanted.append(target)
        else:
            self.read(target, layer, folder, trusted, chain)

    def _report(self, code: str, message: str, span: Span, label: str = "") -> None:
        self.diagnostics.append(Diagnostic(code, message, span, label))

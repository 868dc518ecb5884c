"""Files on disk and as they stand in the editor -> a program, its findings and its symbols.

A file is checked as `lz check` checks it: with its imports, the shipped words and the installed catalogs. What is open
in the editor is read from there, saved or not. A text with errors has no program; words are then looked up in the
trees of what could be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from layerzero.analysis import study
from layerzero.check import Checked, load
from layerzero.check.loader import Root, files_of
from layerzero.editor.symbols import Symbols
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.source import Source
from layerzero.syntax.trees import parse_cached

_KEPT = 16


@dataclass(frozen=True, slots=True)
class View:
    """What is known of the program that a file begins."""

    checked: Checked
    findings: tuple[Diagnostic, ...]
    symbols: Symbols
    sources: tuple[Source, ...]

    def text_of(self, source: str) -> Source | None:
        return next((one for one in self.sources if one.name == source), None)


@dataclass
class Workspace:
    """Attributes:
    opened: Path -> the text as it stands in the editor.
    catalogs: Files to trust besides the installed catalogs.
    """

    opened: dict[Path, str] = field(default_factory=dict)
    catalogs: Sequence[Path] = ()
    _views: dict[tuple[Path, bool], tuple[tuple[str, ...], View]] = field(default_factory=dict)

    def view(self, path: Path, today: date, search: bool = True) -> View:
        """The program of a file; without `search` the analyses that look at regions of contexts are left out.

        Raises:
            FileNotFoundError: It is neither open nor on disk.
        """
        if path not in self.opened and not path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        checked = load(Root((path,), path.parent), catalogs=self.catalogs, opened=self.opened)
        texts = tuple(source.text for source in checked.sources)
        known = self._views.get((path, search))
        if known is not None and known[0] == texts:
            return known[1]
        findings = checked.diagnostics
        if checked.program is not None:
            findings = (*findings, *study(checked.program, today, fast=not search).findings)
        trees = [tree for source in checked.sources if (tree := _tree(source)) is not None]
        view = View(checked, findings, Symbols.of(trees), checked.sources)
        while len(self._views) >= _KEPT:
            self._views.pop(next(iter(self._views)))
        self._views[path, search] = (texts, view)
        return view

    def around(self, path: Path, today: date) -> list[View]:
        """The programs that may use what a file declares: of all files below its folder."""
        _, files = files_of(path.parent)
        others = [other for other in files if other != path]
        return [self.view(one, today, search=False) for one in (path, *others)]


def _tree(source: Source) -> nodes.File | None:
    return parse_cached(source)[0] if source.name.endswith(".lzp") or source.name.startswith("<") else None

"""A symbol and its new name -> the edits, in every file that may be written.

What the shipped files or an installed catalog declare keeps its name: other policies use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from layerzero.check.loader import installed_catalogs, shipped_files
from layerzero.editor.symbols import Symbol
from layerzero.editor.workspace import View
from layerzero.errors import ArgumentError
from layerzero.syntax.source import Span
from layerzero.syntax.words import RESERVED

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_ID = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z0-9_]+)*")


def rename(views: Iterable[View], symbol: Symbol, name: str) -> list[Span]:
    """The places to write a symbol's new name to.

    Args:
        views: The programs that may use it.

    Raises:
        ArgumentError: The name is no name of the language, is taken, or what it names is not the user's to rename.
    """
    form = _ID if symbol.kind in ("kernel", "rule", "bundle", "experiment") else _NAME
    if not form.fullmatch(name) or name in RESERVED:
        raise ArgumentError(f"`{name}` is not a name: lower-case letters, digits and `_`, and no reserved word")
    views = list(views)
    places = {(one.span.source.name, one.span.start): one for view in views for one in view.symbols.same(symbol)}
    declarations = [one for one in places.values() if one.declares]
    if not declarations:
        raise ArgumentError(f"`{symbol.name}` is declared in no file that is open or beside it")
    others = {str(path) for path in (*shipped_files(), *installed_catalogs())}
    if any(_is_among(one.span.source.name, others) for one in declarations):
        raise ArgumentError(f"`{symbol.name}` is declared at {declarations[0].span}, which other policies use too")
    taken = [one for view in views for one in view.symbols.declared(symbol.kind)]
    if any(one.name == name and one.owner == symbol.owner for one in taken):
        raise ArgumentError(f"there is a {symbol.kind} `{name}` already")
    return [one.span for one in sorted(places.values(), key=lambda one: (one.span.source.name, one.span.start))]


def _is_among(source: str, files: set[str]) -> bool:
    return source.startswith("policies/") or str(Path(source).resolve()) in files

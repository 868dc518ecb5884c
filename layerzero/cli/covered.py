"""Which programs are wholly inside another: a policy and the `*_test.lzp` beside it are checked once, not twice."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from layerzero.check.loader import Root
from layerzero.syntax import nodes
from layerzero.syntax.reading import read_source
from layerzero.syntax.source import Source
from layerzero.syntax.trees import parse_cached


def tested_files(test: Root, read: Iterable[str]) -> frozenset[str] | None:
    """The files that a test program adds nothing to but tests, out of those that were read; None if it adds more."""
    (path,) = test.files
    parsed = _statements(os.path.realpath(path))
    if any(not isinstance(statement, nodes.Import | nodes.Test | nodes.Context) for statement in parsed):
        return None
    return frozenset(map(os.path.realpath, read)) - {os.path.realpath(path)}


def files_of(root: Root) -> frozenset[str]:
    """A program's own files: its first ones and what they import."""
    found: set[str] = set()
    waiting = [os.path.realpath(file) for file in root.files]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            imports = (statement for statement in _statements(path) if isinstance(statement, nodes.Import))
            waiting.extend(os.path.realpath(Path(path).parent / one.path.value) for one in imports if one.path.value)
    return frozenset(found)


def _statements(path: str) -> tuple[nodes.Node, ...]:
    source = read_source(path)
    file = parse_cached(source)[0] if isinstance(source, Source) else None
    return () if file is None else tuple(file.statements)

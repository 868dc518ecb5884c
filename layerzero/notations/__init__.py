"""YAML policies -> the same nodes as `.lzp`, with their places in the YAML. `.lzp` alone never loads a YAML library."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import PurePath

from layerzero.notations.words import Words
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.source import Source, Span

SUFFIXES = (".yaml", ".yml")
NEEDED = ("yaml", "pydantic")

__all__ = ["NEEDED", "SUFFIXES", "Words", "is_notation", "read"]


def is_notation(name: str) -> bool:
    """Whether a file of this name is read here: `policy.yaml`, `dispatch_config.yml`."""
    return PurePath(name).suffix.lower() in SUFFIXES


def read(source: Source, words: Words) -> tuple[nodes.File | None, list[Diagnostic]]:
    """The rules of a YAML policy or of a `dispatch_config.yaml`, and every finding of the text, in its order.

    As `syntax.parser.parse`: what could be read is in the file also where something else was wrong; None where
    nothing was read at all.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        message = f"reading YAML needs {' and '.join(missing)}, which cannot be imported"
        help = 'pip install "layerzero[live]"; `.lzp` needs nothing more'
        return None, [Diagnostic("LZ008", message, Span(source, 0, 0), help=help)]
    from layerzero.notations.documents import read_document

    return read_document(source, words)

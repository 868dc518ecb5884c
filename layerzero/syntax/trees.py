"""Trees of files as plain data, kept by the digest of their text, so that an unchanged file is not parsed again.

A node is `[class, start, end, field, ...]`, a file all of its nodes inside each other. Only texts without findings
are kept. An entry that does not fit is none: the text is parsed again.
"""

from __future__ import annotations

import functools
import gc
import hashlib
from collections.abc import Callable
from dataclasses import fields
from datetime import date
from typing import Any

from layerzero.syntax import cache, nodes, tables
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.source import Source, Span

_CLASSES: tuple[type[nodes.Node], ...] = tuple(
    item
    for item in vars(nodes).values()
    if isinstance(item, type) and issubclass(item, nodes.Node) and item is not nodes.Node
)
_FIELDS = tuple(tuple(f.name for f in fields(item) if f.name != "span") for item in _CLASSES)
_INDEX = {item: index for index, item in enumerate(_CLASSES)}


def parse_cached(source: Source) -> tuple[nodes.File | None, list[Diagnostic]]:
    """What `parse` gives, from the cache folder where the same text was parsed before without a finding."""
    key = f"tree-{_digest(source.text)}"
    kept = cache.read(key)
    if kept is not None:
        try:
            return decode(kept, source), []
        except (TypeError, ValueError, IndexError, KeyError, AttributeError):
            pass  # damaged, or of another version: parsed again and replaced
    from layerzero.syntax.parser import parse

    file, found = parse(source)
    if file is not None and not found:
        cache.write(key, encode(file))
    return file, found


@functools.cache
def _language() -> bytes:
    """Names the grammar and the classes that trees are made of."""
    shape = "\n".join(f"{item.__name__} {names}" for item, names in zip(_CLASSES, _FIELDS, strict=True))
    return f"trees/2\0{tables.grammar_digest()}\0{shape}".encode()


def _digest(text: str) -> str:
    return hashlib.sha256(_language() + b"\0" + text.encode("utf-8", "surrogatepass")).hexdigest()


def encode(value: Any) -> Any:
    """A node, and what nodes hold, as lists, texts and numbers."""
    if isinstance(value, nodes.Node):
        index = _INDEX[type(value)]
        parts = [encode(getattr(value, name)) for name in _FIELDS[index]]
        return [index, value.span.start, value.span.end, *parts]
    if isinstance(value, tuple):
        return [-1, *map(encode, value)]
    if isinstance(value, date):
        return [-2, value.toordinal()]
    return value


def decode(plain: Any, source: Source) -> nodes.File:
    """The file that `encode` was given, with its places in `source`."""
    if type(plain) is not list or plain[0] != _INDEX[nodes.File]:
        raise ValueError("not a file")
    collecting = gc.isenabled()
    gc.disable()  # thousands of new objects and no garbage: collecting in between only costs time
    try:
        file = _decoder(source)(plain)
    finally:
        if collecting:
            gc.enable()
    assert isinstance(file, nodes.File)
    return file


def _decoder(source: Source) -> Callable[[list[Any]], Any]:
    size = len(source.text)

    def value(plain: list[Any]) -> Any:
        index, *parts = plain
        if index == -1:
            return tuple([value(part) if type(part) is list else part for part in parts])
        if index == -2:
            return date.fromordinal(parts[0])
        start, end, *given = parts
        if index < 0 or not 0 <= start <= end <= size:
            raise ValueError("a place outside the text")
        return _CLASSES[index](
            *[value(part) if type(part) is list else part for part in given], span=Span(source, start, end)
        )

    return value

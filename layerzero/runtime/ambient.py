"""What surrounds a call: fields set by `lz.context(...)`. Each thread and each asyncio task has its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

_NONE: Mapping[str, Any] = MappingProxyType({})
_FIELDS: ContextVar[Mapping[str, Any]] = ContextVar("layerzero_fields", default=_NONE)


def fields() -> Mapping[str, Any]:
    """The fields in force here, inner ones over outer ones."""
    return _FIELDS.get()


@contextmanager
def context(values: Mapping[str, Any]) -> Iterator[None]:
    """Add fields to every decision made inside; None takes a field away."""
    merged = {**_FIELDS.get(), **values}
    token = _FIELDS.set({name: value for name, value in merged.items() if value is not None})
    try:
        yield
    finally:
        _FIELDS.reset(token)

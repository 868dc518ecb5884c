"""`lz.lock`, `lz.prefer`, `lz.disabled`: calls of the program -> rules of the top layer, written as `.lzp` text.

The text stands at the caller's file and line, so a trace leads back to the call.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from math import inf
from types import FrameType, TracebackType

from layerzero.errors import ArgumentError
from layerzero.runtime.building import Material
from layerzero.runtime.engine import Engine
from layerzero.syntax.source import Source

_PATTERN = re.compile(r"[\w.*`]+|\{[\w.*`]+(, *[\w.*`]+)*\}", re.ASCII)
_OPERATIONS = re.compile(r"[\w.`]+(, *[\w.`]+)*", re.ASCII)


class RuntimeRules:
    """The run-time rules of one engine. What callers pass becomes a part of a rule's text, so it is looked at first: a
    name that came with a request adds no clause and no rule."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def lock(self, operation: str, kernel: str) -> None:
        """Serve an operation or view with a kernel (a pattern) and nothing else; replaces an earlier lock of it."""
        text = f"lock {_pattern(kernel)} for {_operations(operation)}"
        self._replace(lambda source: not _locks(source, operation), text)

    def unlock(self, operation: str) -> None:
        """Take back `lock` for an operation.

        Raises:
            ArgumentError: There is no such lock.
        """
        self._remove(lambda source: _locks(source, operation), f"no lock of `{operation}` is in force")

    def prefer(self, kernel: str, priority: int | float = 100, operation: str | None = None) -> None:
        """Multiply the score of kernels by 1 + priority / 100; replaces an earlier preference for the same kernels in
        the same operation."""
        factor = _factor(priority)
        head = f"boost {_pattern(kernel)} by "
        scope = "" if operation is None else f" for {_operations(operation)}"

        def same(source: Source) -> bool:
            text = source.text.strip()
            return text.startswith(head) and text.partition(" for ")[2] == scope.removeprefix(" for ")

        self._replace(lambda source: not same(source), f"{head}{factor!r}{scope}")

    def disabled(self, kernel: str) -> Disabled:
        """Quarantine kernels from here on; as a context manager, until its block ends."""
        source = self._add(f"quarantine {_pattern(kernel)}")
        return Disabled(self, kernel, source)

    def enable(self, kernel: str) -> None:
        """Take back every `disabled` of the same pattern.

        Raises:
            ArgumentError: Nothing of that name is disabled.
        """
        text = f"quarantine {kernel}"
        self._remove(lambda source: source.text.strip() == text, f"`{kernel}` is not disabled")

    def take_back(self, added: Source) -> None:
        """Remove exactly one rule; the same text by another caller stays."""
        self._engine.change_material(
            lambda material: replace(material, runtime=tuple(one for one in material.runtime if one is not added))
        )

    def _add(self, text: str) -> Source:
        source = _at_caller(text)
        self._engine.change_material(lambda material: replace(material, runtime=(*material.runtime, source)))
        return source

    def _replace(self, keep: Callable[[Source], bool], text: str) -> None:
        source = _at_caller(text)

        def change(material: Material) -> Material:
            return replace(material, runtime=(*(one for one in material.runtime if keep(one)), source))

        self._engine.change_material(change)

    def _remove(self, matches: Callable[[Source], bool], otherwise: str) -> None:
        def change(material: Material) -> Material:
            left = tuple(one for one in material.runtime if not matches(one))
            if len(left) == len(material.runtime):
                raise ArgumentError(otherwise)
            return replace(material, runtime=left)

        self._engine.change_material(change)


class Disabled:
    """What `lz.disabled` returns: `with` it, the quarantine ends with the block. Others' rules are left alone."""

    def __init__(self, rules: RuntimeRules, kernel: str, source: Source) -> None:
        self._rules = rules
        self._source = source
        self.kernel = kernel

    def __enter__(self) -> Disabled:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rules.take_back(self._source)


def _factor(priority: object) -> float:
    if isinstance(priority, int | float) and -100 <= priority < inf:  # NaN is not
        return 1 + priority / 100
    raise ArgumentError(f"argument `priority`: wanted a number of at least -100, given {priority!r}")


def _pattern(kernel: object) -> str:
    if isinstance(kernel, str) and _PATTERN.fullmatch(kernel):
        return kernel
    wanted = "the id of a kernel, a backend, or a glob or set of them"
    raise ArgumentError(f'argument `kernel`: wanted {wanted}, as in "flashinfer.*", given {kernel!r}')


def _operations(operation: object) -> str:
    if isinstance(operation, str) and _OPERATIONS.fullmatch(operation):
        return operation
    raise ArgumentError(
        f'argument `operation`: wanted an operation or view, as in "attention.decode", given {operation!r}'
    )


def _locks(source: Source, operation: str) -> bool:
    text = source.text.strip()
    return text.startswith("lock ") and text.endswith(f" for {operation}")


def _at_caller(text: str) -> Source:
    """The text as if it stood in the caller's file, at the caller's line."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("layerzero."):
        frame = frame.f_back
    if frame is None:
        return Source("<call>", text)
    return Source(frame.f_code.co_filename, "\n" * (frame.f_lineno - 1) + text)

"""Compiled form of an operation -> a native function of the same meaning as the generated one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from packaging.version import Version

from layerzero import native
from layerzero.compiler.codegen import INVALID, remembering
from layerzero.compiler.flatten import flatten
from layerzero.compiler.form import OperationForm
from layerzero.compiler.slices import Each, at_once
from layerzero.compiler.stages import Stages
from layerzero.semantics.glob import compile_glob
from layerzero.semantics.proof import Outcome


def native_function(form: OperationForm, each: Each = at_once) -> Any:
    """The operation of the extension: called with values and arms it gives the outcome. None without the extension."""
    if native.matcher is None:
        return None
    flat = flatten(form, each)
    outcomes = () if form.tree is None else form.tree.outcomes
    return native.matcher.Operation(
        flat.words,
        tuple(name if given else None for name, given in zip(flat.fields, flat.given, strict=True)),
        flat.experiments,
        flat.strings,
        tuple(_object(kind, text) for kind, text in flat.objects),
        outcomes,
        INVALID,
        None if form.tree is not None else _of_mask(form),
    )


def _object(kind: str, text: str) -> object:
    return Version(text) if kind == "version" else compile_glob(text).fullmatch


def _of_mask(form: OperationForm) -> Callable[[bytes], Outcome]:
    """The parts that survive, as the extension's bytes -> their outcome."""
    everything = (1 << len(form.lowered.parts)) - 1
    memory: dict[int, Outcome] = {}
    compute = remembering(Stages(form.lowered), memory)

    def of_mask(mask: bytes) -> Outcome:
        parts = int.from_bytes(mask, "little") & everything
        return memory.get(parts) or compute(parts)

    return of_mask

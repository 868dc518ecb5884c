"""Compiled form of an operation -> a native function of the same meaning as the generated one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from packaging.version import Version

from layerzero import native
from layerzero.compiler.codegen import INVALID, MAX_REMEMBERED
from layerzero.compiler.flat_stages import FAILURES, flat_stages
from layerzero.compiler.flatten import flatten
from layerzero.compiler.form import OperationForm
from layerzero.compiler.lower import Lowered
from layerzero.compiler.slices import Each, at_once
from layerzero.semantics.proof import Outcome
from layerzero.syntax.glob import compile_glob


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
        None if form.tree is not None else outcome_of_mask(form, each),
    )


def _object(kind: str, text: str) -> object:
    return Version(text) if kind == "version" else compile_glob(text).fullmatch


def outcome_of_mask(form: OperationForm, each: Each = at_once) -> Callable[[bytes], Outcome]:
    """The parts that survive, as the extension's bytes -> their outcome."""
    assert native.matcher is not None
    lowered = form.lowered
    stages = native.matcher.Stages(flat_stages(lowered, each))
    known: dict[tuple[Any, ...], Outcome] = {}  # as many as there are kernels, scores and locks to be met

    def of_mask(mask: bytes) -> Outcome:
        found = stages(mask)
        outcome = known.get(found)
        if outcome is None:
            if len(known) >= MAX_REMEMBERED:
                known.clear()
            outcome = known[found] = _outcome(lowered, *found)
        return outcome

    return of_mask


def _outcome(
    lowered: Lowered,
    kernel: int,
    score: float,
    degraded: int,
    locks: tuple[int, ...],
    orders: tuple[int, ...],
    failure: int,
) -> Outcome:
    if failure:
        return Outcome(None, None, False, error=FAILURES[failure])
    return Outcome(lowered.kernels[kernel], score, bool(degraded), _names(lowered, locks), _names(lowered, orders))


def _names(lowered: Lowered, rules: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(sorted(lowered.rules[rule].name for rule in rules))

"""A record and the snapshot that it names -> the decision again, with its whole proof."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ContextError, LayerZeroError
from layerzero.runtime.decision import Decision
from layerzero.runtime.export import SnapshotStore
from layerzero.runtime.record import Record, agrees, problem_of
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.context import read_scope, read_value
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Outcome


class ReplayError(LayerZeroError):
    """A record cannot be decided again, or gives another outcome than it tells."""


def rebuild(record: Mapping[str, Any], store: SnapshotStore) -> Decision:
    """The decision of a record: `rebuild(json.loads(line), SnapshotStore("decisions.jsonl.snapshots"))`.

    Raises:
        ExportError: The snapshot is not in the store.
        ReplayError: The record is of another schema, or the snapshot decides otherwise than it tells.
    """
    problem = problem_of(record)
    if problem is not None:
        raise ReplayError(problem)
    return redecide(record, restored(store, record["snapshot"], record["epoch"]))


def redecide(record: Mapping[str, Any], snapshot: Snapshot) -> Decision:
    """The same, of a snapshot that is at hand. Raises ReplayError as `rebuild`."""
    program = snapshot.program
    try:
        scope, values, unknown = read_inputs(program, record)
    except ContextError as error:
        raise ReplayError(f"the record does not fit the snapshot that it names: {error}") from error
    if unknown:
        raise ReplayError(f"the snapshot that the record names has no field `{unknown[0]}`")
    proof = decide(program, snapshot.environment, scope, values, record["arms"])
    outcome = Outcome.of(proof)
    if not agrees(record, outcome):
        raise ReplayError(f"the record tells of {record['kernel']!r}, its snapshot decides {outcome}")
    return Decision(snapshot, scope, values, record["arms"], outcome, False, tuple(record["recovered_from"]))


@lru_cache(maxsize=16)
def _restored(folder: str, digest: str) -> Snapshot:
    return SnapshotStore(folder).get(digest)


def restored(store: SnapshotStore, digest: str, epoch: int) -> Snapshot:
    """A snapshot of the store with the epoch that it had; read and checked once for many records.

    Raises:
        ExportError: It is not there, or damaged.
    """
    kept = _restored(str(store.folder), digest)
    return Snapshot(kept.vocabulary, kept.environment, kept.program, (), epoch, kept.texts)


def read_inputs(program: Program, record: Mapping[str, Any]) -> tuple[Scope, dict[str, Value], list[str]]:
    """What a record asks, its values as the program has them, and the fields that the program does not declare.

    Raises:
        ContextError: The program has no such operation, or a value does not fit its field.
    """
    scope = read_scope(program, record["operation"])
    values: dict[str, Value] = {}
    unknown: list[str] = []
    for name, raw in record["values"].items():
        field = program.fields.get(program.aliases.fields.get(name, name))
        if field is None:
            unknown.append(name)
        else:
            given = float(raw) if field.type.kind == "float" and _spells_a_float(raw) else raw
            values[field.name] = read_value(program.aliases.members, field.type, given, name)
    return scope, values, unknown


def _spells_a_float(raw: object) -> bool:
    return raw in ("NaN", "Infinity", "-Infinity")


__all__ = ["Record", "ReplayError", "SnapshotStore", "read_inputs", "rebuild", "redecide", "restored"]

"""The compiled form: plain data between the compiler and the matchers, with a digest of its own.

Dicts, lists, strings and numbers only. Sets of kernels are hexadecimal text, because they may be longer than 64 bits;
what survives a class of a probe is told by the parts in which it differs from the class before. Nothing in here is
code: generated functions take everything that a policy named from these tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal as OneOf

from layerzero.compiler.lower import Lowered, LoweredRule, Part
from layerzero.compiler.masks import Masks
from layerzero.compiler.probes import Probe
from layerzero.compiler.slices import Each, at_once
from layerzero.compiler.terms import Term
from layerzero.compiler.tree import Node, Tree
from layerzero.semantics.proof import Outcome

SCHEMA = "lz.form/3"
Structure = OneOf["tree", "bitset"]
Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FieldLoad:
    """How a decision gets a field. `default` is a term; `low`, `high` bound what a default may give."""

    name: str
    kind: str
    given: bool
    needed: bool
    default: int | None
    low: float | None
    high: float | None
    high_open: bool
    members: tuple[str, ...] = ()  # of an enum


@dataclass(frozen=True)
class OperationForm:
    """One operation, ready to run. `tree` is None where the bitset structure stands in for a tree past its bound.

    `probes` are in the order in which they are asked; a tree's own masks are not kept. `refused`: a needed field is
    fixed to absent, so that every call is invalid.
    """

    name: str
    refused: bool
    loads: tuple[FieldLoad, ...]
    experiments: tuple[str, ...]
    terms: tuple[Term, ...]
    probes: tuple[Probe, ...]
    lowered: Lowered
    tree: Tree | None

    @property
    def structure(self) -> Structure:
        return "bitset" if self.tree is None else "tree"

    def to_data(self) -> Data:
        parts = len(self.lowered.parts)
        data: Data = {
            "structure": self.structure,
            "refused": self.refused,
            "loads": [_load_data(load) for load in self.loads],
            "experiments": list(self.experiments),
            "terms": [list(term) for term in self.terms],
            "probes": [_probe_data(probe, self.tree is None, parts) for probe in self.probes],
            "stages": _lowered_data(self.lowered, parts=self.tree is None),
        }
        if self.tree is not None:
            data["tree"] = {
                "root": self.tree.root,
                "nodes": [[node.probe, *node.children] for node in self.tree.nodes],
                "outcomes": [_outcome_data(outcome) for outcome in self.tree.outcomes],
            }
        return data

    @classmethod
    def from_data(cls, name: str, data: Data, each: Each = at_once) -> OperationForm:
        """What `to_data` gave, also after a trip through JSON; `each` says how its loops run."""
        tree = data.get("tree")
        parts = len(data["stages"].get("parts", ()))
        probes = tuple(_probe(one, parts) for one in each(data["probes"]))
        return cls(
            name,
            bool(data["refused"]),
            tuple(FieldLoad(**{**load, "members": tuple(load["members"])}) for load in data["loads"]),
            tuple(data["experiments"]),
            tuple(tuple(term) for term in each(data["terms"])),
            probes,
            _lowered(name, data["stages"], each),
            None
            if tree is None
            else Tree(
                tuple(range(len(probes))),
                tuple(Node(node[0], tuple(node[1:])) for node in each(tree["nodes"])),
                tuple(_outcome(one) for one in each(tree["outcomes"])),
                tree["root"],
            ),
        )


@dataclass(frozen=True)
class Form:
    """All operations of a program, compiled for one machine, one day and what is `fixed` in the process."""

    program: str  # digest
    environment: str  # digest
    fixed: Mapping[str, Any]
    operations: Mapping[str, OperationForm]

    def to_data(self) -> Data:
        return {
            "schema": SCHEMA,
            "program": self.program,
            "environment": self.environment,
            "fixed": {name: _plain(value) for name, value in sorted(self.fixed.items())},
            "operations": {name: one.to_data() for name, one in sorted(self.operations.items())},
        }

    @classmethod
    def from_data(cls, data: Data) -> Form:
        """The form of `to_data`, also after a trip through JSON.

        Raises:
            ValueError: Another schema.
        """
        if data.get("schema") != SCHEMA:
            raise ValueError(f"a compiled form has the schema `{SCHEMA}`, got `{data.get('schema')}`")
        operations = {name: OperationForm.from_data(name, one) for name, one in data["operations"].items()}
        return cls(data["program"], data["environment"], data["fixed"], operations)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_data(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _load_data(load: FieldLoad) -> Data:
    return {name: getattr(load, name) for name in FieldLoad.__slots__} | {"members": list(load.members)}


def _probe_data(probe: Probe, masks: bool, parts: int) -> Data:
    data: Data = {"kind": probe.kind, "read": list(probe.read)}
    data |= {"keys": list(probe.keys), "classes": list(probe.classes)}
    if probe.kind == "formula":
        data["proposition"] = probe.proposition
    if masks:
        kept = probe.masks if isinstance(probe.masks, Masks) else Masks.of(probe.masks, parts)
        data["masks"] = kept.to_data()
    return data


def _probe(data: Data, parts: int) -> Probe:
    kind, field_name = data["read"]
    masks = Masks.from_data(data["masks"], parts) if "masks" in data else ()
    keys, classes = tuple(data["keys"]), tuple(data["classes"])
    return Probe(data["kind"], (kind, field_name), keys, classes, masks, data.get("proposition", -1))


def _lowered_data(lowered: Lowered, parts: bool) -> Data:
    """Kernels for those who look; what the stages need only where they run when a decision is made."""
    data: Data = {"kernels": list(lowered.kernels), "needs": list(lowered.needs)}
    if parts:
        data |= {
            "priorities": list(lowered.priorities),
            "fallback": list(lowered.fallback),
            "strict": lowered.strict,
            "rules": [
                [r.name, r.kind, r.layer, r.priority, r.otherwise, r.factor, [f"{mask:x}" for mask in r.positions]]
                for r in lowered.rules
            ],
            "parts": [[part.kind, f"{part.kernels:x}", part.rule] for part in lowered.parts],
        }
    return data


def _lowered(name: str, data: Data, each: Each) -> Lowered:
    rules = []
    for rule, kind, layer, priority, otherwise, factor, positions in each(data.get("rules", ())):
        masks = tuple(int(mask, 16) for mask in positions)
        rules.append(LoweredRule(rule, kind, layer, priority, otherwise, factor, masks))
    return Lowered(
        name,
        tuple(data["kernels"]),
        tuple(data.get("priorities", ())),
        tuple(data.get("fallback", ())),
        bool(data.get("strict", False)),
        tuple(data["needs"]),
        False,
        tuple(rules),
        tuple(Part(kind, int(kernels, 16), rule, -1) for kind, kernels, rule in each(data.get("parts", ()))),
    )


def _outcome_data(outcome: Outcome) -> Data:
    return {
        "kernel": outcome.kernel,
        "score": outcome.score if outcome.score is None or abs(outcome.score) != float("inf") else "inf",
        "degraded": outcome.degraded,
        "locked_by": list(outcome.locked_by),
        "ordered_by": list(outcome.ordered_by),
        "error": outcome.error,
    }


def _outcome(data: Data) -> Outcome:
    score = float("inf") if data["score"] == "inf" else data["score"]
    locked_by, ordered_by = tuple(data["locked_by"]), tuple(data["ordered_by"])
    return Outcome(data["kernel"], score, data["degraded"], locked_by, ordered_by, data["error"])

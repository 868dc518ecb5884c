"""Checked program and machine -> compiled form: specialise, find the probes, build the tree or give the bits."""

from __future__ import annotations

from collections.abc import Mapping

from layerzero.check.expressions import Value
from layerzero.check.program import Operation, Program
from layerzero.compiler.collecting import no_collecting
from layerzero.compiler.context_fields import Fields, arrange
from layerzero.compiler.form import FieldLoad, Form, OperationForm
from layerzero.compiler.lower import lower
from layerzero.compiler.probes import Probe, find_probes
from layerzero.compiler.terms import Id, Pool, Term
from layerzero.compiler.tree import MAX_NODES, MAX_WORK, build_tree
from layerzero.semantics.environment import Environment

LIMITS = (MAX_NODES, MAX_WORK)


def compile_program(
    program: Program,
    environment: Environment,
    fixed: Mapping[str, Value | None] | None = None,
    limits: tuple[int, int] = LIMITS,
) -> Form:
    """Compile every operation of a program.

    Args:
        fixed: what no call in the process can change: `{"device": "cuda", "sm": 90}`; None fixes a field to absent.
        limits: most nodes of a tree and most work to find it; past either an operation gets the bitset structure.
    """
    fixed = dict(fixed or {})
    operations = {
        name: compile_operation(program, environment, fixed, operation, limits)
        for name, operation in sorted(program.operations.items())
    }
    return Form(program.digest, environment.digest, fixed, operations)


def compile_operation(
    program: Program,
    environment: Environment,
    fixed: Mapping[str, Value | None],
    operation: Operation,
    limits: tuple[int, int] = LIMITS,
) -> OperationForm:
    with no_collecting():
        return _compiled(program, environment, fixed, operation, limits)


def _compiled(
    program: Program,
    environment: Environment,
    fixed: Mapping[str, Value | None],
    operation: Operation,
    limits: tuple[int, int],
) -> OperationForm:
    fields = arrange(program, fixed, operation.needs)
    lowered = lower(program, environment, fields, operation)
    probes = find_probes(fields.pool, lowered.parts)
    tree = build_tree(lowered, probes, limits)
    asked = probes if tree is None else tuple(probes[index] for index in tree.probes)
    moved = _Moved(fields.pool)
    asked = tuple(moved.probe(probe) for probe in asked)
    return OperationForm(
        operation.name,
        lowered.hopeless,
        _loads(fields, asked, lowered.needs, moved),
        tuple(sorted({name for probe in asked for kind, name in moved.reads(probe) if kind == "arm"})),
        moved.terms,
        asked,
        lowered,
        tree,
    )


class _Moved:
    """The few terms that the form needs, copied to a pool of their own and so numbered from their order of use."""

    def __init__(self, pool: Pool) -> None:
        self.old, self.new = pool, Pool(pool.ranges, pool.present, pool.known, pool.may_be_nan)
        self.numbers: dict[Id, Id] = {}

    @property
    def terms(self) -> tuple[Term, ...]:
        return tuple(self.new.nodes)

    def term(self, number: Id) -> Id:
        for old in self.old.deepest_first(number, self.numbers):
            node, parts = self.old.nodes[old], self.old.parts(old)
            moved = tuple(self.numbers[part] for part in parts)
            if node[0] in ("like", "is"):
                node = (node[0], *moved, *node[2:])
            else:
                node = (*node[: len(node) - len(parts)], *moved)
            self.numbers[old] = self.new.add(*node)
        return self.numbers[number]

    def probe(self, probe: Probe) -> Probe:
        proposition = self.term(probe.proposition) if probe.kind == "formula" else -1
        return Probe(probe.kind, probe.read, probe.keys, probe.classes, probe.masks, proposition)

    def reads(self, probe: Probe) -> frozenset[Term]:
        return self.new.reads(probe.proposition) if probe.kind == "formula" else frozenset({probe.read})


def _loads(fields: Fields, probes: tuple[Probe, ...], needs: tuple[str, ...], moved: _Moved) -> tuple[FieldLoad, ...]:
    """The fields that the probes or a default read, and those that every call must have."""
    read = {str(name) for probe in probes for kind, name in moved.reads(probe) if kind == "field"}
    loads = []
    for load in fields.needed_by(frozenset(read | set(needs))):
        default = None if load.default is None else moved.term(load.default)
        bounds = load.type.low, load.type.high, load.type.high_open, load.type.members
        loads.append(FieldLoad(load.name, load.type.kind, load.given, load.name in needs, default, *bounds))
    return tuple(loads)

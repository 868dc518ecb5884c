"""Program and device -> the calls to make of each kernel: at and past the boundaries of its facts, best first.

A kernel begins with one small call that its facts accept. From there one field at a time moves to each boundary value;
where that crosses no edge of a requirement, several fields of that requirement move together. Last come random
combinations: what is right alone may be wrong together.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product

from layerzero.check.expressions import Expression, Value, fields_of
from layerzero.check.program import Kernel, Operation, Program, Requirement, Scope
from layerzero.errors import ContextError
from layerzero.facts.boundaries import Candidates, boundary_values, claimed_values
from layerzero.operations.inputs import Inputs, inputs_of
from layerzero.semantics.applicability import applications
from layerzero.semantics.call import Call
from layerzero.semantics.context import complete, conjuncts
from layerzero.semantics.environment import Environment
from layerzero.semantics.evaluate import holds, packages_read
from layerzero.semantics.feasibility import feasibility
from layerzero.semantics.proof import Reason

MAX_COST = 1 << 30
"""Multiplications of the reference for one probe: about a second of a core in fp64."""
_MOVES = 300  # of several fields at once, tried for one requirement
_KEPT = 3  # of them, on each side of an edge
_COMBINED = 24
_REPAIRS = 8

Given = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Probe:
    """One call to make: `torch.sdpa_flash` with `head_dim = 264`, which its facts refuse.

    `given` are the fields without defaults; `moved` those that differ from the kernel's first call. `reasons` are the
    facts that refuse it as (place, text), none where they accept it. A smaller `rank` is worth more.
    """

    kernel: str
    operation: str
    given: Mapping[str, Value]
    moved: tuple[str, ...]
    reasons: tuple[tuple[str, str], ...]
    rank: int


@dataclass(frozen=True, slots=True)
class Edge:
    """`head_dim % 8 == 0` at policies/kernels/torch.lzp:30:3; `uncrossed` says why no call can be on its far side."""

    kernel: str
    operation: str
    at: str
    text: str
    uncrossed: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    probes: tuple[Probe, ...]
    edges: tuple[Edge, ...]
    unprobed: Mapping[tuple[str, str], str]  # (kernel, operation) -> why none of its calls can be made here


def plan(program: Program, kernels: Iterable[Kernel], device: Mapping[str, Value], environment: Environment) -> Plan:
    """The probes of kernels on one device. `environment` is this machine's: its packages count."""
    probes: list[Probe] = []
    edges: list[Edge] = []
    unprobed: dict[tuple[str, str], str] = {}
    for kernel in kernels:
        for name in dict.fromkeys(scope.operation for scope in kernel.scopes):
            inputs = inputs_of(name)
            if inputs is None:
                unprobed[kernel.id, name] = f"no calls of `{name}` are made"
                continue
            planned = _Planner(program, kernel, program.operations[name], inputs, device, environment)
            found = planned.probes()
            if isinstance(found, str):
                unprobed[kernel.id, name] = found
                continue
            probes += found
            edges += planned.edges(found)
    ordered = sorted(probes, key=lambda probe: probe.rank)
    return Plan(tuple(ordered), tuple(edges), unprobed)


def machine_fields(program: Program) -> frozenset[str]:
    """The fields that describe a device: those that some `device` of the program sets, and what devices report."""
    return frozenset({"device", "arch", "cpu_isa"}).union(*(one.values for one in program.devices.values()))


@dataclass
class Judge:
    """The facts of one kernel for one operation, on this machine, asked about calls."""

    program: Program
    kernel: Kernel
    operation: Operation
    environment: Environment

    def reasons(self, given: Mapping[str, Value]) -> tuple[Reason, ...] | None:
        """What refuses a call; None where no call has these values."""
        call = self.call(given)
        if call is None:
            return None
        quarantines = [one for one in applications(call) if one.rule.kind == "quarantine"]
        return feasibility(call, self.kernel, quarantines).reasons

    def call(self, given: Mapping[str, Value]) -> Call | None:
        """The completed context."""
        try:
            values = complete(self.program, Scope(self.operation.name), given).values
        except ContextError:
            return None
        return Call(self.program, self.environment, self.operation, values, {})


@dataclass(frozen=True, slots=True)
class _Known:
    """What the facts say of one call, and its completed context."""

    reasons: tuple[Reason, ...]
    values: frozenset[tuple[str, Value]]


@dataclass
class _Planner:
    program: Program
    kernel: Kernel
    operation: Operation
    inputs: Inputs
    device: Mapping[str, Value]
    environment: Environment
    base: Given = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.judge = Judge(self.program, self.kernel, self.operation, self.environment)
        self.fixed = machine_fields(self.program)
        self.known: dict[tuple[tuple[str, Value], ...], _Known | None] = {}

    # ------------------------------------------------------------ what there is to cross

    def conditions(self) -> list[Expression]:
        """Everything that the kernel's facts say about calls of the operation."""
        found: list[Expression] = []
        for requirement in self.kernel.requirements:
            found += _parts(requirement)
        found += [support.when for support in self.kernel.supports if support.when is not None]
        found += [self.operation.views[view] for view in self.kernel.views(self.operation.name)]
        return found

    def candidates(self) -> Candidates:
        """Boundary values of every field of the operation that a call may choose."""
        stated = boundary_values([*self.conditions(), *self.operation.features.values()], self.base)
        found: Candidates = {}
        for name in (*self.operation.needs, *self.operation.optional):
            if name not in self.fixed:
                claimed: list[Value | None] = [*claimed_values(self.program.fields[name].type)]
                found[name] = list(dict.fromkeys([*stated.get(name, ()), *claimed]))
        return found

    def edges(self, probes: Sequence[Probe]) -> list[Edge]:
        """The conjuncts of the requirements and the features, and which of them no call here can cross."""
        found = [
            self._edge(requirement, part, probes)
            for requirement in self.kernel.requirements
            for part in conjuncts(requirement.condition)
        ]
        found += [
            Edge(self.kernel.id, self.operation.name, str(line.span), _written(line.span.text),
                 "other versions are not installed")
            for line in self.kernel.packages
        ]  # fmt: skip
        return list(dict.fromkeys(found))

    def _edge(self, requirement: Requirement, part: Expression, probes: Sequence[Probe]) -> Edge:
        at = str(part.span)
        uncrossed = None
        if not any([place for place, _ in probe.reasons] == [at] for probe in probes):
            read = [part, *([] if requirement.when is None else [requirement.when])]
            own = sorted({name for one in read for name in fields_of(one)} & self.fixed)
            packages = dict.fromkeys(name for one in read for name in packages_read(one))
            if own or packages:
                what = ", ".join([*own, *(f'package("{name}")' for name in packages)])
                uncrossed = f"{what} cannot be changed on this machine"
            else:
                uncrossed = "the public call refuses what it refuses, or no such call was found"
        return Edge(self.kernel.id, self.operation.name, at, _written(part.span.text), uncrossed)

    # ------------------------------------------------------------ the calls

    def probes(self) -> list[Probe] | str:
        """All of them, or why there are none."""
        base = self._first()
        if isinstance(base, str):
            return base
        self.base = base
        candidates = self.candidates()
        probes = [self._probe(base, (), (), 0)]
        accepted: list[tuple[str, Value | None]] = []
        for name, values in candidates.items():
            for value in values:
                given = self._moved({name: value})
                reasons = None if given is None else self._reasons(given)
                if given is None or reasons is None or self._same(given, base):
                    continue
                if not reasons:
                    accepted.append((name, value))
                probes.append(self._probe(given, (name,), reasons, self._rank(name, reasons)))
        probes += self._together(probes)
        probes += self._combined(accepted)
        return list({self._completed(probe.given): probe for probe in reversed(probes)}.values())[::-1]

    def _rank(self, name: str, reasons: tuple[Reason, ...]) -> int:
        """1: recording into a graph; 2: what a feature or requirement names and the facts accept; 3: what they
        refuse, and nothing else does; 4: the rest."""
        if name == "graph_capture":
            return 1
        if not reasons:
            named = {field for condition in self.conditions() for field in fields_of(condition)}
            named |= {field for condition in self.operation.features.values() for field in fields_of(condition)}
            return 2 if name in named else 4
        return 3 if len(reasons) == 1 else 5

    def _first(self) -> Given | str:
        """A small call that the facts accept: a typical one, and one refused value after the other replaced."""
        fields = {*self.operation.needs, *self.operation.optional}
        self.base = dict(self.inputs.TYPICAL) | {k: v for k, v in self.device.items() if k in fields}
        given: Given | None = self._moved({})
        assert given is not None
        for _ in range(_REPAIRS):
            reasons = self._reasons(given)
            if reasons is None:
                return "no call has the typical values"
            if not reasons:
                return given
            self.base = given
            better = self._repaired(given, reasons)
            if better is None:
                return f"wants `{reasons[0].text}`"
            given = better
        return "no call that its facts accept was found"

    def _repaired(self, given: Given, reasons: Sequence[Reason]) -> Given | None:
        candidates = self.candidates()
        names = [name for reason in reasons for name in self._concerned(reason) if name in candidates]
        names = list(dict.fromkeys(names))
        moves = [{name: value} for name in names for value in candidates[name]]
        pairs = (
            {one: a, other: b}
            for i, one in enumerate(names)
            for other in names[i + 1 :]
            for a in candidates[one]
            for b in candidates[other]
        )
        best: tuple[int, Given] | None = None
        for move in [*moves, *islice(pairs, 2000)]:
            moved = self._moved(move)
            left = None if moved is None else self._reasons(moved)
            if moved is not None and left is not None and (best is None or len(left) < best[0]):
                best = (len(left), moved)
                if not left:
                    return moved
        return best[1] if best is not None and best[0] < len(reasons) else None

    def _concerned(self, reason: Reason) -> list[str]:
        """The fields that a refusal is about: those that its text reads, and those that demand the feature."""
        names = list(reason.got)
        if reason.feature is not None:
            names += sorted(fields_of(self.operation.features[reason.feature]))
        for requirement in self.kernel.requirements:
            if any(str(part.span) == reason.at for part in conjuncts(requirement.condition)):
                names += [name for part in _parts(requirement) for name in sorted(fields_of(part))]
        return names

    def _together(self, probes: Sequence[Probe]) -> Iterator[Probe]:
        """Several fields of a requirement at once, where one alone crosses none of its edges."""
        crossed = {probe.reasons[0][0] for probe in probes if len(probe.reasons) == 1}
        candidates = self.candidates()
        for requirement in self.kernel.requirements:
            edges = {str(part.span) for part in conjuncts(requirement.condition)}
            names = sorted(name for part in _parts(requirement) for name in fields_of(part) - self.fixed)
            names = [name for name in dict.fromkeys(names) if name in self.operation.needs + self.operation.optional]
            if edges <= crossed or len(names) < 2:
                continue
            own = boundary_values(_parts(requirement), self.base)
            ranges = [
                list(dict.fromkeys([self.base.get(name), *own.get(name, ()), *candidates.get(name, ())]))
                for name in names
            ]
            accepted, refused = 0, 0
            for values in islice(_spread(ranges), _MOVES):
                given = self._moved(dict(zip(names, values, strict=True)))
                reasons = None if given is None else self._reasons(given)
                if given is None or reasons is None:
                    continue
                if not reasons and accepted < _KEPT and self._matters(requirement, given):
                    accepted += 1
                    yield self._probe(given, tuple(names), (), 2)
                if len(reasons) == 1 and reasons[0].at in edges and refused < _KEPT:
                    refused += 1
                    yield self._probe(given, tuple(names), reasons, 3)

    def _matters(self, requirement: Requirement, given: Given) -> bool:
        """Whether the condition after `when` holds, so that what is required was tried."""
        call = self.judge.call(given)
        return call is not None and holds(requirement.when, call.about(self.kernel.id)) is True

    def _combined(self, accepted: Sequence[tuple[str, Value | None]]) -> Iterator[Probe]:
        """Random combinations of what is accepted alone; the same in every run."""
        draw = random.Random(self.kernel.id)
        found = 0
        for _ in range(4 * _COMBINED):
            if found == _COMBINED or len(accepted) < 2:
                return
            move = dict(draw.sample(accepted, min(draw.choice((2, 2, 3, 4)), len(accepted))))
            given = self._moved(move)
            if given is not None and self._reasons(given) == ():
                found += 1
                yield self._probe(given, tuple(move), (), 6)

    # ------------------------------------------------------------ one call

    def _moved(self, move: Mapping[str, Value | None]) -> Given | None:
        """The first call with some fields changed, and what follows from that; None where no call is like that."""
        if any(value is None and name in self.inputs.TYPICAL for name, value in move.items()):
            return None
        given = {name: value for name, value in {**self.base, **move}.items() if value is not None}
        return self.inputs.settle(given, move.keys())

    def _reasons(self, given: Given) -> tuple[Reason, ...] | None:
        """What refuses the call; None where it cannot be made here."""
        found = self._known(given)
        return None if found is None else found.reasons

    def _completed(self, given: Mapping[str, Value]) -> frozenset[tuple[str, Value]]:
        found = self._known(given)
        assert found is not None
        return found.values

    def _same(self, one: Given, other: Given) -> bool:
        """Whether two calls differ by nothing but what the defaults say anyway."""
        return self._completed(one) == self._completed(other)

    def _known(self, given: Mapping[str, Value]) -> _Known | None:
        key = tuple(sorted(given.items()))
        if key not in self.known:
            self.known[key] = self._asked(given)
        return self.known[key]

    def _asked(self, given: Mapping[str, Value]) -> _Known | None:
        if given.get("graph_capture") is True and not _recordable(given):
            return None
        reasons, call = self.judge.reasons(given), self.judge.call(given)
        if reasons is None or call is None or self.inputs.cost(call.values) > MAX_COST:
            return None
        return _Known(reasons, frozenset(call.values.items()))

    def _probe(self, given: Given, moved: Collection[str], reasons: Sequence[Reason], rank: int) -> Probe:
        why = tuple((reason.at, _written(reason.text)) for reason in reasons)
        return Probe(self.kernel.id, self.operation.name, given, tuple(moved), why, rank)


def _recordable(given: Mapping[str, Value]) -> bool:
    """Whether a call could be recorded into a CUDA graph and replayed: a backward pass is another recording."""
    return given["device"] == "cuda" and not (given.get("requires_grad") or given.get("mask_requires_grad"))


def _parts(requirement: Requirement) -> list[Expression]:
    return [requirement.condition, *([] if requirement.when is None else [requirement.when])]


def _spread(ranges: Sequence[Sequence[Value | None]]) -> Iterator[tuple[Value | None, ...]]:
    """The combinations of the ranges, few changes from their first values before many."""
    every = list(islice(product(*(range(len(one)) for one in ranges)), 5000))
    every.sort(key=lambda places: (sum(place > 0 for place in places), sum(places)))
    for places in every:
        yield tuple(one[place] for one, place in zip(ranges, places, strict=True))


def _written(text: str) -> str:
    """Source text on one line."""
    return " ".join(text.split())

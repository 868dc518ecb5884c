"""Compiled form -> Python functions, one an operation.

The source is built from the form's structure alone: every name and value of the policy is an entry of a table of
constants (`K3`), every field a numbered local (`v3`). So no text of a policy is ever compiled, whatever it holds.
The code is flat: one statement a probe, no nesting that grows with the policy.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from layerzero.compiler.expressions import Block, Constants
from layerzero.compiler.form import FieldLoad, OperationForm
from layerzero.compiler.probes import Probe
from layerzero.compiler.slices import Each, at_once
from layerzero.compiler.stages import Stages
from layerzero.compiler.terms import Pool
from layerzero.semantics.proof import Outcome

Decide = Callable[[Mapping[str, Any], Mapping[str, str]], Outcome]
INVALID = Outcome(None, None, False, error="invalid_context")
MAX_REMEMBERED = 4096
"""Outcomes that a bitset matcher remembers by the parts that hold; then it starts anew."""


def generate(form: OperationForm, each: Each = at_once) -> Decide:
    """The function of one operation: given values and arms -> outcome; `each` says how the loops of writing it run."""
    constants = Constants()
    source = "\n".join(each(_Function(form, constants, each=each).lines()))
    namespace: dict[str, Any] = constants.table
    exec(compile(source, "<layerzero matcher>", "exec"), namespace)
    decide: Decide = namespace["decide"]
    return decide


Region = Callable[[Mapping[str, Any], Mapping[str, str]], Hashable]


def generate_region(form: OperationForm) -> Region:
    """A function from given values and arms to a name of the region that they lie in: contexts with equal names have
    equal outcomes. It is the path through the tree, or the parts that survive."""
    constants = Constants()
    source = "\n".join(_Function(form, constants, region=True).lines())
    namespace: dict[str, Any] = constants.table
    exec(compile(source, "<layerzero regions>", "exec"), namespace)
    region: Region = namespace["decide"]
    return region


Answers = Callable[[Mapping[str, Any], Mapping[str, str]], "tuple[int, ...] | None"]


def generate_answers(form: OperationForm) -> Answers:
    """A function from given values and arms to the class of every probe's answer; None where a needed field is
    absent."""
    constants = Constants()
    source = "\n".join(_Function(form, constants).answers())
    namespace: dict[str, Any] = constants.table
    exec(compile(source, "<layerzero answers>", "exec"), namespace)
    answers: Answers = namespace["decide"]
    return answers


def source_of(form: OperationForm) -> str:
    """The generated source, for those who want to read it."""
    return "\n".join(_Function(form, Constants()).lines())


class _Function:
    def __init__(self, form: OperationForm, constants: Constants, region: bool = False, each: Each = at_once) -> None:
        self.form, self.constants, self.region, self.each = form, constants, region, each
        known = {load.name for load in form.loads if load.needed or _is_constant(form, load)}
        may_be_nan = {load.name for load in form.loads if _may_be_nan(load)}
        ranges = {load.name: (load.low, load.high) for load in form.loads}
        self.pool = Pool(ranges, known, known - may_be_nan, frozenset(may_be_nan))
        for term in each(form.terms):
            self.pool.add(*term)
        self.places = {("field", load.name): f"v{index}" for index, load in enumerate(form.loads)}
        self.places |= {("arm", name): f"a{index}" for index, name in enumerate(form.experiments)}
        self.presence = {f"v{i}": f"p{i}" for i, load in enumerate(form.loads) if load.name in may_be_nan}

    def lines(self) -> list[str]:
        if self.form.refused:
            return ["def decide(values, arms):", f" return {self.constants.named(INVALID)}"]
        return [*self.head(INVALID), *(self.tree() if self.form.tree is not None else self.bitset())]

    def answers(self) -> list[str]:
        body = self.head(None)
        for index, probe in enumerate(self.form.probes):
            block = self.block(f"q{index}_")
            answer = self.answer(block, probe)
            body.extend(block.lines)
            body.append(f" r{index} = {answer}")
        return [*body, f" return ({''.join(f'r{index}, ' for index in range(len(self.form.probes)))})"]

    def head(self, invalid: Outcome | None) -> list[str]:
        """Values and arms into locals; `invalid` is returned where a needed field is absent."""
        body = ["def decide(values, arms):"]
        if self.form.loads:
            body.append(" get = values.get")
        for index, load in enumerate(self.each(self.form.loads)):
            body.extend(self.load(index, load, invalid))
        for index, name in enumerate(self.form.experiments):
            body.append(f" a{index} = arms.get({self.constants.named(name)})")
        return body

    def load(self, index: int, load: FieldLoad, invalid: Outcome | None) -> list[str]:
        """A given value, else the default; a needed field without one ends the decision."""
        variable = f"v{index}"
        lines = [f" {variable} = " + (f"get({self.constants.named(load.name)})" if load.given else "None")]
        if load.default is not None:
            block = Block(self.pool, self.constants, self.places, self.presence, " ", f"d{index}_")
            value = block.optional(load.default)
            if block.lines or not value.isidentifier() or not value.startswith("K"):
                value = self._fitted(block, value, load)
            lines.append(f" if {variable} is None:")
            lines.extend(" " + line for line in block.lines)
            lines.append(f"  {variable} = {value}")
        if load.needed:
            lines.append(f" if {variable} is None: return {self.constants.named(invalid)}")
        if variable in self.presence:
            # NaN and infinities are present, and unknown.
            low, high = self.constants.named(-math.inf), self.constants.named(math.inf)
            lines.append(f" {self.presence[variable]} = {variable} is not None")
            lines.append(f" if {variable} is not None and not {low} < {variable} < {high}: {variable} = None")
        return lines

    def _fitted(self, block: Block, value: str, load: FieldLoad) -> str:
        """A computed default as its field can hold it, or None."""
        assert load.default is not None
        block.lines.append(f" d = {value}")
        if load.kind == "float" and self.pool.kind(load.default) == "int":
            block.lines.append(" if d is not None: d = float(d)")
        tests = [] if load.low is None else [f"d < {self.constants.named(load.low)}"]
        if load.high is not None:
            tests.append(f"d {'>=' if load.high_open else '>'} {self.constants.named(load.high)}")
        if tests:
            block.lines.append(f" if d is not None and ({' or '.join(tests)}): d = None")
        return "d"

    # ------------------------------------------------------------ the two structures

    def tree(self) -> list[str]:
        """`s` is the node that is reached. Nodes stand in the order of their probes, so each probe is one step."""
        tree = self.form.tree
        assert tree is not None
        count = len(tree.nodes)
        nodes = tuple(tuple(_numbered(child, count) for child in node.children) for node in self.each(tree.nodes))
        table = self.constants.named(nodes)
        outcomes = self.constants.named((None,) * count + tree.outcomes)
        ends = [0] * len(self.form.probes)
        for number, node in enumerate(tree.nodes):
            ends[node.probe] = number + 1
        lines = [f" s = {_numbered(tree.root, count)}"]
        if self.region:
            lines.append(" path = []")
        for probe, end in zip(self.each(self.form.probes), ends, strict=True):
            block = self.block(f"q{end}_")
            answer = self.answer(block, probe)
            lines.append(f" if s < {end}:")
            lines.extend(f" {line}" for line in block.lines)
            lines.append(f"  s = {table}[s][{answer}]")
            if self.region:
                lines.append("  path.append(s)")
        return [*lines, " return (*path,)" if self.region else f" return {outcomes}[s]"]

    def bitset(self) -> list[str]:
        """`m` holds the parts that survive; their outcome is computed once and remembered."""
        memory: dict[int, Outcome] = {}
        everything = (1 << len(self.form.lowered.parts)) - 1
        lines = [f" m = {self.constants.named(everything)}"]
        for index, probe in enumerate(self.each(self.form.probes)):
            block = self.block(f"q{index}_")
            if probe.kind == "formula":
                asked = self.constants.named(probe.constrained(everything))
                answer = block.boolean(probe.proposition)
                kept = self.constants.named(probe.masks[probe.classes[0]])
                lines.append(f" if m & {asked}:")
                lines.extend(f" {line}" for line in block.lines)
                lines.append(f"  if not ({answer}): m &= {kept}")
            else:
                masks = tuple(probe.masks[number] for number in probe.classes)
                lines.append(f" m &= {self.lookup(probe, masks)}")
        if self.region:
            return [*lines, " return m"]
        known = self.constants.named(memory)
        compute = self.constants.named(remembering(Stages(self.form.lowered), memory))
        return [*lines, f" o = {known}.get(m)", f" return {compute}(m) if o is None else o"]

    def block(self, prefix: str) -> Block:
        return Block(self.pool, self.constants, self.places, self.presence, " ", prefix)

    def answer(self, block: Block, probe: Probe) -> str:
        """The class of a probe's answer."""
        if probe.kind == "formula":
            return block.boolean(probe.proposition)
        return self.lookup(probe, probe.classes)

    def lookup(self, probe: Probe, slots: tuple[Any, ...]) -> str:
        """An expression for the slot that a field's value falls into."""
        variable = self.places[probe.read]
        name = self.constants.named
        if probe.kind == "lookup":
            *_, other, absent = slots
            table = {**dict(zip(probe.keys, slots, strict=False)), None: absent}
            return f"{name(table)}.get({variable}, {name(other)})"
        keys = name(probe.keys)
        places = f"{name(bisect_right)}({keys}, {variable})"
        if probe.kind == "float":
            places = f"{name(bisect_left)}({keys}, {variable}) + {places}"
        found = f"{name(slots[:-1])}[{places}]"
        if probe.read[1] in self.pool.known:
            return found
        return f"({name(slots[-1])} if {variable} is None else {found})"


def _numbered(child: int, count: int) -> int:
    """Leaves after all nodes, so that `s < end` is false for them."""
    return child if child >= 0 else count - 1 - child


def remembering(stages: Stages, memory: dict[int, Outcome]) -> Callable[[int], Outcome]:
    """Parts -> their outcome, kept in the bounded `memory` for those who look there first."""

    def compute(parts: int) -> Outcome:
        outcome = stages.outcome(parts)
        if len(memory) >= MAX_REMEMBERED:
            memory.clear()
        memory[parts] = outcome
        return outcome

    return compute


def _is_constant(form: OperationForm, load: FieldLoad) -> bool:
    return load.default is not None and form.terms[load.default][0] == "const"


def _may_be_nan(load: FieldLoad) -> bool:
    return load.kind == "float" and (load.low is None or load.high is None)

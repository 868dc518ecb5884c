"""Compiled form -> what people look at: text and Graphviz of the tree, and its statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from layerzero.compiler.form import FieldLoad, Form, OperationForm
from layerzero.compiler.probes import Probe
from layerzero.compiler.spell import spell
from layerzero.compiler.stages import bits
from layerzero.compiler.tree import Tree
from layerzero.semantics.proof import Outcome


@dataclass(frozen=True, slots=True)
class Statistics:
    """`depth`: the most probes that one decision asks. `nodes` counts inner nodes of a tree, 0 for bits."""

    operation: str
    structure: str
    kernels: int
    fields: int
    probes: int
    nodes: int
    outcomes: int
    depth: int
    parts: int  # of a bitset: kernels and rules that a call makes true or false
    kibibytes: int  # of its sets

    def __str__(self) -> str:
        if self.structure == "bitset":
            note = "bitset, past the bound of a tree" if self.probes else "bitset"
            size = f"{self.parts} parts, {self.kibibytes} KiB of bits"
            return f"{self.operation}: {note}; {self.kernels} kernels, {size}, {self.probes} probes, each asked once"
        size = f"{self.nodes} nodes, {self.outcomes} outcomes, at most {self.depth} probes deep"
        return f"{self.operation}: tree; {self.kernels} kernels, {size}"


def stats(form: Form) -> tuple[Statistics, ...]:
    return tuple(operation_stats(one) for _, one in sorted(form.operations.items()))


def operation_stats(form: OperationForm) -> Statistics:
    tree = form.tree
    nodes, outcomes = (0, 0) if tree is None else (len(tree.nodes), len(tree.outcomes))
    depth = len(form.probes) if tree is None else _depth(tree)
    fields = sum(load.given for load in form.loads)
    parts = 0 if tree is not None else len(form.lowered.parts)
    size = -(-sum(len(probe.masks) for probe in form.probes) * parts // 8192)
    kernels, probes = len(form.lowered.kernels), len(form.probes)
    return Statistics(form.name, form.structure, kernels, fields, probes, nodes, outcomes, depth, parts, size)


def _depth(tree: Tree) -> int:
    """Children come after their parents, so one backward pass finds every longest path."""
    below = [0] * len(tree.nodes)
    for number in reversed(range(len(tree.nodes))):
        below[number] = 1 + max((below[child] for child in tree.nodes[number].children if child >= 0), default=0)
    return below[tree.root] if tree.root >= 0 else 0


# ---------------------------------------------------------------- text


def text(form: Form, operations: tuple[str, ...] = ()) -> str:
    """Each operation: a line of statistics, then the tree, or the probes of a bitset with what they remove."""
    chosen = [one for name, one in sorted(form.operations.items()) if not operations or name in operations]
    return "\n".join(line for one in chosen for line in _operation_lines(one))


def _operation_lines(form: OperationForm) -> Iterator[str]:
    yield str(operation_stats(form))
    if form.refused:
        yield "  every call: error invalid_context"
    elif form.tree is not None:
        yield from _tree_lines(form, form.tree)
    else:
        for probe in form.probes:
            yield f"  {question(form, probe)}"
            yield from (f"    {line}" for line in _removals(form, probe))
    yield ""


def _tree_lines(form: OperationForm, tree: Tree) -> Iterator[str]:
    """A node that is reached again is named, not repeated."""
    parents = Counter(child for node in tree.nodes for child in set(node.children) if child >= 0)
    shown: set[int] = set()
    # A stack instead of recursion: a tree may be as deep as it has probes.
    stack: list[tuple[int, int, str]] = [(tree.root, 1, "")]
    while stack:
        number, level, label = stack.pop()
        lead = "  " * level + (f"{label}: " if label else "")
        if number < 0:
            yield lead + outcome_text(tree.outcomes[-1 - number])
        elif number in shown:
            yield f"{lead}as #{number}"
        else:
            shown.add(number)
            node = tree.nodes[number]
            probe = form.probes[node.probe]
            mark = f"  #{number}" if parents[number] > 1 else ""
            yield f"{lead}{question(form, probe)}?{mark}"
            ways = answers(form, probe, node.children)
            stack.extend((child, level + 1, label) for label, child in reversed(ways))


def _removals(form: OperationForm, probe: Probe) -> Iterator[str]:
    everything = (1 << len(form.lowered.parts)) - 1
    for label, mask in answers(form, probe, probe.masks):
        gone = [_part_name(form, number) for number in bits(everything & ~mask)]
        if gone:
            yield f"{label}: without {', '.join(dict.fromkeys(gone))}"


def _part_name(form: OperationForm, number: int) -> str:
    part = form.lowered.parts[number]
    return form.lowered.kernels[number] if part.rule < 0 else f"{part.kind} {form.lowered.rules[part.rule].name}"


def question(form: OperationForm, probe: Probe) -> str:
    if probe.kind == "formula":
        return spell(form.terms, probe.proposition)
    return f"arm of {probe.read[1]}" if probe.read[0] == "arm" else probe.read[1]


def answers(form: OperationForm, probe: Probe, children: Sequence[int]) -> list[tuple[str, int]]:
    """(answers in words, child), one for each child; `children` by class."""
    slots: dict[int, list[int]] = {}
    if probe.kind == "formula":
        slots = {child: [number for number in (0, 1) if children[number] == child] for child in children}
        return [(", ".join(("no", "yes")[number] for number in numbers), child) for child, numbers in slots.items()]
    for slot, number in enumerate(probe.classes):
        slots.setdefault(children[number], []).append(slot)
    named = [(", ".join(_labels(form, probe, numbers)), child) for child, numbers in slots.items()]
    return [(label, child) for label, child in named if label]


def _labels(form: OperationForm, probe: Probe, slots: list[int]) -> list[str]:
    """Words for some slots of a probe; what cannot be, such as an absent field that every call has, has none."""
    load = next((one for one in form.loads if ("field", one.name) == probe.read), None)
    last = len(probe.classes) - 1
    labels: list[str] = []
    if probe.kind == "int":
        labels = [_span(probe.keys, run) for run in _runs([slot for slot in slots if slot < last])]
    elif probe.kind == "float":
        labels = [_float_label(probe.keys, slot) for slot in slots if slot < last]
    else:
        labels = [_shown(probe.keys[slot]) for slot in slots if slot < last - 1]
        if last - 1 in slots:
            labels.extend(_others(probe, load))
    always = load is not None and (load.needed or (load.default is not None and form.terms[load.default][0] == "const"))
    if last in slots and not always:
        labels.append("no arm" if probe.read[0] == "arm" else "absent")
    return labels


def _others(probe: Probe, load: FieldLoad | None) -> list[str]:
    """What a field may be besides the keys of its probe."""
    if load is not None and load.kind == "enum":
        return [member for member in load.members if member not in probe.keys]
    if load is not None and load.kind == "bool" and probe.keys:
        return ["false"]
    return ["other"] if probe.keys else ["present"]


def _runs(slots: list[int]) -> list[tuple[int, int]]:
    """Neighbouring slots as (first, last)."""
    runs: list[tuple[int, int]] = []
    for slot in slots:
        if runs and runs[-1][1] == slot - 1:
            runs[-1] = (runs[-1][0], slot)
        else:
            runs.append((slot, slot))
    return runs


def _span(keys: tuple[Any, ...], run: tuple[int, int]) -> str:
    """Slot i of an int holds what lies from `keys[i - 1]` to below `keys[i]`."""
    low = keys[run[0] - 1] if run[0] > 0 else None
    high = keys[run[1]] - 1 if run[1] < len(keys) else None
    if low is None and high is None:
        return "any"
    return str(low) if low == high else f"{'' if low is None else low}..{'' if high is None else high}"


def _float_label(keys: tuple[Any, ...], slot: int) -> str:
    if slot % 2:
        return str(keys[slot // 2])
    low, high = slot // 2 - 1, slot // 2
    if not keys:
        return "any"
    if low < 0:
        return f"below {keys[high]}"
    return f"above {keys[low]}" if high == len(keys) else f"between {keys[low]} and {keys[high]}"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def outcome_text(outcome: Outcome) -> str:
    if outcome.kernel is None:
        return f"error {outcome.error}"
    score = "" if outcome.score is None else f" {outcome.score:g}"
    by = "".join(
        f" {word} {', '.join(names)}"
        for word, names in (("lock", outcome.locked_by), ("order", outcome.ordered_by))
        if names
    )
    return f"{outcome.kernel}{score}{' degraded' if outcome.degraded else ''}{by}"


# ---------------------------------------------------------------- Graphviz


def dot(form: Form, operations: tuple[str, ...] = ()) -> str:
    """A Graphviz digraph, one cluster an operation; a bitset is one box."""
    lines = ["digraph layerzero {", '  node [shape=box, fontname="sans-serif"];', '  edge [fontname="sans-serif"];']
    for index, (name, one) in enumerate(sorted(form.operations.items())):
        if not operations or name in operations:
            lines.append(f"  subgraph cluster_{index} {{")
            lines.append(f"    label={quoted(str(operation_stats(one)))};")
            lines.extend(f"    {line}" for line in _cluster(one, f"o{index}_"))
            lines.append("  }")
    return "\n".join([*lines, "}"])


def _cluster(form: OperationForm, prefix: str) -> Iterator[str]:
    tree = form.tree
    if tree is None:
        yield f"{prefix}bits [label={quoted(f'{len(form.probes)} probes, {len(form.lowered.parts)} parts')}];"
        return
    for number, outcome in enumerate(tree.outcomes):
        yield f"{prefix}leaf{number} [shape=ellipse, label={quoted(outcome_text(outcome))}];"
    for number, node in enumerate(tree.nodes):
        probe = form.probes[node.probe]
        yield f"{prefix}{number} [label={quoted(question(form, probe) + '?')}];"
        for label, child in answers(form, probe, node.children):
            target = f"{prefix}{child}" if child >= 0 else f"{prefix}leaf{-1 - child}"
            yield f"{prefix}{number} -> {target} [label={quoted(label)}];"


def quoted(written: str) -> str:
    """A Graphviz string: whatever a policy names, it stays text."""
    escaped = written.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'

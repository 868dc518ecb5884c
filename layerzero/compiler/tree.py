"""Probes -> decision tree with shared branches. Each probe is asked at most once on any path.

Built level by level: a level is one probe, a state is the set of parts that may still hold, reduced to what can still
matter. Equal states of a level are one node, so the tree is a graph. Its size is bounded by nodes and by work, both
counted, never timed: the same program gives the same form on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layerzero.compiler.lower import Lowered
from layerzero.compiler.probes import Probe
from layerzero.compiler.reduce import Reducer
from layerzero.compiler.stages import Stages, bits
from layerzero.semantics.proof import Outcome

MAX_NODES = 1500
MAX_WORK = 100_000
"""Parts looked at while reducing states; about a fifth of a second on a slow core."""
LEAST_LOOKS = 64
"""How often the parts are looked at in the search for a tree, at least."""
SMALL = 256
"""Nodes of a tree that is small enough not to look for a smaller one."""


@dataclass(frozen=True, slots=True)
class Node:
    """A probe, by position in `Tree.probes`, and the child for each class: a node, or -1 - outcome."""

    probe: int
    children: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """`nodes` in the order of their probes, so a child that is a node comes after its parent. `root` as a child."""

    probes: tuple[int, ...]  # the order in which they are asked: positions in the operation's list
    nodes: tuple[Node, ...]
    outcomes: tuple[Outcome, ...]
    root: int


def build_tree(lowered: Lowered, probes: Sequence[Probe], limits: tuple[int, int]) -> Tree | None:
    """The smaller of the trees that two orders of probes give; None where neither stays within the bounds."""
    best: Tree | None = None
    if len(lowered.parts) * LEAST_LOOKS > limits[1]:
        return None  # it would be found out only after all of the work
    for order in _orders(lowered, probes):
        tree = _Builder(lowered, probes, order, limits).build()
        if tree is not None and (best is None or len(tree.nodes) < len(best.nodes)):
            best = tree
        if best is not None and len(best.nodes) <= SMALL:
            break
    return best


def _orders(lowered: Lowered, probes: Sequence[Probe]) -> list[tuple[int, ...]]:
    """By the strongest kernel that a probe is about, locks before all; and by how many parts it is about."""
    everything = (1 << len(lowered.parts)) - 1
    constrained = [probe.constrained(everything) for probe in probes]
    weight = [_strength(lowered, number) for number in range(len(lowered.parts))]

    def strongest(index: int) -> tuple[float, int]:
        return max((weight[part] for part in bits(constrained[index])), default=0.0), constrained[index].bit_count()

    numbers = range(len(probes))
    by_strength = sorted(numbers, key=lambda index: (*(-value for value in strongest(index)), index))
    by_count = sorted(numbers, key=lambda index: (-constrained[index].bit_count(), index))
    return [tuple(by_strength), tuple(by_count)]


def _strength(lowered: Lowered, number: int) -> float:
    part = lowered.parts[number]
    match part.kind:
        case "lock" | "order":
            return float("inf")
        case "kernel":
            return float(lowered.priorities[number])
        case _:
            return float(max((lowered.priorities[kernel] for kernel in bits(part.kernels)), default=0))


class _PastBoundError(Exception):
    """The tree grows past its bound."""


class _Builder:
    def __init__(
        self, lowered: Lowered, probes: Sequence[Probe], order: tuple[int, ...], limits: tuple[int, int]
    ) -> None:
        self.stages, self.order = Stages(lowered), order
        self.reducer = Reducer(self.stages)
        self.max_nodes, self.max_work = limits
        everything = self.everything = (1 << len(lowered.parts)) - 1
        self.masks = [probes[index].masks for index in order]
        self.asked = [probes[index].constrained(everything) for index in order]
        self.open_from = [0] * (len(order) + 1)
        for level in reversed(range(len(order))):
            self.open_from[level] = self.open_from[level + 1] | self.asked[level]
        self.waiting: list[dict[int, int]] = [{} for _ in order]  # level -> state -> number
        self.count = 0
        self.leaves: dict[Outcome, int] = {}

    def build(self) -> Tree | None:
        """The tree, or None past a bound."""
        try:
            return self._build()
        except _PastBoundError:
            return None

    def _build(self) -> Tree:
        root = self.place(self.everything, 0)
        made: dict[int, tuple[int, list[int]]] = {}
        for level, states in enumerate(self.waiting):
            for state, number in states.items():
                children = [self.place(state & mask, level + 1) for mask in self.masks[level]]
                made[number] = (level, children)
        return _pack(self.order, made, tuple(self.leaves), root)

    def place(self, state: int, level: int) -> int:
        """The node or leaf of a state of which the probes from `level` on are not asked yet."""
        if self.count > self.max_nodes or self.reducer.work > self.max_work:
            raise _PastBoundError
        state = self.reducer.reduce(state, self.open_from[level])
        while level < len(self.order) and not state & self.asked[level]:
            level += 1
        if level == len(self.order):
            return -1 - self.leaves.setdefault(self.stages.outcome(state), len(self.leaves))
        number = self.waiting[level].get(state)
        if number is None:
            number = self.waiting[level][state] = self.count
            self.count += 1
        return number


def _pack(
    order: tuple[int, ...], made: dict[int, tuple[int, list[int]]], outcomes: tuple[Outcome, ...], root: int
) -> Tree:
    """Merge nodes that lead to the same, from the leaves up; then drop what the root does not reach and number anew."""
    merged: dict[int, int] = {}
    seen: dict[tuple[int, tuple[int, ...]], int] = {}
    for number in sorted(made, key=lambda one: -made[one][0]):
        level, children = made[number]
        after = tuple(merged.get(child, child) for child in children)
        merged[number] = after[0] if len(set(after)) == 1 else seen.setdefault((level, after), number)
    root = merged.get(root, root)
    kept = {number: key for key, number in seen.items()}
    reached, stack = set(), [root]
    while stack:
        number = stack.pop()
        if number >= 0 and number not in reached:
            reached.add(number)
            stack.extend(kept[number][1])
    numbers = {old: new for new, old in enumerate(sorted(reached, key=lambda one: (kept[one][0], one)))}
    used = sorted({kept[old][0] for old in reached})
    place = {level: at for at, level in enumerate(used)}
    leaves: dict[int, int] = {}

    def child(number: int) -> int:
        return numbers[number] if number >= 0 else -1 - leaves.setdefault(-1 - number, len(leaves))

    nodes = tuple(Node(place[kept[old][0]], tuple(child(one) for one in kept[old][1])) for old in numbers)
    start = child(root)
    return Tree(tuple(order[level] for level in used), nodes, tuple(outcomes[leaf] for leaf in leaves), start)

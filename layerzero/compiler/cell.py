"""Values of one call -> the answers that decided it: a cell. All calls in a cell have one outcome.

A cell is a set of answers for each probe that was asked on the way, so it is an interval or a set for every field that
was read, and beside them the formulas (`%`, fields compared with fields) that have to stay true or false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from layerzero.compiler.codegen import Answers, generate_answers
from layerzero.compiler.dump import answers as labelled, question
from layerzero.compiler.form import OperationForm

Step = tuple[int, frozenset[int]]
"""A probe and the classes of its answers that lead to the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """`kv_len: 1000..1999; dtype: bf16, fp16; (q_heads % kv_heads) == 0`"""

    form: OperationForm
    steps: tuple[Step, ...]

    def contains(self, values: Mapping[str, Any], arms: Mapping[str, str]) -> bool:
        """Whether values, given as to a matcher, lie in here."""
        found = _answers(self.form)(values, arms)
        return found is not None and all(found[probe] in classes for probe, classes in self.steps)

    @property
    def fields(self) -> Mapping[str, str]:
        """Field or experiment -> what it may be; what is not in there was not looked at."""
        named = ((self.form.probes[number], classes) for number, classes in self.steps)
        return {p.read[1]: _words(self.form, p, classes) for p, classes in named if p.kind != "formula"}

    @property
    def formulas(self) -> Mapping[str, bool]:
        """What relates several fields, or is no interval, with the truth that it has to keep."""
        named = ((self.form.probes[number], classes) for number, classes in self.steps)
        return {question(self.form, p): 1 in classes for p, classes in named if p.kind == "formula"}

    def __str__(self) -> str:
        fields = [f"{name}: {words}" for name, words in self.fields.items()]
        formulas = [text if true else f"not ({text})" for text, true in self.formulas.items()]
        return "; ".join([*fields, *formulas])


def cell_of(form: OperationForm, values: Mapping[str, Any], arms: Mapping[str, str]) -> Cell:
    """The cell that values lie in.

    Raises:
        ValueError: A needed field is absent.
    """
    found = None if form.refused else _answers(form)(values, arms)
    if found is None:
        raise ValueError(f"a call of `{form.name}` lacks a field that it needs")
    return Cell(form, tuple(_of_tree(form, found) if form.tree is not None else _of_bits(form, found)))


def _of_tree(form: OperationForm, found: tuple[int, ...]) -> list[Step]:
    tree, steps = form.tree, []
    assert tree is not None
    at = tree.root
    while at >= 0:
        node = tree.nodes[at]
        at = node.children[found[node.probe]]
        steps.append((node.probe, frozenset(number for number, child in enumerate(node.children) if child == at)))
    return steps


def _of_bits(form: OperationForm, found: tuple[int, ...]) -> list[Step]:
    """Of each probe the answers that leave the same parts; one that removes nothing from what is left is no step."""
    alive, steps = (1 << len(form.lowered.parts)) - 1, []
    for number, probe in enumerate(form.probes):
        left = alive & probe.masks[found[number]]
        same = frozenset(one for one, mask in enumerate(probe.masks) if alive & mask == left)
        if len(same) < len(probe.masks):
            steps.append((number, same))
        alive = left
    return steps


def _answers(form: OperationForm) -> Answers:
    """Generated once for each form, when somebody first asks for a cell."""
    kept: dict[str, Answers] = vars(form)  # as functools.cached_property keeps what it made
    found = kept.get("_answers")
    if found is None:
        found = kept["_answers"] = generate_answers(form)
    return found


def _words(form: OperationForm, probe: Any, classes: frozenset[int]) -> str:
    inside = [int(number in classes) for number in range(max(probe.classes) + 1)]
    return next((label for label, chosen in labelled(form, probe, inside) if chosen), "")

"""Compiled form of an operation -> flat arrays of 64-bit words, as the native matcher reads them.

`layerzero/native/README.md` has the layout. Only plain data comes out: words, and the texts that they number.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from layerzero.compiler.form import FieldLoad, OperationForm
from layerzero.compiler.masks import Masks
from layerzero.compiler.probes import Probe
from layerzero.compiler.slices import Each, at_once
from layerzero.compiler.terms import MAX_INT, MIN_INT, Id, Pool, Term

MAGIC = int.from_bytes(b"LZFORM01", "little")
NOTHING = -1

_TAGS = {"bool": 2, "int": 3, "float": 4, "string": 5, "version": 6}
_OPERATORS = {
    name: number
    for number, name in enumerate(
        "const field has arm arithmetic extremum negate choose compare like not and or either all any is".split()
    )
}
_ARITHMETIC = {operator: number for number, operator in enumerate(("+", "-", "*", "//", "%"))}
_COMPARISONS = {"==": 0, "<": 1, "<=": 2}
_PROBES = {"int": 0, "float": 1, "lookup": 2, "formula": 3}


@dataclass(frozen=True, slots=True)
class Flat:
    """One operation. `objects` are ("version" or "pattern", its text); `strings` are ascending."""

    words: bytes | bytearray
    fields: tuple[str, ...]  # of which those that may be given are read from a call
    given: tuple[bool, ...]
    experiments: tuple[str, ...]
    strings: tuple[str, ...]
    objects: tuple[tuple[str, str], ...]


def flatten(form: OperationForm, each: Each = at_once) -> Flat:
    """The arrays of an operation; `each` says how the loops of writing them run."""
    return _Flattening(form, each).run()


@dataclass
class _Section:
    """Items of `width` words each; written as their number and then the words."""

    width: int = 1
    words: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.words) // self.width

    def add(self, *words: int) -> int:
        """Append one item; its position."""
        self.words.extend(words)
        return len(self) - 1

    def add_all(self, words: Iterable[int]) -> int:
        """Append items of one word; the position of the first."""
        first = len(self.words)
        self.words.extend(words)
        return first

    def written(self) -> array[int]:
        return array("q", [len(self)]) + self.words


class _Flattening:
    def __init__(self, form: OperationForm, each: Each) -> None:
        self.form, self.each = form, each
        self.pool = Pool({})
        self.pool.nodes = list(form.terms)
        self.strings = sorted(set(_strings(form, each)))
        self.string_numbers = {text: number for number, text in enumerate(self.strings)}
        self.objects: dict[tuple[str, str], int] = {}
        places = [("field", load.name) for load in form.loads] + [("arm", name) for name in form.experiments]
        self.places: Mapping[tuple[str, str], int] = {place: number for number, place in enumerate(places)}
        self.mask_words = 0 if form.tree is not None else -(-len(form.lowered.parts) // 64)
        self.constants, self.loads, self.programs = _Section(2), _Section(4), _Section(2)
        self.instructions, self.operands = _Section(4), _Section()
        self.keys, self.real_keys, self.classes = _Section(), _Section(2), _Section()
        self.probes, self.nodes, self.children, self.rows = _Section(8), _Section(2), _Section(), 0

    def run(self) -> Flat:
        form, tree = self.form, self.form.tree
        for load in self.each(form.loads):
            self.load(load)
        for probe in self.each(form.probes):
            self.probe(probe)
        for node in self.each(tree.nodes if tree is not None else ()):
            self.nodes.add(node.probe, self.children.add_all(node.children))
        root, outcomes = (0, 0) if tree is None else (tree.root, len(tree.outcomes))
        head = [MAGIC, form.refused, tree is not None, len(form.experiments)]
        head += [len(self.strings), len(self.objects), outcomes, root, self.mask_words]
        words = array("q", head)
        sections = (self.constants, self.loads, self.programs, self.instructions, self.operands, self.keys)
        for section in (*sections, self.real_keys, self.classes, self.probes, self.nodes, self.children):
            words += section.written()
        words.append(self.rows * self.mask_words)
        return Flat(
            self.with_masks(bytearray(words.tobytes())),
            tuple(load.name for load in form.loads),
            tuple(load.given for load in form.loads),
            form.experiments,
            tuple(self.strings),
            tuple(self.objects),
        )

    # ------------------------------------------------------------ values

    def load(self, load: FieldLoad) -> None:
        flags = load.given | load.needed << 1 | (load.kind == "float") << 2 | load.high_open << 3
        default = NOTHING if load.default is None else self.program(load.default)
        bounds = (NOTHING if bound is None else self.number(bound) for bound in (load.low, load.high))
        self.loads.add(flags, default, *bounds)

    def number(self, value: float) -> int:
        """The position of a bound among the constants; an int beyond 64 bits bounds nothing in there."""
        if isinstance(value, int) and not MIN_INT <= value <= MAX_INT:
            return self.constant("float", float(value))
        return self.constant("int" if isinstance(value, int) else "float", value)

    def constant(self, kind: str, value: Any) -> int:
        match kind:
            case "bool" | "int":
                bits = int(value)
            case "float":
                bits = _bits(value)
            case "string":
                bits = self.string_numbers[value]
            case _:
                bits = self.object(kind, value)
        return self.constants.add(_TAGS[kind], bits)

    def object(self, kind: str, text: str) -> int:
        return self.objects.setdefault((kind, text), len(self.objects))

    # ------------------------------------------------------------ terms

    def program(self, term: Id) -> int:
        """A term and all below it, parts first; each instruction writes the register of its own number."""
        terms = self.pool.deepest_first(term, ())
        registers = {number: register for register, number in enumerate(terms)}
        first = len(self.instructions)
        for number in terms:
            node = self.pool.nodes[number]
            parts = tuple(registers[part] for part in self.pool.parts(number))
            self.instructions.add(*self.instruction(node, parts))
        return self.programs.add(first, len(terms))

    def instruction(self, node: Term, parts: tuple[int, ...]) -> tuple[int, int, int, int]:
        number = _OPERATORS.get(node[0], NOTHING)
        match node[0]:
            case "unknown":
                return _OPERATORS["const"], NOTHING, 0, 0
            case "const":
                return number, self.constant(node[1], node[2]), 0, 0
            case "field" | "has":
                return number, self.places["field", node[1]], 0, 0
            case "arm":
                return number, self.places["arm", node[1]], self.string_numbers[node[2]], 0
            case "arithmetic":
                return number, *parts, _ARITHMETIC[node[2]]  # type: ignore[return-value]
            case "compare":
                return number, *parts, _COMPARISONS[node[1]]  # type: ignore[return-value]
            case "extremum":
                return number, self.operands.add_all(parts), len(parts), (node[2] == "max") | (node[1] == "float") << 1
            case "like":
                return number, parts[0], self.object("pattern", node[2]), 0
            case "is":
                return number, parts[0], node[2], 0
            case "negate" | "not":
                return number, parts[0], 0, 0
            case "choose" | "either":
                return number, *parts  # type: ignore[return-value]
            case "and" | "or" | "all" | "any":
                return number, self.operands.add_all(parts), len(parts), 0
            case other:
                raise ValueError(f"not a term of a compiled form: `{other}`")

    # ------------------------------------------------------------ probes

    def probe(self, probe: Probe) -> None:
        masks = self.rows * self.mask_words if self.mask_words else NOTHING
        self.rows += len(probe.masks)
        kind = _PROBES[probe.kind]
        if probe.kind == "formula":
            self.probes.add(kind, NOTHING, 0, 0, 0, 0, self.program(probe.proposition), masks)
            return
        keys, slots = _within_words(probe) if probe.kind == "int" else (probe.keys, probe.classes)
        if probe.kind == "float":
            first = len(self.real_keys)
            for key in keys:
                small = isinstance(key, int) and MIN_INT <= key <= MAX_INT
                self.real_keys.add(*((_TAGS["int"], key) if small else (_TAGS["float"], _bits(float(key)))))
        else:
            lookup = probe.kind == "lookup"
            first = self.keys.add_all([self.key(key) for key in keys] if lookup else keys)
        place, classes = self.places[probe.read], self.classes.add_all(slots)
        self.probes.add(kind, place, first, len(keys), classes, len(slots), NOTHING, masks)

    def key(self, key: Any) -> int:
        return int(key) if isinstance(key, bool) else self.string_numbers[key]

    def with_masks(self, words: bytearray) -> bytearray:
        """The words before, and the masks: by far the most, so that they are written once and in place."""
        if self.mask_words:
            parts = len(self.form.lowered.parts)
            for probe in self.form.probes:
                masks = probe.masks if isinstance(probe.masks, Masks) else Masks.of(probe.masks, parts)
                for row in masks.rows(self.mask_words, self.each):
                    words += row
        return words


def _within_words(probe: Probe) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Keys and classes without what no 64-bit integer reaches."""
    keys, (*slots, absent) = list(probe.keys), probe.classes
    while keys and keys[-1] > MAX_INT:
        keys.pop()
        slots.pop()
    while keys and keys[0] < MIN_INT:
        del keys[0], slots[0]
    return tuple(keys), (*slots, absent)


def _strings(form: OperationForm, each: Each) -> Iterable[str]:
    """Every string that an answer may depend on."""
    for term in each(form.terms):
        if (term[0] == "const" and term[1] == "string") or term[0] == "arm":
            yield term[2]
    for probe in each(form.probes):
        if probe.kind == "lookup":
            yield from (key for key in probe.keys if isinstance(key, str))


def _bits(value: float) -> int:
    return array("q", array("d", [value]).tobytes())[0]

"""Two sides -> the regions of contexts that they decide otherwise, and the parts that were not examined.

Each suspect is looked at by example: one context is decided on both sides, and what the two outcomes hang on is left
out of what remains, until nothing does. Where they differ it is enough that a kernel is chosen on one side and not on
the other; where they agree, that none of the kernels that the difference is about is chosen on either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from layerzero.analysis.difference.sides import Apart, Pair, Side, pairs
from layerzero.analysis.difference.suspects import Suspect, suspects
from layerzero.analysis.settle import Outcome, loses, outcome_of, settle
from layerzero.check.expressions import Value
from layerzero.regions import formula as f
from layerzero.regions.explore import Piece, explore
from layerzero.regions.formula import Formula
from layerzero.regions.region import Region, Witness
from layerzero.regions.sets import ValueSet, matching
from layerzero.regions.simplify import readable
from layerzero.regions.terms import Dimension, FieldDimension
from layerzero.regions.translate import TooComplexError
from layerzero.semantics.causes import Cause, causes
from layerzero.semantics.proof import Proof

STEPS = 30_000
PIECES = 1_000
BOXES = 12  # conditions with more are not read by anybody
ANY = None
_GENERATION = ("device", "sm", "arch")
_TYPICAL_STEPS = 500
NEVER: Callable[[], bool] = lambda: False  # noqa: E731


@dataclass(frozen=True, slots=True)
class Example:
    """A context that both sides decided: what a caller gives, the packages that it supposes, and the two proofs."""

    witness: Witness
    old: Proof
    new: Proof


@dataclass(frozen=True)
class Change:
    """Calls of one operation that got `before` and would get one of `after`.

    Where `before` is one kernel, `after` are those that were met, and there may be more; or the other way round.
    `condition` is the region as text (`exact`: true there and nowhere else), None where that is too long to read.
    `where` is what of it the changed rules and facts say: every such call lies there.
    """

    operation: str
    before: tuple[Outcome, ...]
    after: tuple[Outcome, ...]
    where: str | None
    condition: str | None
    exact: bool
    causes: tuple[Cause, ...]
    example: Example
    region: Region
    size: float


@dataclass(frozen=True, slots=True)
class Unexamined:
    """A part of an operation about which nothing is known; `where` is a condition, None the whole operation."""

    operation: str
    reason: str
    where: str | None = None
    region: Region | None = None


@dataclass(frozen=True)
class Difference:
    """`changes` are the largest first; with nothing `unexamined`, no call outside of them is decided otherwise."""

    changes: tuple[Change, ...]
    unexamined: tuple[Unexamined, ...]
    only_old: tuple[str, ...] = ()  # operations
    only_new: tuple[str, ...] = ()


Narrowed = Callable[[Pair], Formula]


def difference(
    old: Side,
    new: Side,
    operations: Sequence[str] | None = None,
    over: Narrowed = lambda _: f.TRUE,
    stop: Callable[[], bool] = NEVER,
    steps: int = STEPS,
) -> Difference:
    """Compare all decisions of two sides.

    Args:
        operations: those to compare; None for all.
        over: the region of an operation to look at.
        stop: whether the budget is spent.
        steps: splits that the search may take for one difference.
    """
    changes: list[Change] = []
    doubts: list[Unexamined] = []
    wanted = None if operations is None else set(operations)
    # The small operations first, so that what a budget leaves is a part of the largest alone.
    for one in sorted(pairs(old, new), key=_kernels):
        if wanted is not None and one.operation not in wanted:
            continue
        if isinstance(one, Apart):
            doubts.append(Unexamined(one.operation, one.reason))
            continue
        looked = _Look(one, old, new, over(one), stop, steps)
        changes += looked.changes()
        doubts += looked.doubts
    changes.sort(key=lambda change: (-change.size, change.operation, _texts(change.before), _texts(change.after)))
    names, others = ([name for name in side.program.operations if wanted is None or name in wanted]
                     for side in (old, new))  # fmt: skip
    return Difference(
        tuple(changes),
        tuple(doubts),
        tuple(name for name in names if name not in others),
        tuple(name for name in others if name not in names),
    )


def _kernels(one: Pair | Apart) -> int:
    return 0 if isinstance(one, Apart) else len(one.old.kernels) + len(one.new.kernels)


def _texts(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(outcome.text for outcome in outcomes)


# ---------------------------------------------------------------- one operation


Answer = tuple[Outcome | None, Outcome | None]  # None: another one than here may come out
_Found = Piece[Answer | None]


@dataclass
class _Look:
    """One operation on both sides."""

    pair: Pair
    old: Side
    new: Side
    over: Formula
    stop: Callable[[], bool]
    steps: int
    doubts: list[Unexamined] = field(default_factory=list)
    _examples: dict[int, Example] = field(default_factory=dict)
    _known: list[Suspect] = field(default_factory=list)

    def changes(self) -> list[Change]:
        operation = self.pair.operation
        try:
            self._known = list(suspects(self.pair))
        except TooComplexError as error:
            self.doubts.append(Unexamined(operation, str(error)))
            return []
        pieces: dict[Answer, list[tuple[_Found, Suspect]]] = {}
        for suspect in self._known:
            region = f.all_of([suspect.formula, self.pair.within, self.over])
            try:
                for piece in explore(self.pair.space, region, self.look, self.stop, self.steps, PIECES):
                    if piece.answer is not None:
                        pieces.setdefault(piece.answer, []).append((piece, suspect))
            except TooComplexError as error:
                where = self._readable(f.all_of([suspect.where, self.over]))
                self.doubts.append(Unexamined(operation, str(error), where, Region(self.pair.space, region)))
        return [self._change(answer, found) for answer, found in pieces.items()]

    # ------------------------------------------------------------ one context

    def look(self, witness: Witness) -> tuple[Answer | None, tuple[Formula, ...]]:
        """What the sides decide, and what that hangs on; None where it is the same."""
        example = self._replayed(witness)
        proofs = [example.old, example.new]
        about, pins = self._about(witness)
        if outcome_of(example.old) == outcome_of(example.new):
            return None, (*pins, *self._same(witness, proofs, about))
        self._examples[id(witness)] = example
        answer, parts = self._differing(witness, proofs, about)
        return answer, (*pins, *parts)

    def _about(self, witness: Witness) -> tuple[frozenset[str] | None, list[Formula]]:
        """The kernels of which one is chosen on some side wherever the sides differ, and where that is so."""
        kernels: set[str] = set()
        pins: list[Formula] = []
        everything = False
        for one in self._known:
            if one.kernels is not None:
                kernels |= one.kernels
            elif f.holds_in(one.formula, witness.lookups):
                everything = True
            else:
                pins.append(self.pair.old.negation(one.formula))
        return (None, []) if everything else (frozenset(kernels), pins)

    def _same(self, witness: Witness, proofs: list[Proof], about: frozenset[str] | None) -> list[Formula]:
        models = (self.pair.old, self.pair.new)
        if about is not None and proofs[0].kernel not in about:
            rivals = [(model, proof, kernel) for model, proof in zip(models, proofs, strict=True) for kernel in about]
            return [part for model, proof, kernel in rivals if kernel in model.kernels
                    for part in loses(model, witness, proof, kernel)]  # fmt: skip
        return [part for model, proof in zip(models, proofs, strict=True)
                for part in settle(model, witness, proof).within]  # fmt: skip

    def _differing(
        self, witness: Witness, proofs: list[Proof], about: frozenset[str] | None
    ) -> tuple[Answer, list[Formula]]:
        """One side's choice, and that the other does not make it."""
        (old, new), (was, now) = (self.pair.old, self.pair.new), proofs
        found: list[tuple[Answer, list[Formula]]] = []
        if was.kernel is not None and was.kernel != now.kernel and (about is None or was.kernel in about):
            lost = loses(new, witness, now, was.kernel) if was.kernel in new.kernels else ()
            found.append(((outcome_of(was), ANY), [*settle(old, witness, was).within, *lost]))
        if now.kernel is not None and was.kernel != now.kernel and (not found or about is None):
            lost = loses(old, witness, was, now.kernel) if now.kernel in old.kernels else ()
            found.append(((ANY, outcome_of(now)), [*settle(new, witness, now).within, *lost]))
        if found:
            return min(found, key=lambda one: sum(map(_size, one[1])))
        both = [*settle(old, witness, was).within, *settle(new, witness, now).within]
        return (outcome_of(was), outcome_of(now)), both

    def _replayed(self, witness: Witness) -> Example:
        """The sides themselves, asked about the context as a caller gives it; the models are held equal to them."""
        packages = {name: text for name, text in witness.packages.items() if not name.startswith("available: ")}
        old, new = (side.decide(self.pair.operation, witness.given, packages) for side in (self.old, self.new))
        return Example(witness, old, new)

    # ------------------------------------------------------------ one change

    def _change(self, answer: Answer, found: list[tuple[_Found, Suspect]]) -> Change:
        region = Region(self.pair.space, f.any_of(dict.fromkeys(piece.formula for piece, _ in found)))
        examples = {id(piece.witness): self._examples[id(piece.witness)] for piece, _ in found}
        typical = list(self._typical(region))
        examples.update((id(one.witness), one) for one in typical)
        before = _outcomes(answer[0], (one.old for one in examples.values()))
        after = _outcomes(answer[1], (one.new for one in examples.values()))
        where = self._readable(f.any_of(dict.fromkeys(suspect.where for _, suspect in found)))
        condition, exact = self._condition(region)
        counted = Counter(cause for one in examples.values() for cause in self._causes(one))
        reasons = tuple(cause for cause, _ in counted.most_common())
        shown = min(typical or examples.values(), key=lambda one: (len(one.witness.given), str(one.witness.context)))
        size = sum(_volume(self.pair, piece.box) for piece, _ in found)
        return Change(
            self.pair.operation, before, after, where, condition, exact, reasons, self._shorter(shown), region, size
        )

    def _typical(self, region: Region) -> Iterator[Example]:
        """A context for each generation of devices in the region: what a caller is likely to meet."""
        seen: set[tuple[object, ...]] = set()
        for bundle in self.new.program.devices.values():
            values = {name: bundle.values[name] for name in _GENERATION if name in bundle.values}
            key = tuple(values.items())
            if key in seen or self.stop():
                continue
            seen.add(key)
            parts = [_equal(self.pair, name, value) for name, value in values.items()]
            found = Region(region.space, f.all_of([region.formula, *parts])).find(budget=_TYPICAL_STEPS)
            if isinstance(found, Witness):
                yield self._replayed(found)

    def _shorter(self, example: Example) -> Example:
        """Without the values that make no difference to either side."""
        outcomes = (outcome_of(example.old), outcome_of(example.new))
        for name in reversed(list(example.witness.given)):
            given = {key: value for key, value in example.witness.given.items() if key != name}
            other = self._replayed(replace(example.witness, given=given))
            if (outcome_of(other.old), outcome_of(other.new)) == outcomes:
                example = other
        return example

    def _causes(self, example: Example) -> list[Cause]:
        """The rules that differ here; failing those, what the proofs say of facts and machines."""
        lookups = example.witness.lookups
        here = [suspect for suspect in self._known if f.holds_in(suspect.formula, lookups)]
        found: list[Cause] = []
        for suspect in here:
            rules = dict(suspect.rules)
            new = rules.get("new")
            if len(rules) == 2 and new is not None and rules["old"].span.text == new.span.text and new.arm is not None:
                experiment = self.new.program.experiments[new.arm[0]]
                text = f"experiment `{experiment.name}`: its key, share, salt or arms"
                found.append(Cause("experiment", experiment.name, text, str(experiment.span), "new"))
                continue
            if new is not None and rules.get("old", new).span == new.span:
                rules = {"new": new}  # the rule is the same, what it meets is not
            found += [Cause(rule.kind, rule.name, rule.span.text, str(rule.span), side) for side, rule in rules.items()]
        facts = [suspect.kernels or frozenset() for suspect in here if not suspect.rules]
        single = [name for kernels in facts for name in kernels]
        found += [cause for name in single for cause in self._only(name)]
        if facts and not found:
            found += causes(example.old.kernel, example.old, example.new, self.new.program, example.old.arms)
        return list(dict.fromkeys(found))

    def _only(self, kernel: str) -> Iterator[Cause]:
        """A kernel that one side alone declares."""
        old, new = self.old.program.kernels, self.new.program.kernels
        if kernel not in new:
            yield Cause("kernel", kernel, f"`{kernel}` is declared here alone", str(old[kernel].span), "old")
        elif kernel not in old:
            yield Cause("kernel", kernel, f"`{kernel}` is declared here alone", str(new[kernel].span), "new")

    def _condition(self, region: Region) -> tuple[str | None, bool]:
        try:
            found = readable(region, BOXES)
        except TooComplexError:
            return None, False
        return found.text, found.exact

    def _readable(self, formula: Formula) -> str | None:
        return self._condition(Region(self.pair.space, formula))[0]


def _outcomes(known: Outcome | None, seen: Iterator[Proof]) -> tuple[Outcome, ...]:
    if known is not None:
        return (known,)
    return tuple(outcome for outcome, _ in Counter(map(outcome_of, seen)).most_common())


def _equal(pair: Pair, name: str, value: Value) -> Formula:
    type = pair.space.types[name]
    return f.literal(FieldDimension(name, type), ValueSet(matching(type.kind, "==", value)))


def _size(formula: Formula) -> int:
    return 1 if isinstance(formula, f.Literal) else 1 + sum(map(_size, formula.parts))


def _volume(pair: Pair, box: dict[Dimension, ValueSet]) -> float:
    """How much of the declared contexts a box takes, as if each dimension stood alone: an order of size, no share."""
    share = 1.0
    for dimension, values in box.items():
        here, whole = _count(values), _count(pair.space.domain(dimension))
        share *= min(1.0, here / whole) if whole else 1.0
    return share


_MANY = 1e4  # values of a kind that is not counted


def _count(values: ValueSet) -> float:
    size = values.known.size
    known = (0.0 if values.known.empty else _MANY) if size is None else float(size)
    return known + values.absent + values.broken

"""A decision and a kernel that it did not choose -> the smallest changes that make it win, each decided again.

Three kinds are tried alone and then together: other values of the context, other versions of packages, and a policy
without (or, last, with) a rule. Only what the interpreter confirms is handed out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from math import log2

from packaging.version import Version

from layerzero.analysis.fixed import like_it, near
from layerzero.analysis.model import Model
from layerzero.analysis.settle import loses, settle
from layerzero.check.expressions import Value, fields_of
from layerzero.check.program import Layer, PackageChoice, Program, Rule, Scope, Target
from layerzero.regions import formula as f
from layerzero.regions.explore import Piece, explore
from layerzero.regions.formula import Formula
from layerzero.regions.region import Region, Witness
from layerzero.regions.search import some_version
from layerzero.regions.terms import FieldDimension, LikeDimension, SignDimension, TermDimension, basis
from layerzero.regions.translate import TooComplexError
from layerzero.regions.versions import accepted
from layerzero.semantics.context import complete
from layerzero.semantics.decision_json import json_value
from layerzero.semantics.environment import Environment
from layerzero.semantics.evaluate import Lookups
from layerzero.semantics.experiments import enrol
from layerzero.semantics.explanation import Branch, number, spell
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof
from layerzero.syntax.source import Source, Span

MOST = 3  # answers of one kind
MOST_RULES = 20
FIELDS = 8  # that are tried together
STEPS = 1_500
PIECES = 40
SECONDS = 20.0  # of this thread's processor time, so that a busy machine answers the same


@dataclass(frozen=True, slots=True)
class ContextEdit:
    """`head_dim` 128 instead of 80; `after` is None where the field is left out."""

    field: str
    before: Value | None
    after: Value | None

    @property
    def text(self) -> str:
        if self.after is None:
            return f"{self.field} left out instead of {spell(self.before)}"
        return f"{self.field} = {spell(self.after)} instead of {spell(self.before)}"


@dataclass(frozen=True, slots=True)
class PackageEdit:
    """`flash-attn >=2.6, <3`, for example `tried`; `before` is None where it is not installed or not given."""

    package: str
    wanted: str
    before: str | None
    tried: str

    @property
    def text(self) -> str:
        had = "not installed" if self.before is None else f"{self.before} is there"
        return f"package {self.package} {self.wanted or 'installed'} ({had}; {self.tried} would do)".replace("  ", " ")


@dataclass(frozen=True, slots=True)
class RuleEdit:
    """A policy without a rule (`added` false), or with one."""

    rule: Rule
    text: str
    added: bool = False


Edit = ContextEdit | PackageEdit | RuleEdit


@dataclass(frozen=True, slots=True)
class Remedy:
    """Edits that together, and no fewer of them, make the kernel win."""

    edits: tuple[Edit, ...]

    @property
    def text(self) -> str:
        return "; and ".join(edit.text for edit in self.edits)


@dataclass(frozen=True)
class Question:
    """One decided call, and the kernel that somebody wanted."""

    program: Program
    environment: Environment
    scope: Scope
    given: Mapping[str, Value]
    kernel: str

    def proof(self) -> Proof:
        return decide(self.program, self.environment, self.scope, self.given, enrol(self.program, self.given))

    def wins(self) -> bool:
        return self.proof().kernel == self.kernel


def remedies(question: Question, seconds: float = SECONDS) -> list[Remedy]:
    """The smallest changes first; none where the kernel is chosen, or where no change was found in the time."""
    end = time.thread_time() + seconds
    if question.wins():
        return []
    found = [*_context(question, end), *_packages(question), *_rules(question)]
    if not found:
        found = list(_together(question, end))
    return found


def _together(question: Question, end: float) -> Iterator[Remedy]:
    """Other packages first, then without rules, then the context of what is left."""
    with_packages, packages = _repaired(question)
    for start, edits in ((with_packages, packages), (question, ())):
        without, rules = _freed(start, thorough=True)
        for middle, more in ((start, ()), (without, rules)):
            if (edits or more) and middle.wins():
                yield Remedy(_needed(question, (*edits, *more)))
                return
            if edits or more:
                for remedy in _context(middle, end):
                    yield Remedy(_needed(question, (*edits, *more, *remedy.edits)))
                    return
        if edits or rules:
            for remedy in _added(without):
                yield Remedy(_needed(question, (*edits, *rules, *remedy.edits)))
                return


def applied(question: Question, edits: Sequence[Edit]) -> Question:
    """The question after the edits."""
    for edit in edits:
        match edit:
            case ContextEdit(field=field, after=after):
                given = {name: value for name, value in question.given.items() if name != field}
                question = replace(question, given=given if after is None else {**given, field: after})
            case PackageEdit(package=package, tried=tried):
                question = replace(question, environment=_with_package(question, package, tried))
            case RuleEdit(rule=rule, added=True):
                program = replace(question.program, rules=(*question.program.rules, rule))
                question = replace(question, program=program)
            case RuleEdit(rule=rule):
                rules = tuple(one for one in question.program.rules if one is not rule)
                question = replace(question, program=replace(question.program, rules=rules))
    return question


def _with_package(question: Question, package: str, version: str) -> Environment:
    """The machine with a version of a package, which imports; so a kernel that has an adapter can be called."""
    before = question.environment
    absent = dict(before.no_adapter)
    if question.program.kernels[question.kernel].adapter is not None:
        absent.pop(question.kernel, None)
    return replace(
        before,
        packages={**before.packages, package: version},
        broken={name: why for name, why in before.broken.items() if name != package},
        no_adapter=absent,
    )


def _needed(question: Question, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """Without the edits that are not needed beside the others."""
    for edit in edits:
        fewer = tuple(one for one in edits if one is not edit)
        if fewer and applied(question, fewer).wins():
            edits = fewer
    return edits


# ---------------------------------------------------------------- packages


def _packages(question: Question) -> Iterator[Remedy]:
    repaired, edits = _repaired(question)
    if edits and repaired.wins():
        yield Remedy(_needed(question, edits))


def _repaired(question: Question) -> tuple[Question, tuple[Edit, ...]]:
    """With every package of the kernel at a version that its lines accept."""
    edits: list[Edit] = []
    kernel = question.program.kernels[question.kernel]
    reasons = {reason.at for reason in question.proof().verdicts[question.kernel].reasons if reason.kind == "package"}
    for line in kernel.packages:
        if str(line.span) not in reasons:
            continue
        given = question.environment.packages
        choice = next((one for one in line.alternatives if one.name in given), line.alternatives[0])
        tried = _version(choice)
        if tried is not None:
            wanted = ", ".join(choice.specifiers)
            edits.append(PackageEdit(choice.name, wanted, given.get(choice.name), tried))
    return applied(question, edits), tuple(edits)


def _version(choice: PackageChoice) -> str | None:
    try:
        known = accepted(choice.specifiers)
    except TooComplexError:
        return None
    version: Version | None = some_version(known) if known.spans else None  # type: ignore[arg-type, union-attr]
    return None if version is None else str(version)


# ---------------------------------------------------------------- policy


def _rules(question: Question) -> Iterator[Remedy]:
    """Without the rules in the way, or with one more; the fewest edits first."""
    without, edits = _freed(question)
    found = list(_added(question))
    if edits and without.wins():
        found.append(Remedy(_needed(question, edits)))
    elif not found:
        found += [Remedy(_needed(question, (*edits, *remedy.edits))) for remedy in _added(without)]
    yield from sorted(found, key=lambda remedy: len(remedy.edits))


def _freed(question: Question, thorough: bool = False) -> tuple[Question, tuple[Edit, ...]]:
    """Without the rules that keep the kernel out, stage by stage, until it wins or no rule is the reason.

    Args:
        thorough: begin with all that speak against it, for a kernel that cannot run yet is not asked about further.
    """
    edits: list[Edit] = []
    current, rules = question, _against(question) if thorough else []
    while len(edits) < MOST_RULES:
        rules = rules or ([] if current.wins() else _in_the_way(current, current.proof()))
        if not rules:
            break
        edits += [RuleEdit(rule, _without(rule)) for rule in rules]
        current, rules = applied(question, edits), []
    return current, tuple(edits)


def _against(question: Question) -> list[Rule]:
    found = [one for one in question.proof().rules if one.applied]
    own = [one.rule for one in found if question.kernel in one.kernels and one.rule.kind in ("quarantine", "deny")]
    others = [one.rule for one in found if question.kernel not in one.kernels and one.rule.kind in ("lock", "allow")]
    return own + others


def _in_the_way(question: Question, proof: Proof) -> list[Rule]:
    """The rules that removed the kernel, or that put another before it."""
    verdict = proof.verdicts[question.kernel]
    names = {reason.rule for reason in verdict.reasons if reason.rule is not None}
    if names:
        return [one.rule for one in proof.rules if one.rule.name in names and one.applied]
    if verdict.reasons or proof.kernel is None:
        return []
    ordered = [one.rule for one in proof.rules if one.rule.name in proof.ordered_by and one.rule.kind == "order"]
    if ordered and verdict.position != proof.verdicts[proof.kernel].position:
        return ordered
    winner = [one.rule for one in proof.rules if one.applied and one.rule.kind == "boost" and one.rule.factor > 1
              and proof.kernel in one.kernels and question.kernel not in one.kernels]  # fmt: skip
    loser = [one.rule for one in proof.rules if one.applied and one.rule.kind == "boost" and one.rule.factor < 1
             and question.kernel in one.kernels and proof.kernel not in one.kernels]  # fmt: skip
    return [*winner, *loser]


_DOES = {
    "quarantine": "quarantines it",
    "lock": "locks others",
    "allow": "allows others alone",
    "deny": "denies it",
    "boost": "moves the scores",
    "order": "puts another first",
}


def _without(rule: Rule) -> str:
    named = f", `{rule.name}`" if rule.named else ""
    return f"without {rule.span.label}{named}, which {_DOES[rule.kind]}"


def _added(question: Question) -> Iterator[Remedy]:
    """A boost that is just enough, where the kernel is a candidate that merely lost."""
    proof = question.proof()
    verdict = proof.verdicts.get(question.kernel)
    if verdict is None or verdict.stage != "outranked" or not verdict.score or proof.kernel is None:
        return
    winner = proof.verdicts[proof.kernel]
    for digits in (1, 2, 3):
        step = 10**-digits
        factor = round(int((winner.score or 0.0) / verdict.score / step) * step + step, digits)
        text = f"boost {question.kernel} by {number(factor)} for {question.scope}"
        rule = _boost(question, factor, text)
        edit = RuleEdit(rule, f"with a rule more: {text}", added=True)
        if applied(question, [edit]).wins():
            yield Remedy((edit,))
            return


def _boost(question: Question, factor: float, text: str) -> Rule:
    target = Target(question.kernel, frozenset({question.kernel}))
    span = Span(Source("<added>", text), 0, len(text))
    return Rule(
        kind="boost",
        name="added",
        named=False,
        layer=Layer.POLICY,
        targets=(target,),
        scopes=(question.scope,),
        condition=None,
        priority=0,
        otherwise="fail",
        factor=factor,
        because=None,
        owner=None,
        until=None,
        arm=None,
        span=span,
    )


# ---------------------------------------------------------------- context


def _context(question: Question, end: float) -> Iterator[Remedy]:
    """The fewest fields whose values make it win; of one set of fields the nearest values."""
    try:
        model = _model(question)
        names = _fields(question, model)
    except TooComplexError:
        return
    for count in (1, 2, 3):
        found: list[tuple[float, Remedy]] = []
        for free in combinations(names[:FIELDS] if count > 1 else names, count):
            if time.thread_time() > end:
                break
            remedy = _moved(question, model, free, end)
            if remedy is not None:
                machine = sum(name in _machine(question.program) for name in free)
                found.append((_distance(remedy) + 10 * machine, remedy))
        if found:
            found.sort(key=lambda one: (one[0], one[1].text))
            yield from (remedy for _, remedy in found[:MOST])
            return


def _model(question: Question) -> Model:
    """The model of the machine; kernels that cannot be called there are barred as by a breaker."""
    environment = question.environment
    barred = {**environment.no_adapter, **environment.open_breakers} if not environment.offline else (
        environment.open_breakers)  # fmt: skip
    offline = replace(environment, call_kernels=False, open_breakers=barred)
    return Model(question.program, question.program.operations[question.scope.operation], offline)


def _fields(question: Question, model: Model) -> list[str]:
    """The fields that the reasons against the kernel hang on, the given ones first: one of them has to change."""
    completed = complete(question.program, question.scope, question.given)
    lookups = Lookups(completed.values, {}, enrol(question.program, question.given))
    witness = Witness(model.operation.name, question.given, lookups)
    pins = loses(model, witness, _proof(model, question.scope, witness), question.kernel)
    reasons: list[Formula] = list(pins)
    if question.kernel in model.kernels:
        reasons += [need for need in model.needs(question.kernel) if not f.holds_in(need, lookups)]
        reasons += [bar for _, bar in model.barring(question.kernel) if f.holds_in(bar, lookups)]
    found: dict[str, None] = {}
    for part in reversed(reasons):
        for dimension in f.dimensions(part):
            plain = basis(dimension) if isinstance(dimension, TermDimension | SignDimension | LikeDimension) else (
                dimension,)  # fmt: skip
            found.update((one.name, None) for one in plain if isinstance(one, FieldDimension))
    waiting = [name for name in found if name not in question.given]
    while waiting:  # a default follows the fields that it reads
        default = question.program.fields[waiting.pop()].default
        more = [name for name in sorted(fields_of(default)) if name not in found] if default is not None else []
        found.update((name, None) for name in more)
        waiting += [name for name in more if name not in question.given]
    return sorted(found, key=lambda name: name not in question.given)


def _proof(model: Model, scope: Scope, witness: Witness) -> Proof:
    return decide(model.program, model.supposed(witness), Scope(scope.operation), witness.lookups.fields,
                  witness.lookups.arms)  # fmt: skip


def _moved(question: Question, model: Model, free: tuple[str, ...], end: float) -> Remedy | None:
    """The nearest values of some fields with which the kernel wins."""
    line = like_it(model, question.scope, question.given, free)

    def look(witness: Witness) -> tuple[bool, Sequence[Formula]]:
        proof = _proof(model, question.scope, witness)
        if proof.kernel != question.kernel:
            return False, loses(model, witness, proof, question.kernel)
        return True, settle(model, witness, proof).within

    stop: Callable[[], bool] = lambda: time.thread_time() > end  # noqa: E731
    pieces: list[Piece[bool]] = []
    with suppress(TooComplexError):  # what was found by then stays true
        pieces.extend(piece for piece in explore(model.space, line, look, stop, STEPS, PIECES) if piece.answer)
    best: tuple[float, Remedy] | None = None
    for piece in pieces[:4]:
        witness = _nearest(question, model, f.all_of([line, piece.formula]), free) or piece.witness
        edits = _edits(question, witness, free)
        if edits and applied(question, edits).wins():
            remedy = Remedy(_needed(question, edits))
            distance = _distance(remedy)
            if best is None or distance < best[0]:
                best = (distance, remedy)
    return None if best is None else best[1]


def _machine(program: Program) -> frozenset[str]:
    """The fields that devices give: nobody changes them for a kernel's sake while other fields may do."""
    return frozenset(name for bundle in program.devices.values() for name in bundle.values)


def _edits(question: Question, witness: Witness, free: tuple[str, ...]) -> tuple[Edit, ...]:
    completed = complete(question.program, question.scope, question.given).values
    edits: list[Edit] = []
    for name in free:
        before, after = completed.get(name), witness.lookups.fields.get(name)
        if before != after or type(before) is not type(after):
            edits.append(ContextEdit(name, before, after))
    return tuple(edits)


def _nearest(question: Question, model: Model, region: Formula, free: tuple[str, ...]) -> Witness | None:
    """A context of the region whose numbers are as near as may be to those of the call."""
    completed = complete(question.program, question.scope, question.given).values
    found: Witness | None = None
    for name in free:
        dimension = FieldDimension(name, model.space.types[name])
        low, high = 0, 1
        while high < 1 << 41 and (windowed := near(dimension, completed.get(name), high)) is not None:
            here = Region(model.space, f.all_of([region, f.literal(dimension, windowed)])).find()
            if isinstance(here, Witness):
                found = here
                break
            low, high = high, high * 2
        if found is None:
            continue
        while high - low > 1 and dimension.type.kind == "int":
            middle = (low + high) // 2
            window = near(dimension, completed.get(name), middle)
            assert window is not None
            here = Region(model.space, f.all_of([region, f.literal(dimension, window)])).find()
            if isinstance(here, Witness):
                found, high = here, middle
            else:
                low = middle
        window = near(dimension, completed.get(name), high)
        if window is not None:
            region = f.all_of([region, f.literal(dimension, window)])
    return found


def _distance(remedy: Remedy) -> float:
    """How far the values move: numbers by their ratio, anything else by one step."""
    total = 0.0
    for edit in remedy.edits:
        if isinstance(edit, ContextEdit):
            numbers = [value for value in (edit.before, edit.after) if isinstance(value, int | float)
                       and not isinstance(value, bool)]  # fmt: skip
            if len(numbers) == 2:
                low, high = sorted(abs(float(value)) + 1 for value in numbers)
                total += 0.3 * min(log2(high / low), 30.0)
            else:
                total += 1.0 if edit.before is not None else 2.0
    return total


# ---------------------------------------------------------------- as a tree and as JSON


def answer_tree(reasons: Branch, proof: Proof, kernel: str, found: Sequence[Remedy]) -> Branch:
    """The reasons against a kernel, and below them what would make it win."""
    if proof.kernel == kernel:
        return reasons
    lines = tuple(Branch(remedy.text, tone="good") for remedy in found)
    title = "it would be chosen with any one of these" if len(lines) > 1 else "it would be chosen with this"
    last = Branch(title, lines) if lines else Branch("no small change that makes it win was found", tone="quiet")
    return replace(reasons, children=(*reasons.children, last))


def remedy_json(remedy: Remedy) -> dict[str, object]:
    return {"text": remedy.text, "edits": [_edit_json(edit) for edit in remedy.edits]}


def _edit_json(edit: Edit) -> dict[str, object]:
    def shown(value: Value | None) -> object:
        return None if value is None else json_value(value)

    match edit:
        case ContextEdit():
            return {"kind": "context", "field": edit.field, "before": shown(edit.before), "after": shown(edit.after)}
        case PackageEdit():
            return {"kind": "package", "package": edit.package, "wanted": edit.wanted, "before": edit.before,
                    "tried": edit.tried}  # fmt: skip
        case RuleEdit():
            return {"kind": "rule", "added": edit.added, "rule": edit.rule.name, "text": edit.rule.span.text,
                    "at": None if edit.added else str(edit.rule.span)}  # fmt: skip

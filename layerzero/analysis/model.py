"""One operation of a program -> what decides there, each as the formula of the contexts in which it is so.

The formulas say what the interpreter says of a question, where nothing is called and so no adapter is wanted: a
package that is not given is assumed at an accepted version, or with `assume_packages` off is not there. Whether a
kernel's packages are there at all can be a dimension of its own (`available`), so that a proof holds on machines that
lack some.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from itertools import combinations, pairwise, product

from packaging.version import Version

from layerzero.analysis.feasible import needs
from layerzero.analysis.reach import Reach, reach
from layerzero.check.expressions import Expression, InstalledVersion, Not, Or, walk
from layerzero.check.program import Kernel, Operation, PackageLine, Program, Requirement, Rule, Scope
from layerzero.regions import formula as f
from layerzero.regions.formula import All, Any, Formula, Literal
from layerzero.regions.overlap import overlapping
from layerzero.regions.region import Witness
from layerzero.regions.sets import Ordered, Position, ValueSet, matching
from layerzero.regions.space import Space
from layerzero.regions.terms import LikeDimension, PackageDimension, SignDimension, TermDimension, basis, full
from layerzero.regions.translate import TooComplexError, Truths
from layerzero.regions.versions import accepted
from layerzero.semantics.environment import Environment
from layerzero.semantics.feasibility import accepts
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof

MAX_VERSIONS = 200
_AVAILABLE = "available: "


@dataclass(frozen=True)
class Model:
    """What decides in one operation on one machine.

        model = Model(program, program.operations["attention"], Environment(assume_packages=True, today=today))

    `machine` is the region of the contexts that the environment allows; ask within it. With `ranging` kernels'
    packages may be missing, with `free_arms` every arm may be met with every value of its key.
    """

    program: Program
    operation: Operation
    environment: Environment
    ranging: bool = False
    free_arms: bool = False
    space: Space = field(init=False)
    _reaches: dict[int, Reach | None] = field(default_factory=dict)
    _needs: dict[str, tuple[Formula, ...]] = field(default_factory=dict)
    _parts: dict[tuple[int, str], Formula] = field(default_factory=dict)
    _by_kind: dict[str, list[Reach]] = field(default_factory=dict)
    _barring: dict[str, list[tuple[Rule, Formula]]] = field(default_factory=dict)
    _negations: dict[int, tuple[Formula, Formula]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.environment.offline:
            raise ValueError("a model is of decisions offline: `assume_packages`, or `call_kernels` off")
        object.__setattr__(self, "space", Space(self.program, self.operation, self.free_arms))

    @property
    def today(self) -> date:
        return self.environment.today

    # ------------------------------------------------------------ rules

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Those in force that may concern the operation, in the order of the text."""
        own = (rule for rule in self.program.rules if rule.concerns(self.operation.name))
        valid = (rule for rule in own if rule.until is None or rule.until > self.today)
        return tuple(sorted(valid, key=lambda rule: (rule.span.source.name, rule.span.start)))

    def reach(self, rule: Rule) -> Reach | None:
        """Where a rule applies and to which kernels; None where it says nothing here. Raises TooComplexError."""
        key = id(rule)
        if key not in self._reaches:
            found = reach(self.space, rule)
            if found is not None and rule.kind == "quarantine" and self._excusing([rule.condition]):
                found = self._assuming(found)
            self._reaches[key] = None if found is None or found.formula == f.FALSE else found
        return self._reaches[key]

    def reaches(self, kind: str, without: Rule | None = None) -> list[Reach]:
        if kind not in self._by_kind:
            found = (self.reach(rule) for rule in self.rules if rule.kind == kind)
            self._by_kind[kind] = [one for one in found if one is not None]
        known = self._by_kind[kind]
        return known if without is None else [one for one in known if one.rule is not without]

    def near(self, rule: Rule) -> Model:
        """The same with those rules alone that may apply where this one does: for questions within its reach.

        What is asked of a policy with a thousand rules then hangs on the few that meet, not on all of them.
        """
        self.packages_read  # noqa: B018 - of all rules: a version that a distant rule reads may be given as well
        found = copy(self)
        rules = tuple(other for other in self.rules if id(other) in self._meeting[id(rule)])
        found.__dict__.update(rules=rules, program=replace(self.program, rules=rules))
        return found

    @cached_property
    def _meeting(self) -> dict[int, set[int]]:
        """For each rule those whose boxes overlap with its own, itself among them."""
        formulas = [self._outline(rule) for rule in self.rules]
        found = {id(rule): {id(rule)} for rule in self.rules}
        for one, other in overlapping(formulas, [None] * len(formulas)):
            found[id(self.rules[one])].add(id(self.rules[other]))
            found[id(self.rules[other])].add(id(self.rules[one]))
        return found

    def _outline(self, rule: Rule) -> Formula:
        try:
            found = self.reach(rule)
        except TooComplexError:
            return f.TRUE
        return f.FALSE if found is None else found.formula

    def part(self, one: Reach, kernel: str) -> Formula:
        """Where a rule applies to one kernel; the same object each time."""
        key = (id(one), kernel)
        if key not in self._parts:
            self._parts[key] = one.of(kernel)
        return self._parts[key]

    def _assuming(self, quarantine: Reach) -> Reach:
        """A quarantine does not apply where only the version of an assumed package leaves its condition unknown."""
        rule = quarantine.rule
        inside = self.space.within(rule.scopes, Truths.KNOWN) if rule.scopes else f.TRUE
        groups = []
        for kernels, formula in quarantine.groups:
            attributes = self.program.kernels[min(kernels)].attributes if kernels else {}
            excused = f.all_of([inside, self._only_by_package(rule.condition, attributes)])
            groups.append((kernels, f.all_of([formula, f.negation(excused)])))
        return Reach(rule, self.space, tuple(groups))

    # ------------------------------------------------------------ kernels

    @cached_property
    def kernels(self) -> dict[str, Kernel]:
        return {kernel.id: kernel for kernel in self.program.kernels_for(self.operation.name)}

    def needs(self, kernel: str) -> tuple[Formula, ...]:
        """What must hold for a kernel to run, quarantines aside. Raises TooComplexError."""
        if kernel not in self._needs:
            own = self.kernels[kernel]
            plain = tuple(r for r in own.requirements if not self._excusing((r.condition, r.when)))
            found = [bar.met for bar in needs(self.space, replace(own, requirements=plain))]
            found += [self._requirement(own, r) for r in own.requirements if r not in plain]
            found += [self._line(line) for line in own.packages]
            if self.ranging and own.packages:
                found.append(self.available(own))
            if kernel in self.environment.open_breakers:
                found.append(f.FALSE)
            self._needs[kernel] = tuple(part for part in found if part != f.TRUE)
        return self._needs[kernel]

    def barring(self, kernel: str, without: Rule | None = None) -> list[tuple[Rule, Formula]]:
        """The quarantines that may apply to a kernel, and where."""
        if kernel not in self._barring:
            found = ((one.rule, self.part(one, kernel)) for one in self.reaches("quarantine"))
            self._barring[kernel] = [(rule, formula) for rule, formula in found if formula != f.FALSE]
        known = self._barring[kernel]
        return known if without is None else [one for one in known if one[0] is not without]

    def feasible(self, kernel: str, without: Rule | None = None) -> Formula:
        barred = [self.negation(formula) for _, formula in self.barring(kernel, without)]
        return f.all_of([*self.needs(kernel), *barred])

    def negation(self, formula: Formula) -> Formula:
        found = self._negations.get(id(formula))
        if found is None:
            found = self._negations[id(formula)] = (formula, f.negation(formula))
        return found[1]

    # ------------------------------------------------------------ packages

    @cached_property
    def machine(self) -> Formula:
        """Where the packages are those of the environment."""
        given = self.environment.packages
        parts = [
            f.literal(PackageDimension(name), ValueSet(matching("version", "==", Version(given[name]))))
            for name in sorted(self.packages_read & given.keys())
        ]
        if not self.environment.assume_packages:
            parts += [_not_given(PackageDimension(name)) for name in sorted(self.packages_read - given.keys())]
        return f.all_of(parts)

    def _excusing(self, conditions: Iterable[Expression | None]) -> bool:
        """Whether a condition may be unknown only because of a package that is assumed."""
        return self.environment.assume_packages and bool(packages_of(conditions))

    @cached_property
    def packages_read(self) -> frozenset[str]:
        """The packages whose versions conditions ask for: of the others none changes what a condition says."""
        found: list[Expression | None] = [rule.condition for rule in self.rules]
        found += [*self.operation.views.values(), *self.operation.features.values()]
        for kernel in self.kernels.values():
            found += [part for r in kernel.requirements for part in (r.condition, r.when)]
            found += [support.when for support in kernel.supports]
        return packages_of(found)

    def available(self, kernel: Kernel) -> Formula:
        """Whether the packages of a kernel are installed, as a dimension that kernels with the same lines share."""
        written = "; ".join(sorted(" | ".join(f"{c.name}{','.join(c.specifiers)}" for c in line.alternatives)
                                   for line in kernel.packages))  # fmt: skip
        return _given(PackageDimension(_AVAILABLE + written))

    def _line(self, line: PackageLine) -> Formula:
        """The first alternative that is given must be at an accepted version; where none is, one may be assumed."""
        options: list[Formula] = []
        missing: list[Formula] = []
        given, broken = self.environment.packages, self.environment.broken
        for choice in line.alternatives:
            if choice.name in broken or choice.name in given:
                good = choice.name not in broken and accepts(choice, given[choice.name])
                return f.any_of([*options, *([f.all_of(missing)] if good else [])])
            if choice.name not in self.packages_read or not self.environment.assume_packages:
                continue
            dimension = PackageDimension(choice.name)
            fits = f.literal(dimension, ValueSet(accepted(choice.specifiers)))
            options.append(f.all_of([*missing, fits]))
            missing.append(_not_given(dimension))
        return f.any_of([*options, *([f.all_of(missing)] if self.environment.assume_packages else [])])

    def _requirement(self, kernel: Kernel, requirement: Requirement) -> Formula:
        whole: Expression = requirement.condition
        if requirement.when is not None:
            premise = Not(requirement.when, span=requirement.when.span)
            whole = Or((premise, requirement.condition), span=requirement.span)
        true = self.space.where(whole, Truths.TRUE, kernel.attributes)
        return f.any_of([true, self._only_by_package(whole, kernel.attributes)])

    def _only_by_package(self, condition: Expression | None, attributes: object) -> Formula:
        """Where a condition is unknown, and known whatever the versions of the packages that are not given."""
        names = sorted(packages_of([condition]))
        unknown = self.space.where(condition, Truths.UNKNOWN, attributes)  # type: ignore[arg-type]
        found: list[Formula] = []
        for count in range(1, len(names) + 1):
            for absent in combinations(names, count):
                here = [(_not_given if name in absent else _given)(PackageDimension(name)) for name in names]
                ever = [_fixed(unknown, dict(zip(absent, versions, strict=True)))
                        for versions in product(*(_atoms(unknown, name) for name in absent))]  # fmt: skip
                found.append(f.all_of([*here, unknown, f.negation(f.any_of(ever))]))
        return f.any_of(found)

    # ------------------------------------------------------------ the interpreter

    def supposed(self, witness: Witness) -> Environment:
        """The machine of a witness: the environment with the packages that it supposes."""
        given = {name: text for name, text in witness.packages.items() if not name.startswith(_AVAILABLE)}
        barred = dict(self.environment.open_breakers)
        if self.ranging:
            for kernel in self.kernels.values():
                if kernel.packages and not f.holds_in(self.available(kernel), witness.lookups):
                    barred[kernel.id] = "its packages are not installed"  # a breaker bars one kernel alone, as wanted
        return replace(self.environment, packages={**self.environment.packages, **given}, open_breakers=barred)

    def decided(self, witness: Witness, program: Program | None = None) -> Proof:
        scope = Scope(self.operation.name)
        asked = self.program if program is None else program
        return decide(asked, self.supposed(witness), scope, witness.given, witness.lookups.arms)


def packages_of(expressions: Iterable[Expression | None]) -> frozenset[str]:
    """The packages whose versions these conditions read."""
    parts = (part for one in expressions if one is not None for part in walk(one))
    return frozenset(part.package for part in parts if isinstance(part, InstalledVersion))


def _given(dimension: PackageDimension) -> Formula:
    return f.literal(dimension, full(dimension).only_known())


def _not_given(dimension: PackageDimension) -> Formula:
    return f.literal(dimension, full(dimension).only_markers())


def _literals(formula: Formula) -> Iterator[Literal]:
    if isinstance(formula, Literal):
        yield formula
    else:
        for part in formula.parts:
            yield from _literals(part)


def _atoms(formula: Formula, package: str) -> list[ValueSet]:
    """The versions of a package, as spans none of which the formula divides."""
    cuts: set[Position] = set()
    for one in _literals(formula):
        if one.dimension == PackageDimension(package) and isinstance(one.values.known, Ordered):
            cuts.update(end for span in one.values.known.spans for end in span)
    everything = full(PackageDimension(package)).known
    assert isinstance(everything, Ordered)
    bottom, top = everything.spans[0]
    ends = sorted(cuts | {bottom, top})
    if len(ends) > MAX_VERSIONS:
        raise TooComplexError(f"`{package}` is compared with more than {MAX_VERSIONS} versions")
    return [ValueSet(Ordered("version", (span,))) for span in pairwise(ends)]


def _fixed(formula: Formula, versions: dict[str, ValueSet]) -> Formula:
    """A formula with the versions of some packages settled."""
    match formula:
        case Literal(dimension=PackageDimension(package=package), values=values) if package in versions:
            return f.TRUE if versions[package] <= values else f.FALSE
        case Literal(dimension=TermDimension() | SignDimension() | LikeDimension() as dimension):
            if any(isinstance(part, PackageDimension) and part.package in versions for part in basis(dimension)):
                raise TooComplexError("a condition compares a package's version with something else than a constant")
            return formula
        case Literal():
            return formula
        case All(parts=parts):
            return f.all_of(_fixed(part, versions) for part in parts)
        case Any(parts=parts):
            return f.any_of(_fixed(part, versions) for part in parts)

"""One kernel and a call -> everything that bars it, safety first and preference never; empty where it may run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion

from layerzero.check.expressions import Expression, FieldValue, Not, Or, Value
from layerzero.check.program import Kernel, Operation, PackageChoice, PackageLine, Program, Requirement, Support
from layerzero.semantics.applicability import Application, reason
from layerzero.semantics.assumptions import assumed_packages, unknown_only_by_package
from layerzero.semantics.call import Call
from layerzero.semantics.evaluate import Lookups, holds, missing, smallest_failure, spell_package, values_read
from layerzero.semantics.proof import Reason
from layerzero.semantics.values import UNKNOWN, disjunction


@dataclass(frozen=True, slots=True)
class Feasibility:
    """`reasons` bar the kernel; `assumed` is what had to be taken for granted about packages."""

    reasons: tuple[Reason, ...]
    assumed: tuple[str, ...]


def feasibility(call: Call, kernel: Kernel, quarantines: Iterable[Application]) -> Feasibility:
    own = own_feasibility(call, kernel)
    reasons, assumed = list(own.reasons), list(own.assumed)
    for quarantine in quarantines:
        if quarantine.applies and kernel.id in quarantine.kernels:
            reasons.append(reason("quarantine", call, quarantine.rule, kernel.id))
        assumed.extend(quarantine.assumed.get(kernel.id, ()))
    return Feasibility(tuple(reasons), tuple(dict.fromkeys(assumed)))


def own_feasibility(call: Call, kernel: Kernel) -> Feasibility:
    """All but the quarantines."""
    return call.recall(
        (kernel.id, call.operation.name, call.features),
        lambda: read_by_kernel(call.program, call.operation, kernel, call.features),
        lambda: _found(call, kernel),
    )


def read_by_kernel(
    program: Program, operation: Operation, kernel: Kernel, features: Iterable[str]
) -> Iterator[list[Expression]]:
    """What a kernel's own feasibility looks at, the breakers' device included; what is evaluated as one in one list."""
    for requirement in kernel.requirements:
        yield _parts(requirement)
    yield from ([support.when] for support in kernel.supports if support.when is not None)
    yield from ([operation.views[view]] for view in kernel.views(operation.name))
    yield from ([operation.features[feature]] for feature in features)
    if "device" in program.fields:
        device = program.fields["device"]
        yield [FieldValue("device", device.type, span=device.span)]


def _parts(requirement: Requirement) -> list[Expression]:
    return [requirement.condition] if requirement.when is None else [requirement.condition, requirement.when]


def _found(call: Call, kernel: Kernel) -> Feasibility:
    reasons: list[Reason] = []
    assumed: list[str] = []
    reasons.extend(_views(call, kernel))
    for requirement in kernel.requirements:
        _ask(_requirement(call, kernel, requirement), reasons, assumed)
    for feature in call.features:
        reasons.extend(_feature(call, kernel, feature))
    for line in kernel.packages:
        _ask(_package(call, line), reasons, assumed)
    reasons.extend(_adapter(call, kernel))
    reasons.extend(_breaker(call, kernel))
    return Feasibility(tuple(reasons), tuple(assumed))


def _ask(answer: Reason | tuple[str, ...], reasons: list[Reason], assumed: list[str]) -> None:
    if isinstance(answer, Reason):
        reasons.append(answer)
    else:
        assumed.extend(answer)


# ---------------------------------------------------------------- what the kernel requires


def _views(call: Call, kernel: Kernel) -> list[Reason]:
    """A kernel for views of the operation needs at least one of them to hold."""
    views = kernel.views(call.operation.name)
    if not views or disjunction([call.views[view] for view in views]) is True:
        return []
    return [_failed(call.operation.views[view], call.lookups, None) for view in views]


def _requirement(call: Call, kernel: Kernel, requirement: Requirement) -> Reason | tuple[str, ...]:
    return call.recall(
        (id(requirement), kernel.id), lambda: [_parts(requirement)], lambda: _required(call, kernel, requirement)
    )


def _required(call: Call, kernel: Kernel, requirement: Requirement) -> Reason | tuple[str, ...]:
    """`require E when C` is `not C or E`: a reason where that is not true, else the packages assumed for it."""
    lookups, required = call.about(kernel.id), requirement.condition
    whole: Expression = required
    if requirement.when is not None:
        premise = Not(requirement.when, span=requirement.when.span)
        whole = Or((premise, required), span=requirement.span)
    truth = holds(whole, lookups)
    if truth is True:
        return ()
    offline = call.environment.assume_packages
    if truth is UNKNOWN and offline and unknown_only_by_package(whole, lookups):
        return tuple(spell_package(name) for name in assumed_packages(whole, lookups))
    premise_missing = () if requirement.when is None else missing(requirement.when, lookups)
    return _failed(required, lookups, requirement.because, premise_missing, excuse_packages=offline)


def _failed(
    condition: Expression,
    lookups: Lookups,
    because: str | None,
    absent: tuple[str, ...] = (),
    feature: str | None = None,
    excuse_packages: bool = False,
) -> Reason:
    failure = smallest_failure(condition, lookups, excuse=unknown_only_by_package if excuse_packages else None)
    return Reason(
        "requirement" if feature is None else "feature",
        failure.span.text,
        values_read(failure, lookups),
        str(failure.span),
        because,
        feature=feature,
        missing=tuple(dict.fromkeys((*absent, *missing(failure, lookups)))),
    )


def _feature(call: Call, kernel: Kernel, feature: str) -> list[Reason]:
    lines = [support for support in kernel.supports if support.feature == feature]
    read = [[call.operation.features[feature]], *([line.when] for line in lines if line.when is not None)]
    return call.recall(
        (kernel.id, call.operation.name, feature), lambda: read, lambda: _served(call, kernel, feature, lines)
    )


def _served(call: Call, kernel: Kernel, feature: str, lines: Sequence[Support]) -> list[Reason]:
    """The world is closed: what a kernel does not declare, it does not support."""
    lookups = call.about(kernel.id)
    if any(holds(line.when, lookups) is True for line in lines):
        return []
    if not lines:
        demand = call.operation.features[feature]
        got, absent = values_read(demand, call.lookups), missing(demand, call.lookups)
        return [Reason("feature", feature, got, str(kernel.span), feature=feature, missing=absent)]
    return [_failed(line.when, lookups, None, feature=feature) for line in lines if line.when is not None]


# ---------------------------------------------------------------- what the machine has


def _package(call: Call, line: PackageLine) -> Reason | tuple[str, ...]:
    return call.recall(id(line), lambda: (), lambda: _present(call, line))


def _present(call: Call, line: PackageLine) -> Reason | tuple[str, ...]:
    """The first alternative that is installed must import and be at an accepted version; offline none need be given."""
    broken = call.broken
    texts = _alternatives(line)
    for choice, text in zip(line.alternatives, texts, strict=True):
        if choice.name not in call.installed and choice.name not in broken:
            continue
        installed = call.installed.get(choice.name)
        got: dict[str, Value | None] = {choice.name: installed}
        if choice.name in broken:
            return Reason("package", text, got, str(line.span), because=broken[choice.name])
        if installed is not None and accepts(choice, installed):
            return ()
        return Reason("package", text, got, str(line.span))
    written = " | ".join(texts)
    if call.environment.assume_packages:
        return (f"package {written}",)
    return Reason("package", written, {choice.name: None for choice in line.alternatives}, str(line.span))


def _alternatives(line: PackageLine) -> list[str]:
    """Each alternative as written; composed anew where a comment stands between them."""
    written = line.span.text.removeprefix("package").split("|")
    if len(written) == len(line.alternatives) and not any("#" in text for text in written):
        return [text.strip() for text in written]
    return [f"{choice.name} {', '.join(choice.specifiers)}".strip() for choice in line.alternatives]


def accepts(choice: PackageChoice, installed: str) -> bool:
    """PEP 440's specifier rules. What is installed is no stranger, so a pre-release counts like any version."""
    try:
        return _specifiers(choice.specifiers).contains(installed, prereleases=True)
    except InvalidVersion:
        return False


@lru_cache(maxsize=1024)
def _specifiers(written: tuple[str, ...]) -> SpecifierSet:
    return SpecifierSet(",".join(written))


def _adapter(call: Call, kernel: Kernel) -> list[Reason]:
    """Without something to call, a kernel takes part in offline decisions only."""
    because = call.environment.no_adapter.get(kernel.id)
    if call.environment.offline or (because is None and kernel.adapter is not None):
        return []
    text = "adapter" if kernel.adapter is None else f'adapter "{kernel.adapter}"'
    return [Reason("package", text, {}, str(kernel.span), because=because or "the kernel has no adapter")]


def _breaker(call: Call, kernel: Kernel) -> list[Reason]:
    opened = call.environment.breaker(kernel.id, call.values.get("device"))
    return [] if opened is None else [Reason("breaker", "circuit breaker closed", {}, str(kernel.span), because=opened)]

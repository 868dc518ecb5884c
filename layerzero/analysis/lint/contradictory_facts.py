"""LZ606: the facts of a kernel contradict each other.

**What it does.** Asks of each kernel whether its `require` lines, with those of its backend, can hold together in some
call; whether each `supports` line can count in one; and whether some version fulfils each `package` line.

**Why.** A kernel that can never run, or a feature that its own requirements exclude, is a slip: a copied line, a wrong
sign. The kernel silently takes no part.

**Avoid**

    backend acme { require device == cuda }
    kernel acme.decode for attention { require device == cpu }

**Prefer** facts that were read where the kernel is, with a `source`

    kernel acme.decode for attention { require sm >= 90  source "acme/decode.cu @ 1.4.2" }
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from layerzero.analysis.feasible import required
from layerzero.analysis.lint.subject import Subject
from layerzero.check.program import Kernel, PackageChoice, Program
from layerzero.regions import formula as f
from layerzero.regions.region import Nowhere, Region
from layerzero.regions.space import Space
from layerzero.regions.translate import TooComplexError, Truths
from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.source import Span


def check(subject: Subject) -> Iterator[Diagnostic]:
    spaces = {name: Space(subject.program, operation) for name, operation in subject.program.operations.items()}
    for kernel in subject.kernels():
        served = [spaces[name] for name in spaces if kernel.serves(name)]
        try:
            possible = [space for space in served if _possible(space, kernel)]
            if served and not possible:
                yield _never_runs(served[0], kernel)
            elif possible:
                yield from _empty_supports(possible, kernel, subject.program)
        except TooComplexError:
            continue  # advice: where a kernel is too complex to decide, there is none
        yield from _versions(kernel)


def _possible(space: Space, kernel: Kernel) -> bool:
    return not _nowhere(space, [bar.met for bar in required(space, kernel)])


def _nowhere(space: Space, parts: list[f.Formula]) -> bool:
    return isinstance(Region(space, f.all_of(parts)).find(), Nowhere)


def _never_runs(space: Space, kernel: Kernel) -> Diagnostic:
    """Name the fewest requirements that cannot hold together."""
    bars = list(required(space, kernel))
    for count in (1, 2):
        for some in combinations(bars, count):
            if _nowhere(space, [bar.met for bar in some]):
                *others, last = some
                labels = tuple(Label(bar.span, "and this") for bar in others if bar.span.source is last.span.source)
                texts = " and ".join(bar.text for bar in some)
                return _finding(kernel, f"`{kernel.id}` can never run: it {texts}", last.span, labels)
    return _finding(kernel, f"`{kernel.id}` can never run: no call fulfils all that it requires", kernel.span, ())


def _finding(kernel: Kernel, message: str, span: Span, labels: tuple[Label, ...]) -> Diagnostic:
    where = "" if span == kernel.span else f"; the kernel is at {kernel.span}"
    return Diagnostic("LZ606", message, span, "no call fulfils this", f"read the source again{where}", labels)


def _empty_supports(spaces: list[Space], kernel: Kernel, program: Program) -> Iterator[Diagnostic]:
    """`supports window` beside `require window == 0`: no call that the kernel may serve demands it."""
    for line in kernel.supports:
        asked = [space for space in spaces if line.feature in program.operations[space.operation.name].features]
        if asked and all(_nowhere(space, _demanding(space, kernel, line.feature)) for space in asked):
            message = f"`{kernel.id}` supports `{line.feature}`, and what it requires excludes every call with it"
            yield _finding(kernel, message, line.span, ())


def _demanding(space: Space, kernel: Kernel, feature: str) -> list[f.Formula]:
    demanded = space.where(space.operation.features[feature], Truths.NOT_FALSE)
    lines = [line for line in kernel.supports if line.feature == feature]
    supported = f.any_of(space.where(line.when, Truths.TRUE, kernel.attributes) for line in lines)
    return [demanded, supported, *(bar.met for bar in required(space, kernel))]


def _versions(kernel: Kernel) -> Iterator[Diagnostic]:
    for line in kernel.packages:
        if not any(_some_version(choice) for choice in line.alternatives):
            yield _finding(kernel, f"`{kernel.id}` can never run: no version is {line.span.text}", line.span, ())


def _some_version(choice: PackageChoice) -> bool:
    """Whether some version near those that a line names fulfils it; so near, every set of versions has a member."""
    if any(text.startswith("===") or "*" in text for text in choice.specifiers):
        return True  # nothing is claimed of patterns
    wanted = SpecifierSet(",".join(choice.specifiers))
    near = [Version("0.dev0"), Version("999999")]
    for text in choice.specifiers:
        release = Version(text.lstrip("=!<>~ ")).release
        last = (*release[:-1], release[-1] + 1)
        near += [Version(text.lstrip("=!<>~ ")), Version(".".join(map(str, last)))]
        near += [Version(".".join(map(str, (*release, 1))))]
        if release[-1]:
            below = ".".join(map(str, (*release[:-1], release[-1] - 1)))
            near += [Version(below), Version(f"{below}.999999")]
    return not choice.specifiers or any(wanted.contains(version, prereleases=True) for version in near)

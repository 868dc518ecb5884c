"""Program -> its kernels and whether this machine can run them, told from metadata and drivers: nothing is imported.

`lz doctor` asks more, by importing what is installed; this answers in milliseconds, also where there is no torch.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from layerzero.backends.probe import installed_version
from layerzero.check.expressions import Expression, Value, fields_of
from layerzero.check.names import matches_glob
from layerzero.check.program import Kernel, PackageLine, Program, Scope
from layerzero.dispatch.inspection import KernelInfo
from layerzero.errors import ContextError, UnknownNameError
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.context import conjuncts, read_scope
from layerzero.semantics.evaluate import Lookups, holds
from layerzero.semantics.feasibility import accepts
from layerzero.syntax.suggest import did_you_mean


def installed_packages(program: Program) -> dict[str, str]:
    """Name -> version of what the program names and this Python has; no package is imported."""
    found = {name: installed_version(name) for name in Vocabulary.of(program).all_packages}
    return {name: version for name, version in sorted(found.items()) if version is not None}


def device_kinds() -> tuple[str, ...]:
    """The kinds of devices that drivers tell of, the CPU first."""
    kinds = ["cpu"]
    if Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi"):
        kinds.append("cuda")
    if Path("/dev/kfd").exists():
        kinds.append("hip")
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        kinds.append("mps")
    return tuple(kinds)


def catalog(
    program: Program, pattern: str | None, packages: Mapping[str, str], devices: Sequence[Mapping[str, Value]]
) -> list[KernelInfo]:
    """The kernels that a pattern names, by id.

    Args:
        pattern: A kernel's id, backend or glob (`flash_attn`, `*.rms_norm`), or an operation or view
            (`attention.decode`, `attention.*`); None is all.
        packages: What counts as installed.
        devices: What is known of each device here, as `{"device": "cpu"}`.

    Raises:
        UnknownNameError: Nothing has that name.
    """
    return [_info(kernel, packages, devices) for kernel in _matching(program, pattern)]


def _matching(program: Program, pattern: str | None) -> list[Kernel]:
    kernels = [kernel for _, kernel in sorted(program.kernels.items())]
    if pattern is None:
        return kernels
    scope = _scope(program, pattern)
    if scope is not None:
        return [kernel for kernel in kernels if _serves(kernel, scope)]
    written = program.aliases.kernels.get(pattern, pattern)
    found = [kernel for kernel in kernels if kernel.backend == written or matches_glob(written, kernel.id)]
    if not found:
        backends = {kernel.backend for kernel in kernels}
        hint = did_you_mean(pattern, [*program.kernels, *backends, *program.operations])
        raise UnknownNameError(f"no kernel, backend or operation matches `{pattern}`{f'; {hint}' if hint else ''}")
    return found


def _scope(program: Program, pattern: str) -> Scope | None:
    """`attention.*` names what `attention` does; a glob over kernels names no operation."""
    try:
        return read_scope(program, pattern.removesuffix(".*"))
    except ContextError:
        return None


def _serves(kernel: Kernel, scope: Scope) -> bool:
    own = [one for one in kernel.scopes if one.operation == scope.operation]
    return any(scope.view is None or one.view in (None, scope.view) for one in own)


def _info(kernel: Kernel, packages: Mapping[str, str], devices: Sequence[Mapping[str, Value]]) -> KernelInfo:
    return KernelInfo(
        id=kernel.id,
        operations=tuple(str(scope) for scope in kernel.scopes),
        doc=kernel.doc,
        priority=kernel.priority,
        features=tuple(dict.fromkeys(support.feature for support in kernel.supports)),
        sources=kernel.sources,
        declared_at=str(kernel.span),
        unavailable=tuple(unavailable(kernel, packages, devices)),
    )


# ---------------------------------------------------------------- what keeps a kernel from running here


def unavailable(kernel: Kernel, packages: Mapping[str, str], devices: Sequence[Mapping[str, Value]]) -> Iterator[str]:
    """Each thing that this machine lacks for a kernel."""
    for line in kernel.packages:
        problem = package_problem(packages, line)
        if problem is not None:
            yield problem
    device = _device_problem(kernel, devices)
    if device is not None:
        yield device
    if kernel.adapter is None:
        yield "no adapter: its facts serve offline decisions"
    elif not _package_exists(kernel.adapter.partition(":")[0]):
        yield f"there is no package for its adapter `{kernel.adapter}`"


def package_problem(packages: Mapping[str, str], line: PackageLine) -> str | None:
    """Why a `package` line does not hold, if it does not: `flash-attn is not installed, wanted >=2.6,<3`."""
    for choice in line.alternatives:
        installed = packages.get(choice.name)
        if installed is not None:
            wanted = ",".join(choice.specifiers)
            return None if accepts(choice, installed) else f"{choice.name} {installed} is installed, wanted {wanted}"
    named = " or ".join(f"{choice.name} {','.join(choice.specifiers)}".strip() for choice in line.alternatives)
    return f"{named} is not installed"


def _device_problem(kernel: Kernel, devices: Sequence[Mapping[str, Value]]) -> str | None:
    """The requirement that no device here fulfils, of those that read only what is known of the devices."""
    barred: list[str] = []
    for device in devices:
        problem = _wanted_of(kernel, device)
        if problem is None:
            return None
        barred.append(problem)
    here = ", ".join(" ".join(str(value) for value in device.values()) for device in devices)
    return f"wants `{barred[0]}`, here: {here}" if barred else None


def _wanted_of(kernel: Kernel, device: Mapping[str, Value]) -> str | None:
    lookups = Lookups(device, attributes=kernel.attributes)
    for requirement in kernel.requirements:
        if requirement.when is not None and not _is_true(requirement.when, device, lookups):
            continue
        for part in conjuncts(requirement.condition):
            if fields_of(part) and fields_of(part) <= device.keys() and holds(part, lookups) is False:
                return part.span.text
    return None


def _is_true(condition: Expression, device: Mapping[str, Value], lookups: Lookups) -> bool:
    return fields_of(condition) <= device.keys() and holds(condition, lookups) is True


def _package_exists(module: str) -> bool:
    """Whether there is the package that an adapter lives in; looking further would import it."""
    try:
        return find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False

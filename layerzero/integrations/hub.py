"""Kernels of the Hugging Face hub -> kernels that policies choose, by the package `kernels`.

    from layerzero.integrations import hub

    def silu(module, x):
        out = torch.empty_like(x)
        module.silu(out, x)
        return out

    hub.register("kernels-community/activation", silu, catalog=Path("activation.lzp").read_text(), version=1)

A hub kernel is a module of functions with signatures of its own, and states no facts: the function above calls it as
the operation is called, and the catalog says what it can take. Nothing is looked for on the network unless
`download=True` says so: a kernel lies in a folder, or in the hub's cache from an earlier download.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from pathlib import Path
from types import ModuleType
from typing import Any

from layerzero import api as lz
from layerzero.errors import ArgumentError, MissingDependencyError

try:
    from kernels import get_kernel, get_local_kernel
    from kernels._rust import KernelDependency, KernelVersion
    from kernels._versions import revision_or_version
    from kernels.hf_hub import _get_hf_api
    from kernels.load import get_kernel_with_resolver
    from kernels.resolver import HubCacheResolver, RepoPathsResolver, SequentialResolver
    from kernels.validate import AllValidator, ArchValidator, default_metadata_validators
except ImportError as error:
    if (error.name or "").partition(".")[0] != "kernels":
        raise
    raise MissingDependencyError(
        f"kernels of the hub need the extra `hub`: pip install 'layerzero[hub]' ({error})"
    ) from error


def load(
    repository: str | Path,
    *,
    version: int | None = None,
    revision: str | None = None,
    download: bool = False,
    trust: bool = False,
) -> ModuleType:
    """The module of a kernel, in its build for this torch and machine.

    Args:
        repository: A folder with its builds, or the id of one on the hub: "kernels-community/activation".
        version: Of a repository on the hub: its major version.
        revision: In place of a version: a branch, tag or commit.
        download: Look on the hub; otherwise the folder or the hub's cache has it, or it is an error.
        trust: With a download, also take publishers that the hub does not list as trusted: their code will run here.

    Raises:
        FileNotFoundError: There is no such kernel, or no build of it for this machine; the message lists the builds.
    """
    local = isinstance(repository, Path)
    if local and (version is not None or revision is not None):
        raise ArgumentError("`version` and `revision` are of repositories on the hub, not of a folder")
    if not local and (version is None) == (revision is None):
        raise ArgumentError("a repository on the hub needs a `version` or a `revision`, one of them")
    if download:
        found: ModuleType = (
            get_local_kernel(repository, trust_remote_code=trust)  # what it depends on is downloaded
            if isinstance(repository, Path)
            else get_kernel(repository, version=version, revision=revision, trust_remote_code=trust)
        )
        return found
    wanted = KernelVersion.Version(0) if local else revision_or_version(revision=revision, version=version)
    folders = RepoPathsResolver({str(repository): repository} if isinstance(repository, Path) else {})
    try:
        found = get_kernel_with_resolver(
            api=_get_hf_api(),
            backend=None,
            kernel=KernelDependency(repo_id=str(repository), version=wanted),
            resolver=SequentialResolver([folders, HubCacheResolver(trust_remote_code=trust)]),
            metadata_validator=AllValidator([*default_metadata_validators(), ArchValidator()]),
        )
    except FileNotFoundError as error:
        error.add_note("nothing was looked for on the hub: `download=True` does")
        raise
    return found


def register(repository: str | Path, function: Callable[..., Any], catalog: str, **where: Any) -> str:
    """Load a kernel and let it take part in decisions, as `lz.register_kernel` does for a function.

    Args:
        repository: See `load`, as for `where`.
        function: Called with the kernel's module, and then as the operation is called.
        catalog: The text of a catalog with one kernel, its facts; `package` lines are not needed.
        where: `version`, `revision`, `download` and `trust`, as `load` takes them.

    Returns:
        The id of the kernel.

    Raises:
        FileNotFoundError: As `load`.
        PolicyError: The catalog has errors, or does not declare one kernel.
    """
    if not callable(function):
        raise ArgumentError(f"argument `function`: wanted a function, given {function!r}")
    bound = partial(function, load(repository, **where))
    return lz.register_kernel(update_wrapper(bound, function), catalog=catalog)

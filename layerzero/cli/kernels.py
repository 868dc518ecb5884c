"""List the kernels that are known: priority, operations, and whether this machine can run them, or what it lacks.

PATTERN is a kernel, backend or glob (`flash_attn`, `*.rms_norm`), or an operation or view (`attention.decode`).
Availability is read from metadata and drivers; `lz doctor` also imports the packages."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from layerzero.cli.output import counted, print_json, style
from layerzero.cli.programs import add_json, add_program_options, program, split_paths

if TYPE_CHECKING:
    from layerzero.dispatch.inspection import KernelInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="*",
        metavar="PATH|PATTERN",
        help="a policy whose kernels count too; which ones (default: all)",
    )
    add_json(parser)
    add_program_options(parser)


def run(args: argparse.Namespace) -> int:
    from layerzero.dispatch.availability import catalog, device_kinds, installed_packages

    paths, pattern = split_paths(args.words, "PATTERN")
    loaded = program(args, paths)
    devices = [{"device": kind} for kind in device_kinds()] if "device" in loaded.fields else []
    found = catalog(loaded, pattern, installed_packages(loaded), devices)
    if args.json:
        print_json({"kernels": [_plain(kernel) for kernel in found]})
    else:
        _print(found)
    return 0


def _print(kernels: list[KernelInfo]) -> None:
    paint = style()
    width = max((len(kernel.id) for kernel in kernels), default=0)
    for kernel in kernels:
        state = (
            paint.good("available") if kernel.available else paint.quiet(f"not here: {'; '.join(kernel.unavailable)}")
        )
        print(f"{kernel.id:<{width}}  {kernel.priority:>4}  {', '.join(kernel.operations)}  {state}")
        details = [kernel.doc, *kernel.sources]
        if any(details):
            print(f"{'':<{width}}        {paint.quiet('; '.join(detail for detail in details if detail))}")
    here = sum(kernel.available for kernel in kernels)
    print(f"{counted(len(kernels), 'kernel')}, {here} available on this machine")


def _plain(kernel: KernelInfo) -> dict[str, object]:
    return {
        "id": kernel.id,
        "operations": list(kernel.operations),
        "priority": kernel.priority,
        "doc": kernel.doc,
        "features": list(kernel.features),
        "sources": list(kernel.sources),
        "declared_at": kernel.declared_at,
        "available": kernel.available,
        "unavailable": list(kernel.unavailable),
    }

"""Look at this machine: Python, torch, devices, a C++ compiler, the cache, the policy, the packages of kernels.

Installed packages are imported, which is how broken ones are found. A machine without a GPU is healthy; exit code 1
where something that is there does not work."""

from __future__ import annotations

import argparse

from layerzero.cli.output import print_json, style
from layerzero.cli.programs import SHIPPED, add_json, add_paths, add_program_options, checked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    add_json(parser)
    add_program_options(parser)


def run(args: argparse.Namespace) -> int:
    from layerzero.backends.machine import ThisMachine
    from layerzero.dispatch.doctor import examine
    from layerzero.operations.device import present_devices

    found = examine(ThisMachine(present_devices), checked(args, args.paths), ", ".join(args.paths) or SHIPPED)
    if args.json:
        print_json(found.to_dict())
    else:
        paint = style()
        shades = {"note": paint.quiet, "problem": paint.bad}
        *_, verdict = str(found).splitlines()
        for item in found.items:
            print(shades[item.state](str(item)) if item.state in shades else item)
        print(f"\n{paint.good(verdict) if found.healthy else paint.bad(verdict)}")
    return int(not found.healthy)

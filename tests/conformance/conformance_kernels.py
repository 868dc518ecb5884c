"""Which kernels there are, and which calls each accepts: the shipped catalogs, read as a decision reads them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from layerzero.backends.probe import installed_version, load_adapter
from layerzero.check import program_from_text
from layerzero.check.program import Kernel, Program
from layerzero.operations.call import Call
from layerzero.semantics.call import Call as Completed
from layerzero.semantics.context import complete, read_context
from layerzero.semantics.environment import Environment
from layerzero.semantics.feasibility import feasibility

H200 = {"device": "cuda", "device_name": "NVIDIA H200", "sm": 90}


@functools.cache
def program() -> Program:
    """The shipped prelude and catalogs under a policy without rules."""
    return program_from_text('policy "conformance" version 1')


@functools.cache
def environment() -> Environment:
    """This machine: a kernel whose packages are not here is accepted for no call, and so not run."""
    named = {
        choice.name for kernel in program().kernels.values() for line in kernel.packages for choice in line.alternatives
    }
    return Environment(packages={name: version for name in named if (version := installed_version(name)) is not None})


def kernels(operation: str) -> list[str]:
    """The kernels of an operation that have an adapter and whose packages are installed."""
    here = environment().packages
    return [
        kernel.id
        for kernel in program().kernels_for(operation)
        if kernel.adapter is not None
        and all(any(choice.name in here for choice in line.alternatives) for line in kernel.packages)
    ]


def refusals(kernel: str, operation: str, context: Mapping[str, Any]) -> list[str]:
    """Why the facts refuse the call; nothing, where they accept it."""
    scope, given = read_context(program(), {"operation": operation, **context})
    values = complete(program(), scope, given).values
    call = Completed(program(), environment(), program().operations[operation], values, {})
    return [reason.text for reason in feasibility(call, _kernel(kernel), ()).reasons]


def serves(kernel: str, call: Call) -> bool:
    """Whether the facts accept the call on this machine."""
    return not refusals(kernel, call.operation, call.context)


def serves_on(kernel: str, call: Call, device: str) -> bool:
    """Whether they accept the call, read from tensors on the CPU, on a device that need not be here."""
    return serves(kernel, replace(call, context=call.context | (H200 if device == "cuda" else {})))


def run(kernel: str, call: Call) -> Any:
    """What the kernel's adapter answers."""
    adapter = load_adapter(_kernel(kernel).adapter or "")
    assert not isinstance(adapter, str), adapter
    return adapter(*call.args, **call.kwargs)


def _kernel(kernel: str) -> Kernel:
    return program().kernels[kernel]

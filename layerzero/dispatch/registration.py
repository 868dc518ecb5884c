"""`lz.register_kernel`: a function of the program's own becomes a kernel, with facts like any other."""

from __future__ import annotations

from dataclasses import replace

from layerzero.backends.machine import Adapter, ThisMachine
from layerzero.errors import ArgumentError, PolicyError
from layerzero.runtime.building import Material
from layerzero.runtime.engine import Engine
from layerzero.syntax import nodes
from layerzero.syntax.source import Source
from layerzero.syntax.trees import parse_cached


def register(engine: Engine, machine: ThisMachine, function: Adapter, catalog: str) -> str:
    """Declare the kernel and publish it; returns its id.

    Raises:
        ArgumentError: It is no function.
        PolicyError: The text has errors, or does not declare exactly one kernel.
    """
    if not callable(function):
        raise ArgumentError(f"argument `function`: wanted a function, given {function!r}")
    source = Source(f"<kernel {getattr(function, '__name__', 'registered')}>", catalog)
    file, _ = parse_cached(source)
    kernels = [] if file is None else [one.name.text for one in file.statements if isinstance(one, nodes.Kernel)]
    if file is not None and len(kernels) != 1:
        raise PolicyError(f"the catalog of a registered kernel declares one kernel, this one declares {len(kernels)}")

    def add(material: Material) -> Material:
        registered = material.registered | set(kernels)
        return replace(material, catalogs=(*material.catalogs, source), registered=registered)

    known = kernels and kernels[0] in machine.registered
    machine.registered.update({kernels[0]: function} if kernels and not known else {})
    try:
        engine.change_material(add)
    except PolicyError:
        if kernels and not known:
            del machine.registered[kernels[0]]
        raise
    return kernels[0]

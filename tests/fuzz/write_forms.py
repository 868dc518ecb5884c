"""Writes the arrays of the shipped policy's operations to a folder, for the fuzz target of the native matcher.

python tests/fuzz/write_forms.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from layerzero import Policy
from layerzero.compiler import compile_program
from layerzero.compiler.compile import LIMITS
from layerzero.compiler.flatten import Flat, flatten

CPU = {"device": "cpu", "device_name": None, "sm": None}


def forms() -> Iterator[tuple[str, Flat]]:
    """Trees and bits of every operation."""
    policy = Policy.from_text('policy "p"')
    for kind, limits in (("tree", LIMITS), ("bits", (0, 0))):
        form = compile_program(policy.program, policy.environment, CPU, limits)
        for name, operation in form.operations.items():
            yield f"{name}.{kind}", flatten(operation)


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, flat in forms():
        (folder / name).write_bytes(flat.words)


if __name__ == "__main__":
    main()

"""```claims: how the `test` blocks of the policy in ```lzp (without prelude) come out, offline."""

import json
from collections.abc import Mapping, Sequence

from layerzero.check import program_from_text
from layerzero.semantics.claims import run_tests
from layerzero.semantics.environment import Environment


def run(inputs: Mapping[str, str], arguments: Sequence[str]) -> str:
    program = program_from_text(inputs["lzp"], prelude=False, name="policy.lzp")
    lines = []
    for result in run_tests(program, Environment(assume_packages=True)):
        lines.append(f"{result.test.name}: {result.verdict}")
        for broken in result.broken:
            lines += [f"  {broken.message}", f"  {json.dumps(broken.situation.context)}"]
    return "\n".join(lines)

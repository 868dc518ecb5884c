"""```decisions: for each line of ```jsonl, what the policy in ```lzp (without prelude) decides, offline, and why not
the others. `2027-03-01` sets the day, `installed` asks only for packages that are given, `lib==1.5` gives one,
`experiment.arm` enrols."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from layerzero.check import program_from_text
from layerzero.errors import ContextError
from layerzero.semantics.context import read_context
from layerzero.semantics.environment import Environment
from layerzero.semantics.explanation import headline, number, reason_line
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof


def run(inputs: Mapping[str, str], arguments: Sequence[str]) -> str:
    program = program_from_text(inputs["lzp"], prelude=False, name="policy.lzp")
    environment, arms = _surroundings(arguments)
    shown = []
    for line in inputs["jsonl"].splitlines():
        try:
            scope, values = read_context(program, json.loads(line))
        except ContextError as problem:
            shown.append(f"{line}\n  error: {problem}")
            continue
        shown.append(f"{line}\n{_shown(decide(program, environment, scope, values, arms))}")
    return "\n".join(shown)


def _surroundings(arguments: Sequence[str]) -> tuple[Environment, dict[str, str]]:
    environment, arms = Environment(assume_packages=True), {}
    for word in arguments:
        name, equal, version = word.partition("==")
        if equal:
            environment = replace(environment, packages={**environment.packages, name: version})
        elif word == "installed":
            environment = replace(environment, assume_packages=False)
        elif word[0].isdigit():
            environment = replace(environment, today=date.fromisoformat(word))
        else:
            experiment, _, arm = word.partition(".")
            arms[experiment] = arm
    return environment, arms


def _shown(proof: Proof) -> str:
    lines = [f"  {headline(proof)}"]
    lines += [f"  locked by {name}" for name in proof.locked_by]
    lines += [f"  ordered by {name}" for name in proof.ordered_by]
    for kernel, verdict in sorted(proof.verdicts.items()):
        if kernel in proof.rejected:
            reasons = [f"{reason_line(reason)}, at {reason.at}" for reason in verdict.reasons]
            lines += [f"    {kernel}: {reason}" for reason in reasons]
        elif verdict.stage == "outranked":
            lines.append(f"    {kernel}: outranked, score {number(verdict.score)}")
    lines += [f"  assumed: {text}" for text in proof.assumed]
    lines += [f"  note: {note}" for note in proof.notes]
    return "\n".join(lines)

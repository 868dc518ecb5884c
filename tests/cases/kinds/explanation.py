"""```explanation: the provenance tree of the decision on the context in ```json, by the policy in ```lzp (without
prelude), offline; a kernel's id asks for its branch alone. The policy's digest is left out: it changes with the text.
"""

import json
import re
from collections.abc import Mapping, Sequence

from layerzero.check import program_from_text
from layerzero.semantics.context import read_context
from layerzero.semantics.environment import Environment
from layerzero.semantics.explain_text import explain_text
from layerzero.semantics.interpret import decide


def run(inputs: Mapping[str, str], arguments: Sequence[str]) -> str:
    program = program_from_text(inputs["lzp"], prelude=False, name="policy.lzp")
    scope, values = read_context(program, json.loads(inputs["json"]))
    proof = decide(program, Environment(assume_packages=True), scope, values)
    text = explain_text(program, proof, arguments[0] if arguments else None)
    return re.sub(r", digest \w+", "", text)

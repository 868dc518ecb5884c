"""```findings: what the analyses find in the program of ```lzp on 2026-06-01, as `lz check` prints it.

The prelude is left out. With the argument `fast`, as `lz check --fast`; with `errors`, those alone. `nothing`
where there is no finding; open questions are printed last.
"""

from collections.abc import Mapping, Sequence
from datetime import date

from layerzero.analysis import study
from layerzero.check import program_from_text
from layerzero.syntax.render import render

TODAY = date(2026, 6, 1)


def run(inputs: Mapping[str, str], arguments: Sequence[str]) -> str:
    program = program_from_text(inputs["lzp"], prelude=False, name="policy.lzp")
    found = study(program, TODAY, fast="fast" in arguments)
    doubts = [f"not decided: {doubt.check}: {doubt.subject}: {doubt.reason}" for doubt in found.doubts]
    findings = [one for one in found.findings if one.severity == "error" or "errors" not in arguments]
    return "\n".join(filter(None, [render(findings), *doubts])) or "nothing"

"""```errors: what the parser finds in the text of ```lzp, as `lz check` prints it; `nothing` where it is sound."""

from collections.abc import Mapping, Sequence

from layerzero.syntax.parser import parse
from layerzero.syntax.render import render
from layerzero.syntax.source import Source


def run(inputs: Mapping[str, str], arguments: Sequence[str]) -> str:
    _, found = parse(Source("policy.lzp", inputs["lzp"]))
    return render(found) or "nothing"

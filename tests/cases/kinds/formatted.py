"""```formatted: the canonical text of ```lzp; it must be its own canonical text."""

from collections.abc import Mapping, Sequence

from layerzero.syntax.formatter import format_source
from layerzero.syntax.source import Source


def run(inputs: Mapping[str, str], arguments: Sequence[str]) -> str:
    text = format_source(Source("policy.lzp", inputs["lzp"]))
    assert isinstance(text, str), text
    assert format_source(Source("policy.lzp", text)) == text, "not idempotent"
    return text

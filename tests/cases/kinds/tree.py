"""```tree: the nodes of ```lzp, one statement to a paragraph, without places."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from layerzero.syntax.nodes import Node
from layerzero.syntax.parser import parse
from layerzero.syntax.source import Source


def run(inputs: Mapping[str, str], arguments: Sequence[str]) -> str:
    file, found = parse(Source("policy.lzp", inputs["lzp"]))
    assert file is not None and not found, found
    return "\n".join(_shown(statement) for statement in file.statements)


def _shown(value: object) -> str:
    if isinstance(value, Node):
        names = [field.name for field in fields(value) if field.name not in ("span", "spelling")]
        parts = [f"{name}={_shown(getattr(value, name))}" for name in names if getattr(value, name) not in (None, ())]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, tuple):
        return f"[{', '.join(_shown(item) for item in value)}]"
    return repr(value)

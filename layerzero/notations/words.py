"""What a notation has to know of a program's words: which fields are enums, and the names of operations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from layerzero.syntax import nodes


@dataclass(frozen=True)
class Words:
    """`Words({"dtype": "enum", "batch_size": "int"}, ("attention", "norm.rms"))`; aliases included."""

    kinds: dict[str, str] = field(default_factory=dict)
    operations: tuple[str, ...] = ()

    @classmethod
    def of(cls, files: Iterable[nodes.File]) -> Words:
        """The words that the other files of the program declare."""
        kinds: dict[str, str] = {}
        operations: list[str] = []
        aliases: dict[str, str] = {}
        for file in files:
            for statement in file.statements:
                match statement:
                    case nodes.Field():
                        kinds[statement.name.text] = statement.type.kind
                    case nodes.Operation():
                        operations.append(statement.name.text)
                    case nodes.Alias():
                        aliases[statement.name.text] = statement.target.text
                    case _:
                        pass
        for alias, target in aliases.items():
            end = _end(target, aliases)
            if end in kinds:
                kinds.setdefault(alias, kinds[end])
            if end in operations or end.rpartition(".")[0] in operations:
                operations.append(alias)
        return cls(kinds, tuple(operations))


def _end(name: str, aliases: dict[str, str]) -> str:
    """The end of a chain of aliases; a circle is the checker's to report."""
    seen = {name}
    while name in aliases and aliases[name] not in seen:
        name = aliases[name]
        seen.add(name)
    return name

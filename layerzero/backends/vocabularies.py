"""What the kernels of text are given: the files of a tokenizer."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Protocol


class Vocabulary(Protocol):
    """See operations.tokenizers.TokenizerFiles; equal ones load the same tokenizer."""

    @property
    def id(self) -> str: ...

    @property
    def path(self) -> Path: ...

    @property
    def pattern(self) -> str: ...

    @property
    def special_tokens(self) -> tuple[tuple[str, int], ...]: ...

    def __hash__(self) -> int: ...


def ranks_of(path: Path) -> dict[bytes, int]:
    """`IQ== 0` a line -> `{b"!": 0}`"""
    lines = (line.split() for line in path.read_bytes().splitlines() if line.strip())
    return {base64.b64decode(token): int(rank) for token, rank in lines}

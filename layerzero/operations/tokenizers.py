"""The id of a tokenizer -> its local files. Nothing is ever fetched: an unknown id says where it was looked for."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerzero.errors import ArgumentError
from layerzero.syntax.suggest import did_you_mean

FOLDERS = "LAYERZERO_TOKENIZERS"  # folders of tokenizers, as in PATH
KINDS = {"tokenizer.json": "hf", "tokenizer.model": "sentencepiece", "spiece.model": "sentencepiece"}
# A .json may also be what belongs to a .tiktoken of the same name, so that is looked for first.
SUFFIXES = {".tiktoken": "tiktoken", ".json": "hf", ".model": "sentencepiece"}


@dataclass(frozen=True)
class TokenizerFiles:
    """`TokenizerFiles("gpt2", "hf", Path("/models/gpt2/tokenizer.json"), ...)`: equal ones load the same tokenizer.

    Attributes:
        kind: hf (tokenizer.json), sentencepiece (a .model), or tiktoken (a .tiktoken of ranks).
        pattern: Of tiktoken: the regular expression that cuts a text into words.
        special_tokens: Of tiktoken: text -> id.
        changed: When the file was last written: a newer one is loaded anew.
    """

    id: str
    kind: str
    path: Path
    pattern: str = ""
    special_tokens: tuple[tuple[str, int], ...] = ()
    changed: int = 0


_registered: dict[str, TokenizerFiles] = {}
_changing = threading.Lock()


def register(
    tokenizer_id: str,
    path: str | Path,
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | None = None,
) -> TokenizerFiles:
    """See `lz.register_tokenizer`."""
    check_id(tokenizer_id)
    found = _read(tokenizer_id, Path(path), pattern, special_tokens)
    with _changing:
        _registered[tokenizer_id] = found
    return found


def files_of(tokenizer_id: str) -> TokenizerFiles:
    """The files that an id names: registered, a path, or a name in a folder of LAYERZERO_TOKENIZERS.

    Raises:
        ArgumentError: Nothing is found, or what is found is no tokenizer.
    """
    check_id(tokenizer_id)
    if tokenizer_id in _registered:
        return _registered[tokenizer_id]
    folders = [Path(one) for one in os.environ.get(FOLDERS, "").split(os.pathsep) if one]
    places = [Path(tokenizer_id), *(folder / name for folder in folders for name in _names(tokenizer_id))]
    for place in places:
        if place.exists():
            return _read(tokenizer_id, place, None, None)
    known = sorted(_registered)
    hint = did_you_mean(tokenizer_id, known)
    sought = [
        f"among the registered ({', '.join(known) or 'none'})",
        "as a path",
        f"in the folders of {FOLDERS} ({', '.join(map(str, folders)) or 'not set'})",
    ]
    raise ArgumentError(
        f"argument `tokenizer_id`: wanted the id of a tokenizer with local files, given `{tokenizer_id}`; "
        f"looked for it {', '.join(sought)}{f'; {hint}' if hint else ''}"
    )


def check_id(tokenizer_id: Any) -> None:
    """An error unless it is a name."""
    if not isinstance(tokenizer_id, str) or not tokenizer_id:
        raise ArgumentError(f"argument `tokenizer_id`: wanted the id of a tokenizer, given {tokenizer_id!r}")


def _names(tokenizer_id: str) -> list[str]:
    return [tokenizer_id, *(tokenizer_id + suffix for suffix in SUFFIXES)]


def _read(
    tokenizer_id: str, path: Path, pattern: str | None, special_tokens: Mapping[str, int] | None
) -> TokenizerFiles:
    file = _file(path)
    kind = KINDS.get(file.name) or SUFFIXES[file.suffix]
    if kind == "tiktoken":
        pattern, special_tokens = _beside(file, pattern, special_tokens)
    elif pattern is not None or special_tokens:
        raise ArgumentError(f"`pattern` and `special_tokens` belong to a .tiktoken file, not to {file}")
    return TokenizerFiles(
        tokenizer_id,
        kind,
        file.resolve(),
        pattern or "",
        tuple(sorted((special_tokens or {}).items())),
        file.stat().st_mtime_ns,
    )


def _file(path: Path) -> Path:
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise ArgumentError(f"wanted a tokenizer ({', '.join(SUFFIXES)}), given {path}")
        return path
    if not path.is_dir():
        raise ArgumentError(f"there is no tokenizer at {path}")
    for name in KINDS:
        if (path / name).is_file():
            return path / name
    ranks = sorted(path.glob("*.tiktoken"))
    if len(ranks) == 1:
        return ranks[0]
    raise ArgumentError(f"wanted a folder with {', '.join(KINDS)} or one .tiktoken file, given {path}")


def _beside(
    file: Path, pattern: str | None, special_tokens: Mapping[str, int] | None
) -> tuple[str, Mapping[str, int] | None]:
    """A .tiktoken file holds ranks alone: the rest is given, or lies beside it in a .json of the same name."""
    more = file.with_suffix(".json")
    if pattern is None and more.is_file():
        data = json.loads(more.read_text(encoding="utf-8"))
        pattern, special_tokens = data.get("pattern"), special_tokens or data.get("special_tokens")
    if not pattern:
        raise ArgumentError(
            f"{file} holds ranks alone: give `pattern=` (and `special_tokens=`), or a {more.name} beside it with both"
        )
    return pattern, special_tokens

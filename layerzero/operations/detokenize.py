"""`lz.detokenize`: token ids to text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerzero.check.expressions import Value
from layerzero.errors import ArgumentError
from layerzero.operations.call import Call, ParameterRole, Parameters
from layerzero.operations.tokenizers import files_of

OPERATION = "detokenize"

PARAMETERS: Parameters = {
    "ids": ParameterRole(("device", "batch")),
    "tokenizer_id": ParameterRole(("tokenizer_id", "tokenizer_kind")),
}


def read(ids: Sequence[int] | Sequence[Sequence[int]] | Any, tokenizer_id: str) -> Call:
    """The ids of one text, or a list of them for each of several; a tensor counts as its lists.

    Raises:
        ArgumentError: An argument does not fit, or there is no such tokenizer.
    """
    listed = rows_of(ids)
    files = files_of(tokenizer_id)
    context: dict[str, Value] = {
        "device": "cpu",
        "batch": len(listed),
        "tokenizer_id": tokenizer_id,
        "tokenizer_kind": files.kind,
    }
    return Call(OPERATION, context, (listed, files), {})


def is_one(ids: Any) -> bool:
    """Whether these are the ids of one text."""
    return getattr(ids, "ndim", None) == 1 or not (len(ids) and hasattr(ids[0], "__len__"))


def rows_of(ids: Any) -> list[list[int]]:
    """A list of ids for each text."""
    if not hasattr(ids, "__len__") or isinstance(ids, str):
        raise ArgumentError(f"argument `ids`: wanted token ids, given {type(ids).__name__}")
    plain = ids.tolist() if hasattr(ids, "tolist") else ids
    found = [list(plain)] if is_one(ids) else [list(row) for row in plain]
    for row in found:
        for one in row:
            if isinstance(one, bool) or not isinstance(one, int) or one < 0:
                raise ArgumentError(f"argument `ids`: wanted token ids, at least 0, given {one!r}")
    return found

"""`lz.tokenize`: text to token ids, by a tokenizer whose files are here."""

from __future__ import annotations

from collections.abc import Sequence

from layerzero.check.expressions import Value
from layerzero.errors import ArgumentError
from layerzero.operations.call import Call, ParameterRole, Parameters
from layerzero.operations.tokenizers import files_of

OPERATION = "tokenize"

PARAMETERS: Parameters = {
    "text": ParameterRole(("device", "batch")),
    "tokenizer_id": ParameterRole(("tokenizer_id", "tokenizer_kind")),
    "special": ParameterRole(("special",), ("special",)),
}


def read(text: str | Sequence[str], tokenizer_id: str, special: bool = False) -> Call:
    """One text or several; the kernel gets a list and answers with a list of ids for each.

    Raises:
        ArgumentError: An argument does not fit, or there is no such tokenizer.
    """
    if not isinstance(text, Sequence):
        raise ArgumentError(f"argument `text`: wanted a string or strings, given {type(text).__name__}")
    texts = [text] if isinstance(text, str) else list(text)
    for one in texts:
        if not isinstance(one, str):
            raise ArgumentError(f"argument `text`: wanted a string or strings, given {type(one).__name__}")
    if special is not True and special is not False:
        raise ArgumentError(f"argument `special`: wanted a bool, given {special!r}")
    files = files_of(tokenizer_id)
    context: dict[str, Value] = {
        "device": "cpu",
        "batch": len(texts),
        "tokenizer_id": tokenizer_id,
        "tokenizer_kind": files.kind,
        "special": special,
    }
    return Call(OPERATION, context, (texts, files), {"special": True} if special else {})

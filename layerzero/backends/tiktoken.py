"""tiktoken, from a .tiktoken file of ranks with the pattern that belongs to it."""

from __future__ import annotations

from functools import lru_cache

from tiktoken import Encoding

from layerzero.backends.vocabularies import Vocabulary, ranks_of


def encode(texts: list[str], tokenizer: Vocabulary, special: bool = False) -> list[list[int]]:
    """Special tokens in a text count as such where they are asked for, else as text."""
    loaded = _loaded(tokenizer)
    found: list[list[int]]
    found = loaded.encode_batch(texts, allowed_special="all") if special else loaded.encode_ordinary_batch(texts)
    return found


def decode(ids: list[list[int]], tokenizer: Vocabulary) -> list[str]:
    """Bytes that are no UTF-8 become replacement characters."""
    return [_loaded(tokenizer).decode(row) for row in ids]


@lru_cache(maxsize=32)
def _loaded(tokenizer: Vocabulary) -> Encoding:
    return Encoding(
        tokenizer.id,
        pat_str=tokenizer.pattern,
        mergeable_ranks=ranks_of(tokenizer.path),
        special_tokens=dict(tokenizer.special_tokens),
    )

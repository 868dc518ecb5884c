"""Hugging Face's tokenizers, from a tokenizer.json."""

from __future__ import annotations

from functools import lru_cache

from tokenizers import Tokenizer

from layerzero.backends.vocabularies import Vocabulary


def encode(texts: list[str], tokenizer: Vocabulary, special: bool = False) -> list[list[int]]:
    """Nothing is added before or after a text."""
    return [one.ids for one in _loaded(tokenizer, special).encode_batch(texts, add_special_tokens=False)]


def decode(ids: list[list[int]], tokenizer: Vocabulary) -> list[str]:
    """Special tokens are written out."""
    found: list[str] = _loaded(tokenizer, False).decode_batch(ids, skip_special_tokens=False)
    return found


@lru_cache(maxsize=32)
def _loaded(tokenizer: Vocabulary, special: bool) -> Tokenizer:
    found = Tokenizer.from_file(str(tokenizer.path))
    found.no_padding()
    found.no_truncation()
    found.encode_special_tokens = not special  # True: a special token in a text is text like any other
    return found

"""SentencePiece, from a .model file."""

from __future__ import annotations

from functools import lru_cache

from sentencepiece import SentencePieceProcessor

from layerzero.backends.vocabularies import Vocabulary


def encode(texts: list[str], tokenizer: Vocabulary) -> list[list[int]]:
    """Control symbols in a text are text."""
    return [_loaded(tokenizer).encode(text, out_type=int) for text in texts]


def decode(ids: list[list[int]], tokenizer: Vocabulary) -> list[str]:
    """As the model joins its pieces."""
    return [_loaded(tokenizer).decode(row) for row in ids]


@lru_cache(maxsize=32)
def _loaded(tokenizer: Vocabulary) -> SentencePieceProcessor:
    return SentencePieceProcessor(model_file=str(tokenizer.path))

"""Byte pair encoding as it is defined: of a word's bytes, the two neighbours of the lowest rank are joined, again and
again. For files of ranks with a pattern (tiktoken); what other formats say is left to their own libraries."""

from __future__ import annotations

import itertools
import re
from functools import lru_cache

import regex

from layerzero.backends.vocabularies import Vocabulary, ranks_of


def tokenize(texts: list[str], tokenizer: Vocabulary, special: bool = False) -> list[list[int]]:
    """The ids of each text; without `special` a special token in a text is text like any other."""
    return [_ids(text, tokenizer, special) for text in texts]


def detokenize(ids: list[list[int]], tokenizer: Vocabulary) -> list[str]:
    """The bytes of all tokens together, as UTF-8; what is none becomes a replacement character."""
    pieces = {rank: token for token, rank in _ranks(tokenizer).items()}
    pieces |= {token: text.encode() for text, token in tokenizer.special_tokens}
    return [b"".join(pieces[one] for one in row).decode("utf-8", errors="replace") for row in ids]


def _ids(text: str, tokenizer: Vocabulary, special: bool) -> list[int]:
    known = dict(tokenizer.special_tokens) if special else {}
    if not known:
        return _ordinary(text, tokenizer)
    # The longest first: one special token may begin as another does.
    between = re.split(f"({'|'.join(map(re.escape, sorted(known, key=len, reverse=True)))})", text)
    found: list[int] = []
    for i, part in enumerate(between):
        found += [known[part]] if i % 2 else _ordinary(part, tokenizer)
    return found


def _ordinary(text: str, tokenizer: Vocabulary) -> list[int]:
    ranks = _ranks(tokenizer)
    words = (match.group() for match in regex.finditer(tokenizer.pattern, text))
    return [ranks[piece] for word in words for piece in _joined(word.encode(), ranks)]


def _joined(word: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    pieces = [word[i : i + 1] for i in range(len(word))]
    while len(pieces) > 1:
        pairs = [ranks.get(left + right) for left, right in itertools.pairwise(pieces)]
        known = [(rank, i) for i, rank in enumerate(pairs) if rank is not None]
        if not known:
            break
        _, i = min(known)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    return pieces


@lru_cache(maxsize=8)
def _ranks(tokenizer: Vocabulary) -> dict[bytes, int]:
    return ranks_of(tokenizer.path)

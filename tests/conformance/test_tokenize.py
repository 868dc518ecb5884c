"""Tokenizers over vocabularies that are trained here: a byte pair encoding in two formats, and SentencePiece."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from conformance_kernels import kernels, run, serves

from layerzero.operations import detokenize, tokenize

CORPUS = [
    "the quick brown fox jumps over the lazy dog, and the dog does not mind",
    "there are kernels for attention, kernels for norms, and kernels for the rest of them",
    "Größe, naïve, 東京, and numbers like 1234 or 5.67e-8",
] * 20
TEXTS = [
    "",
    " ",
    "the kernels",
    "the dog's 12345 kernels,  and\n\ttabs ",
    "Größe in 東京 🚀 <|end|> of it",
    "<|end|><|end|>",
    "\x00\x01 \u200b zero widths",
]
PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""  # that of GPT-2
SPECIAL = {"<|end|>": 600}


def bytes_of_letters() -> dict[str, int]:
    """The letters by which GPT-2 writes bytes: printable ones stand for themselves, others for those from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


@pytest.fixture(scope="module")
def ids(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """kind -> the id of a tokenizer: a path, so that nothing needs to be registered."""
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

    folder = tmp_path_factory.mktemp("tokenizers")
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    )
    made.add_special_tokens([AddedToken("<|end|>", special=True)])
    made.save(str(folder / "tokenizer.json"))

    # Ids of the same encoding in the order of its merges, which is what a file of ranks is.
    vocabulary = made.get_vocab()
    letters = bytes_of_letters()
    pieces = {bytes(letters[c] for c in token): rank for token, rank in vocabulary.items() if token not in SPECIAL}
    lines = [f"{base64.b64encode(piece).decode()} {rank}" for piece, rank in sorted(pieces.items(), key=lambda x: x[1])]
    ranks = folder / "ranks" / "small.tiktoken"
    ranks.parent.mkdir()
    ranks.write_text("\n".join(lines))
    special = {text: vocabulary[text] for text in SPECIAL}
    ranks.with_suffix(".json").write_text(json.dumps({"pattern": PATTERN, "special_tokens": special}))

    found = {"hf": str(folder), "tiktoken": str(ranks.parent)}
    sentencepiece = pytest.importorskip("sentencepiece")
    (folder / "corpus.txt").write_text("\n".join(CORPUS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"),
        model_prefix=str(folder / "small"),
        vocab_size=380,
        byte_fallback=True,
        character_coverage=1.0,
        minloglevel=2,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
    )
    return found | {"sentencepiece": str(folder / "small.model")}


def answers(operation: str, call: Any) -> dict[str, Any]:
    return {kernel: run(kernel, call) for kernel in kernels(operation) if serves(kernel, call)}


def test_all_kernels_of_byte_pairs_agree(ids: dict[str, str]) -> None:
    for special in (False, True):
        found = {
            kernel: answer
            for kind in ("hf", "tiktoken")
            for kernel, answer in answers("tokenize", tokenize.read(TEXTS, ids[kind], special)).items()
        }
        assert set(found) == {"hf_tokenizers.encode", "tiktoken.encode", "reference.tokenize"}
        wanted = found["reference.tokenize"]
        for i, text in enumerate(TEXTS):
            assert {kernel: answer[i] for kernel, answer in found.items()} == dict.fromkeys(found, wanted[i]), repr(
                text
            )


def test_a_special_token_is_text_unless_it_is_asked_for(ids: dict[str, str]) -> None:
    for kind in ("hf", "tiktoken"):
        for kernel, (one,) in answers("tokenize", tokenize.read("<|end|>", ids[kind], True)).items():
            assert len(one) == 1, kernel
        for kernel, (one,) in answers("tokenize", tokenize.read("<|end|>", ids[kind])).items():
            assert len(one) > 1, kernel


@pytest.mark.parametrize("kind", ["hf", "tiktoken", "sentencepiece"])
def test_what_is_encoded_is_decoded(kind: str, ids: dict[str, str]) -> None:
    texts = [text for text in TEXTS if kind != "sentencepiece" or "\x00" not in text]
    for kernel, tokens in answers("tokenize", tokenize.read(texts, ids[kind])).items():
        decoded = answers("detokenize", detokenize.read(tokens, ids[kind]))
        assert decoded, kernel
        for decoder, back in decoded.items():
            assert back == texts, f"{kernel}, {decoder}"


def test_half_a_character_is_a_replacement_character(ids: dict[str, str]) -> None:
    (tokens,) = answers("tokenize", tokenize.read("東", ids["tiktoken"]))["reference.tokenize"]
    call = detokenize.read(tokens[:1], ids["tiktoken"])
    assert {answer[0] for answer in answers("detokenize", call).values()} == {"\ufffd"}


def test_every_kernel_of_text_has_a_case(ids: dict[str, str]) -> None:
    for operation, call_of in (("tokenize", tokenize.read), ("detokenize", detokenize.read)):
        argument: Any = ["a"] if operation == "tokenize" else [[1]]
        served = {kernel for one in ids.values() for kernel in answers(operation, call_of(argument, one))}
        assert served == set(kernels(operation))


def test_a_newer_file_is_loaded_anew(ids: dict[str, str], tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    path = tmp_path / "tokenizer.json"
    path.write_text((Path(ids["hf"]) / "tokenizer.json").read_text())
    before = run("hf_tokenizers.encode", tokenize.read("kernels", str(path)))
    changed = Tokenizer.from_file(str(path))
    changed.add_tokens(["kernels"])
    changed.save(str(path))
    assert run("hf_tokenizers.encode", tokenize.read("kernels", str(path))) != before

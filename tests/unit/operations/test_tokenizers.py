"""Where a tokenizer's id leads, and what is said where it leads nowhere; the public calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import layerzero as lz
from layerzero.errors import ArgumentError, NoKernelError
from layerzero.operations.tokenizers import FOLDERS, files_of

RANKS = "\n".join(f"{token} {rank}" for rank, token in enumerate(("YQ==", "Yg==", "IA==", "YWI=", "IGE=")))
# a, b, space, "ab", " a"


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.tiktoken"
    path.write_text(RANKS)
    return path


def test_a_registered_tokenizer_serves_the_public_calls(ranks: Path) -> None:
    lz.register_tokenizer("small", ranks, pattern=r" ?\w+| ", special_tokens={"<end>": 9})
    assert lz.tokenize("ab a", tokenizer_id="small") == [3, 4]
    assert lz.tokenize(["ab", "b"], tokenizer_id="small") == [[3], [1]]
    assert lz.tokenize("ab<end>", tokenizer_id="small", special=True) == [3, 9]
    assert lz.detokenize([3, 4, 9], tokenizer_id="small") == "ab a<end>"
    assert lz.detokenize([[3], [1, 0]], tokenizer_id="small") == ["ab", "ba"]
    assert lz.detokenize(torch.tensor([[3, 4]]), tokenizer_id="small") == ["ab a"]
    assert lz.detokenize(torch.tensor([3]), tokenizer_id="small") == "ab"
    assert lz.detokenize([], tokenizer_id="small") == ""
    assert lz.tokenize([], tokenizer_id="small") == []
    assert lz.which("tokenize", "ab", "small") == "tiktoken.encode"
    with lz.disabled("tiktoken"):
        assert lz.which("tokenize", "ab", "small") == "reference.tokenize"
        assert lz.tokenize("ab a", tokenizer_id="small") == [3, 4]


def test_what_lies_beside_a_file_of_ranks_is_read(ranks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match=r"holds ranks alone: give `pattern=`.* or a tiny\.json beside it"):
        files_of(str(ranks))
    ranks.with_suffix(".json").write_text(json.dumps({"pattern": r"\w+", "special_tokens": {"<end>": 9}}))
    assert files_of(str(ranks)).special_tokens == (("<end>", 9),)
    monkeypatch.setenv(FOLDERS, str(ranks.parent))
    assert files_of("tiny").path == ranks.resolve()
    assert files_of(str(ranks.parent)).kind == "tiktoken"


def test_an_unknown_id_says_where_it_looked(ranks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDERS, str(ranks.parent))
    lz.register_tokenizer("small", ranks, pattern=r"\w+")
    with pytest.raises(ArgumentError) as caught:
        lz.tokenize("a", tokenizer_id="smal")
    message = str(caught.value)
    assert "given `smal`" in message
    assert "as a path" in message and str(ranks.parent) in message and "small" in message
    assert "did you mean `small`?" in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "there is no tokenizer at"),
        ("notes.txt", "wanted a tokenizer"),
        ("", "wanted a folder with tokenizer.json"),
    ],
)
def test_what_is_no_tokenizer_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ArgumentError, match=message):
        lz.register_tokenizer("wrong", tmp_path / name)


def test_a_pattern_belongs_to_ranks(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ArgumentError, match="belong to a .tiktoken file"):
        lz.register_tokenizer("wrong", tmp_path, pattern=r"\w+")


def test_wrong_arguments(ranks: Path) -> None:
    lz.register_tokenizer("small", ranks, pattern=r"\w+")
    for call in (
        lambda: lz.tokenize(3, tokenizer_id="small"),  # type: ignore[arg-type]
        lambda: lz.tokenize(["a", 3], tokenizer_id="small"),  # type: ignore[list-item]
        lambda: lz.tokenize("a", tokenizer_id="small", special=1),  # type: ignore[arg-type]
        lambda: lz.tokenize("a", tokenizer_id=""),
        lambda: lz.detokenize("a", tokenizer_id="small"),  # type: ignore[arg-type]
        lambda: lz.detokenize([1.5], tokenizer_id="small"),  # type: ignore[list-item]
        lambda: lz.detokenize([-1], tokenizer_id="small"),
        lambda: lz.detokenize([True], tokenizer_id="small"),
    ):
        with pytest.raises(ArgumentError):
            call()


def test_a_format_without_its_library_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "m.model").write_bytes(b"")
    with lz.disabled("sentencepiece"), pytest.raises(NoKernelError, match="sentencepiece"):
        lz.tokenize("a", tokenizer_id=str(tmp_path / "m.model"))

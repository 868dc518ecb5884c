"""Examples of strings for globs, or the proof that there is none."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from layerzero.regions.globs import example, literally, tokens
from layerzero.syntax.glob import like

patterns = st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "[a-c]", "\\*", "H1"]), max_size=5).map(
    "".join
)


def test_a_shortest_example() -> None:
    assert example(["*H100*"], []) == "H100"
    assert example(["*H100*"], ["H100", "?H100"]) == "H100a"


@pytest.mark.parametrize(
    ("matching", "avoiding"),
    [(["a*", "b*"], []), (["a*"], ["*"]), (["?"], ["[!a]", "a"]), (["[a-c]"], ["a", "b", "c"]), (["abc"], ["*b*"])],
)
def test_contradictions_are_proved(matching: list[str], avoiding: list[str]) -> None:
    assert example(matching, avoiding) is None


@given(st.lists(patterns, max_size=3), st.lists(patterns, max_size=3), st.text("abcH1*", max_size=4))
def test_an_example_matches_and_without_one_nothing_does(matching: list[str], avoiding: list[str], sample: str) -> None:
    found = example(matching, avoiding)
    if found is not None:
        assert all(like(found, pattern) for pattern in matching)
        assert not any(like(found, pattern) for pattern in avoiding)
    else:
        assert not all(like(sample, p) for p in matching) or any(like(sample, p) for p in avoiding)


@given(st.text(max_size=6), st.text(max_size=6))
def test_a_literal_glob_matches_its_text_alone(text: str, other: str) -> None:
    assert like(text, literally(text))
    assert like(other, literally(text)) == (other == text)


def test_tokens_of_classes_and_escapes() -> None:
    assert tokens(r"a*[!]b]\*?") == ["a", "*", "[!]b]", r"\*", "?"]

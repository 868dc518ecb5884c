"""A character of a condition has its place in the YAML, however the text is quoted, escaped or folded."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from layerzero.notations.places import places
from layerzero.notations.yaml_tree import Mapping, Scalar, read_tree
from layerzero.syntax.source import Source

WORDS = st.lists(
    st.text(st.sampled_from("abz019_.<>=!(){}*/%+-'\"\\#:&é日😀"), min_size=1, max_size=9), min_size=1, max_size=12
).map(" ".join)


def scalar(text: str) -> Scalar:
    tree, found = read_tree(Source("policy.yaml", text))
    assert found == [] and isinstance(tree, Mapping), found
    item = tree.items["condition"]
    assert isinstance(item, Scalar)
    return item


@settings(max_examples=150, deadline=None)
@given(WORDS, st.sampled_from(["'", '"', "|", ">"]), st.integers(5, 60), st.booleans())
def test_every_character_has_its_place(text: str, style: str, width: int, unicode: bool) -> None:
    written = yaml.dump({"condition": text}, default_style=style, width=width, allow_unicode=unicode)
    item = scalar(written.replace('"condition"', "condition", 1).replace("'condition'", "condition", 1))
    assert item.text.rstrip("\n") == text
    where = places(item)
    assert len(where) == len(item.text) + 1
    assert where == sorted(where)
    whole = item.span.source.text
    for character, at in zip(item.text, where, strict=False):
        if not character.isspace():
            assert whole[at] == character or whole[at] == "\\", (character, at)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('condition: "a \\"q\\" z"\n', "z"),
        ('condition: "a \\x41\\u0042 z"\n', "z"),
        ("condition: 'it''s z'\n", "z"),
        ("condition: |2\n    a\n   z\n", "z"),
        ("condition: >- # why\n  a\n\n  z\n", "z"),
        ('condition: "a \\\n    z"\n', "z"),
        ("condition: a\n  b z\n", "z"),
        ("\ufeffcondition: a z\r\n", "z"),
    ],
)
def test_the_last_word_is_found(text: str, found: str) -> None:
    item = scalar(text)
    at = places(item)[item.text.rindex(found)]
    assert text[at] == found and at == text.rindex(found)

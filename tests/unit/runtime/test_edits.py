"""What changed between two versions of a policy's texts."""

from __future__ import annotations

import pytest

from layerzero.check.program import Layer, Text
from layerzero.runtime.edits import edits
from layerzero.syntax.source import Source


def texts(**files: str) -> list[Text]:
    return [Text(Source(f"{name}.lzp", text), Layer.POLICY) for name, text in files.items()]


RULES = 'policy "p" version 1\ndeny a.* for o when n > 32\nlock b.* for o\n'


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"p": RULES.replace("32", "64")}, ["- deny a.* for o when n > 32", "+ deny a.* for o when n > 64"]),
        ({"p": RULES + "allow b.* for o"}, ["+ allow b.* for o"]),
        ({"p": 'policy "p" version 1\nlock b.* for o'}, ["- deny a.* for o when n > 32"]),
        ({"p": 'policy "p" version 1\nlock   b.*  for o\n# moved\ndeny a.* for o\n  when n > 32'}, []),
        ({"p": RULES + 'test "t" { given o, n = 1 expect a.x }'}, []),
        ({"p": 'policy "p" version 1\nlock b.* for o', "q": "deny a.* for o when n > 32"}, []),
        ({"p": RULES + "lock b.* for o"}, ["+ lock b.* for o"]),
    ],
)
def test_statements_that_went_and_came(after: dict[str, str], expected: list[str]) -> None:
    assert [str(edit) for edit in edits(texts(p=RULES), texts(**after))] == expected


def test_an_edit_has_its_place_and_its_whole_text() -> None:
    arm = "experiment e on n share 20% {\n  arm control 50%\n  arm b 50% { boost b.* by 2 for o }\n}"
    (edit,) = edits(texts(p=RULES), texts(p=RULES + arm))
    assert edit.at == "p.lzp:4:1"
    assert edit.text.splitlines()[0] == "experiment e on n share 20% {"
    assert len(str(edit).splitlines()) == 1


def test_yaml_is_told_as_rules() -> None:
    def policy(batch: int) -> list[Text]:
        rule = f'  - operation: "attention.*"\n    backend: "torch"\n    condition: "batch > {batch}"\n'
        return [Text(Source("p.yaml", f'version: "1.0"\ndenies:\n{rule}'), Layer.POLICY)]

    assert [(str(edit), edit.at) for edit in edits(policy(8), policy(9))] == [
        ("- deny torch for attention.* when batch > 8", "p.yaml:3:5"),
        ("+ deny torch for attention.* when batch > 9", "p.yaml:3:5"),
    ]

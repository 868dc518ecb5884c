"""How findings are shown: carets under wide characters, long lines, labels, JSON, SARIF, floods."""

from __future__ import annotations

import json
import re

import pytest

from layerzero.syntax.code_pages import PAGES
from layerzero.syntax.codes import CODES
from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.error_examples import EXAMPLES, stop_of
from layerzero.syntax.error_pages import pages
from layerzero.syntax.parser import automaton, parse
from layerzero.syntax.render import render
from layerzero.syntax.report_formats import to_json, to_sarif
from layerzero.syntax.source import Source, Span
from layerzero.syntax.suggest import did_you_mean, suggest


def finding(text: str, word: str, source: Source | None = None, **more: object) -> Diagnostic:
    source = source or Source("policy.lzp", text)
    start = text.index(word)
    return Diagnostic("LZ201", f"unknown field `{word}`", Span(source, start, start + len(word)), **more)  # type: ignore[arg-type]


def test_one_finding_as_it_is_printed() -> None:
    shown = render(
        [finding("deny a\n  when head_dims > 256", "head_dims", help="did you mean `head_dim`?", label="here")]
    )
    assert shown == (
        "error[LZ201]: unknown field `head_dims`\n"
        "  --> policy.lzp:2:8\n"
        "   |\n"
        " 2 |   when head_dims > 256\n"
        "   |        ^^^^^^^^^ here\n"
        "   = help: did you mean `head_dim`?\n"
    )


@pytest.mark.parametrize(
    ("line", "columns"),
    [('"日本" x', 7), ("\tx", 4), ('"e\u0301" x', 4), ("ab\tx", 4), ('"\u200b" x', 4), ("x", 0)],
)
def test_the_caret_stands_below_its_word(line: str, columns: int) -> None:
    shown = render([finding(line, "x")]).splitlines()
    assert shown[4] == "   | " + " " * columns + "^"


def test_a_long_line_is_shown_around_the_caret() -> None:
    shown = render([finding("a" * 5000 + " bad " + "b" * 5000, "bad")]).splitlines()
    assert len(shown[3]) < 140
    at = shown[4].index("^^^")
    assert shown[3][at : at + 3] == "bad"


def test_control_characters_do_not_reach_the_terminal() -> None:
    shown = render([finding("deny \x1b[31m x", "x")])
    assert "\x1b" not in shown
    assert "\x1b[1;31m" in render([finding("deny x", "x")], color=True)


def test_labels_here_and_in_another_file() -> None:
    other = Source("prelude.lzp", "field dtype: enum(fp16)")
    text = "deny a when dtype >= 8"
    source = Source("policy.lzp", text)
    labels = (Label(Span(source, 21, 22), "int literal"), Label(Span(other, 6, 11), "declared here"))
    shown = render([finding(text, "dtype", source, labels=labels)])
    assert "^^^^^" in shown and "- int literal" in shown
    assert "::: prelude.lzp:1:7" in shown and "----- declared here" in shown


def test_floods_are_capped_and_counted() -> None:
    shown = render([finding("x", "x")] * 150)
    assert shown.count("error[LZ201]") == 100 and "and 50 more" in shown


def test_json_has_characters_and_bytes() -> None:
    plain = to_json(finding('"é日" bad', "bad", help="h", witness={"sm": 90}))
    assert json.loads(json.dumps(plain)) == {
        "code": "LZ201", "severity": "error", "message": "unknown field `bad`", "file": "policy.lzp", "line": 1,
        "column": 6, "help": "h", "witness": {"sm": 90},
        "span": {"start": 5, "end": 8, "byte_start": 8, "byte_end": 11},
    }  # fmt: skip


def test_sarif_names_rule_and_region() -> None:
    log = to_sarif([finding("deny bad", "bad")], "1.0")
    run = log["runs"][0]
    assert log["version"] == "2.1.0"
    assert run["tool"]["driver"]["rules"][run["results"][0]["ruleIndex"]]["id"] == "LZ201"
    region = run["results"][0]["locations"][0]["physicalLocation"]["region"]
    assert (region["startLine"], region["startColumn"], region["endColumn"], region["charLength"]) == (1, 6, 9, 3)


def test_suggestions_are_near_and_few() -> None:
    assert suggest("head_dims", ["v_head_dim", "head_dim", "batch"])[0] == "head_dim"
    assert suggest("quarentine", ["quarantine", "deny"]) == ["quarantine"]
    assert suggest("bacth", ["batch"]) == ["batch"]
    assert suggest("x", ["y", "z"]) == [] and suggest("DENY", ["deny"]) == ["deny"]
    assert len(suggest("field", [f"field{n}" for n in range(9)])) == 4
    assert did_you_mean("locl", ["lock", "loci"]) == "did you mean `loci` or `lock`?"


def test_every_code_has_a_page_that_is_written_down(root: object) -> None:
    assert set(PAGES) == set(CODES)
    folder = root / "docs" / "errors"  # type: ignore[operator]
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    assert found == pages(), "run `python -m layerzero.syntax.error_pages docs/errors`"


@pytest.mark.parametrize("code", ["LZ100", "LZ101", "LZ102", "LZ103"])
def test_the_examples_of_the_syntax_pages_show_what_they_say(code: str) -> None:
    assert code in {item.code for item in parse(Source("wrong.lzp", PAGES[code].wrong))[1]}
    assert parse(Source("right.lzp", PAGES[code].right))[1] == []


@pytest.mark.parametrize("code", ["LZ100", "LZ101", "LZ102", "LZ103"])
def test_every_code_of_the_syntax_has_a_case(code: str, root: object) -> None:
    texts = [path.read_text(encoding="utf-8") for path in (root / "tests/cases/syntax").glob("*.md")]  # type: ignore[operator]
    assert any(f"[{code}]" in text for text in texts)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.message)
def test_every_malformed_example_is_malformed_and_listed_once(example: object) -> None:
    for text in example.texts:  # type: ignore[attr-defined]
        stop_of(automaton(), text)
        assert sum(text in other.texts for other in EXAMPLES) == 1


def test_no_message_lists_what_the_grammar_could_take() -> None:
    for example in EXAMPLES:
        for text in example.texts:
            for item in parse(Source("x.lzp", text))[1]:
                assert len(re.findall(r"`[^`]*`", item.message)) <= 6, item.message
                assert not re.search(r"[A-Z]{3,}_|__ANON", item.message + item.help)

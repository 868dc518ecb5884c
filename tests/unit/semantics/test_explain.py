"""The provenance tree as text and as a page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from layerzero.errors import UnknownNameError
from layerzero.semantics.decision_json import decision_json
from layerzero.semantics.explain_html import explain_html
from layerzero.semantics.explain_json import explain_json
from layerzero.semantics.explain_text import draw, explain_text
from layerzero.semantics.explanation import why
from tests.unit.semantics.build import decided, program

TEXT = """policy "prod <b>" version 7
field n: int in 0..100 = 5
field s: string
field far: int in 0..3 = n
operation o { optional n, s view low when n < 10 feature wide when n > 9 fallback ref.o }
kernel k.a for o { "the <fast> one" priority 85 source "k/a.cu @ 1.4" }
kernel k.b for o { require n > 50 because "tile of 64" }
kernel k.c for o { priority 20 }
kernel k.d for o { priority 20 package lib >=2 }
kernel ref.o for o { priority 0 supports wide }
boost k.a by 1.5 as faster
boost k.a by 2
deny k.c for o when s == "<script>" as no_c because "a & b"
deny k.d for o when s == "x" and n > 7 as open
"""


def test_the_tree_names_winner_losers_rules_and_places() -> None:
    text = explain_text(program(TEXT), decided(TEXT, {"s": "<script>"}))
    assert text.startswith("o -> k.a, score 255\n")
    for line in (
        "chosen: k.a (the <fast> one)",
        "score 255 = priority 85 x 1.5 x 2",
        "x 1.5 by faster, <text>:11:1",
        "read from k/a.cu @ 1.4",
        "given: s = <script>",
        "defaults: ",
        "n = 5",
        "views: low",
        "requirement: wanted n > 50, got n = 5",
        "at <text>:7:28",
        "because tile of 64",
        'denied by no_c: s == "<script>", got s = <script>',
        "because a & b",
        "package lib >=2",
        "`far`: the default 5 is not an int in 0..3, so it stays absent",
        'policy "prod <b>" version 7, digest ',
    ):
        assert line in text, line
    assert "\x1b" not in text


def test_unknown_rules_name_what_is_missing() -> None:
    text = explain_text(program(TEXT), decided(TEXT, {"n": 9}))
    assert "unknown, for want of s: does not apply" in text


def test_every_kernel_stands_in_the_tree_once() -> None:
    text = explain_text(program(TEXT), decided(TEXT, {}))
    heads = re.findall(r"[├└]─ (?:chosen: )?((?:k|ref)\.\w+)(?:: | \()", text)
    assert sorted(heads) == ["k.a", "k.b", "k.c", "k.d", "ref.o"]


def test_one_kernel_can_be_asked_for() -> None:
    text = explain_text(program(TEXT), decided(TEXT, {}), "k.b")
    assert text.startswith("k.b: infeasible\n")
    assert "k.c" not in text
    assert "smaller id" in explain_text(program(TEXT), decided(TEXT + "deny k.a", {}), "k.d")
    with pytest.raises(UnknownNameError, match="did you mean `k.a`"):
        explain_text(program(TEXT), decided(TEXT, {}), "k.aa")


def test_an_error_and_a_degraded_decision_say_so_first() -> None:
    assert explain_text(program(TEXT), decided(TEXT + "deny *", {})).startswith("o -> error no_kernel: no kernel may")
    degraded = explain_text(program(TEXT), decided(TEXT + "allow k.b deny k", {}))
    assert degraded.startswith("o -> ref.o, score 0, degraded: only a fallback is left")
    assert "before it, not a target of allow" in degraded


def test_the_short_answer_has_the_arithmetic_and_the_rules_that_applied() -> None:
    text = "\n".join(draw(why(program(TEXT), decided(TEXT, {"s": "<script>"}))))
    assert "score 255 = priority 85 x 1.5 x 2" in text
    assert "deny k.c" in text
    assert "k.b" not in text


def test_colours_are_asked_for() -> None:
    assert "\x1b[32m" in explain_text(program(TEXT), decided(TEXT, {}), color=True)


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = explain_text(program(TEXT), decided(TEXT, {"s": "\x1b[2J\n"}))
    assert "\\x1b[2J\\n" in text
    assert "\x1b" not in text


def test_the_whole_provenance_as_json() -> None:
    made, proof = program(TEXT), decided(TEXT, {"s": "<script>"})
    found = explain_json(made, proof)
    assert json.loads(json.dumps(found)) == found
    assert found.items() >= decision_json(made, proof).items()
    winner = found["kernels"]["k.a"]  # type: ignore[index]
    assert (winner["stage"], winner["score"], winner["priority"]) == ("chosen", 255.0, 85)
    assert [(boost["rule"], boost["factor"]) for boost in winner["boosts"]] == [("faster", 1.5), ("<text>:12", 2.0)]
    assert winner["sources"] == ["k/a.cu @ 1.4"]
    assert {rule["rule"]: rule["applied"] for rule in found["rules"]}["no_c"] is True  # type: ignore[attr-defined]
    assert found["values"] == {"n": 5, "s": "<script>"}


class _Page(HTMLParser):
    """Collects the text and checks that every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not {name for name, _ in attrs} & {"src", "href", "onclick"}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_escaped_closed_and_needs_nothing_else() -> None:
    made, proof = program(TEXT), decided(TEXT, {"s": "<script>alert(1)</script>\ud800"})
    html = explain_html(made, proof)
    html.encode()
    page = _Page()
    page.feed(html)
    assert page.open == []
    assert "script" not in page.seen
    assert "link" not in page.seen
    assert "<script" not in html
    assert "url(" not in html
    assert "prefers-color-scheme: dark" in html
    assert "<details" in html
    drawn = [re.sub(r"^[│├└─ ]*", "", line) for line in explain_text(made, proof).split("\n")]
    assert [line for line in drawn if line not in page.text] == []

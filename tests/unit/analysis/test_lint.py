"""Lints: each has a code and a page, the shipped policies have no finding, comments allow what they stand at."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerzero.analysis.lint import LINTS, lint
from layerzero.check import load, load_text, program_from_text, require
from layerzero.check.loader import find_roots
from layerzero.syntax.codes import CODES
from layerzero.syntax.source import Source

WORDS = """
field sm: int in 10..999
field tenant: string
operation attention { needs sm }
kernel acme.decode for attention { }
"""


def codes(text: str) -> list[str]:
    return [finding.code for finding in lint(program_from_text(WORDS + text, prelude=False))]


@pytest.mark.parametrize("one", LINTS, ids=lambda one: one.name)
def test_every_lint_has_a_code_and_a_page(one: object) -> None:
    code = next(code for code in CODES.values() if code.name == one.name)  # type: ignore[attr-defined]
    page = one.page  # type: ignore[attr-defined]
    assert page.startswith(f"{code.code}: ")
    assert all(part in page for part in ("**What it does.**", "**Why.**", "**Avoid**", "**Prefer**"))


def test_the_shipped_policies_have_no_finding(root: Path) -> None:
    assert lint(require(load_text(""))) == []
    for found in find_roots(root / "policies" / "examples", tests=True):
        if found.name.endswith("_test.lzp"):
            assert [one.message for one in lint(require(load(found)))] == []


def test_a_comment_speaks_of_the_rule_of_an_arm_that_it_stands_at() -> None:
    text = """
    experiment trial_of_acme on tenant {
      arm control 50%
      # lint: allow vague_name
      arm acme 50% {
        deny acme.decode as rule1
        deny acme.decode as rule2 # lint: allow vague_name
      }
    }"""
    # The first comment stands in the experiment, above none of its rules: it speaks of the whole.
    assert codes(text) == []
    assert codes(text.replace("# lint: allow vague_name\n      arm", "\n      arm")) == ["LZ601"]
    assert codes(text.replace("as rule2", "as no_acme")) == ["LZ600"]


def test_a_blank_line_parts_a_comment_from_its_statement() -> None:
    rule = "deny acme.decode as rule1"
    assert codes(f"# lint: allow vague_name\n{rule}") == []
    assert codes(f"# lint: allow vague_name\n# further words\n{rule}") == []
    assert codes(f"# lint: allow vague_name\n\n{rule}") == ["LZ600", "LZ601"]


def test_a_define_that_another_define_or_a_test_uses_is_used() -> None:
    assert codes("define a_part = sm > 80\ndefine whole = a_part and sm < 90\ndeny acme.decode when whole") == []
    assert codes('define fresh = sm > 80\ntest "t" { whenever attention when fresh expect acme.decode }') == []
    assert codes("define fresh = sm > 80") == ["LZ604"]


def test_versions_that_exclude_each_other(root: Path) -> None:
    def line(text: str) -> list[str]:
        return codes(f"kernel acme.other for attention {{ package acme {text} }}")

    assert line(">=2, <2") == line(">2.1, <=2.1") == line("==1.4, !=1.4") == ["LZ606"]
    assert line("") == line(">=1.4, <2, !=1.5.1") == line(">=3.0.0b1, <3.0.0b2") == line("==2.8.*") == []


def test_yaml_policies_are_read(root: Path) -> None:
    pytest.importorskip("yaml")
    text = "version: '1.0'\nlocks:\n  - operation: attention\n    backend: acme\n"
    catalog = Source("catalog.lzp", WORDS)
    checked = load_text(text, name="p.yaml", prelude=False, catalogs=[catalog])
    assert lint(require(checked)) == []

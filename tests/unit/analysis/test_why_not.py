"""What would make a kernel win: the smallest changes of context, packages and policy, each decided again."""

from __future__ import annotations

from datetime import date

import pytest

from layerzero.analysis.why_not import Question, applied, remedies
from layerzero.check import program_from_text
from layerzero.check.program import Scope
from layerzero.semantics.environment import Environment

WORDS = """
policy "prod"
field sm: int in 10..999
field head_dim: int in 1..1024
field batch: int in 1..4096
field q_len: int in 1..4096
field phase: enum(prefill, decode) = decode if q_len == 1 else prefill
field dtype: enum(fp32, fp16, bf16)
operation attention { needs head_dim, batch, q_len, dtype  optional sm, phase  view decode when phase == decode }
device h100 { sm = 90 }
kernel acme.decode for attention.decode {
  priority 80
  package acme-kernels >=1.4, <2
  require head_dim in {64, 128} and dtype in {fp16, bf16}
}
kernel flash.v2 for attention { priority 70  require head_dim % 8 == 0  require head_dim <= 256 }
kernel plain.all for attention { priority 10 }
"""
CALL = {"sm": 90, "head_dim": 128, "batch": 8, "q_len": 1, "dtype": "bf16"}


def ask(kernel: str, rules: str = "", packages: dict[str, str] | None = None, **changed: object) -> list[str]:
    """The texts of the remedies, each of which is decided again here."""
    program = program_from_text(WORDS + rules, prelude=False, name="prod.lzp")
    environment = Environment(packages=packages or {}, assume_packages=True, call_kernels=False, today=date(2026, 6, 1))
    given = {name: value for name, value in {**CALL, **changed}.items() if value is not None}
    question = Question(program, environment, Scope("attention"), given, kernel)  # type: ignore[arg-type]
    found = remedies(question, seconds=60)
    for remedy in found:
        assert applied(question, remedy.edits).proof().kernel == kernel
        for edit in remedy.edits:
            fewer = [one for one in remedy.edits if one is not edit]
            assert applied(question, fewer).proof().kernel != kernel
    return [remedy.text for remedy in found]


def test_nothing_has_to_change_for_the_winner() -> None:
    assert ask("acme.decode") == []


def test_the_nearest_value_of_one_field() -> None:
    assert ask("acme.decode", head_dim=80)[0] == "head_dim = 64 instead of 80"
    assert ask("acme.decode", head_dim=120)[0] == "head_dim = 128 instead of 120"
    assert ask("flash.v2", head_dim=1000, q_len=5)[0] == "head_dim = 256 instead of 1000"
    assert ask("flash.v2", head_dim=77, q_len=5)[0] in ("head_dim = 80 instead of 77", "head_dim = 72 instead of 77")


def test_a_field_that_follows_another_follows() -> None:
    assert "q_len = 1 instead of 7" in ask("acme.decode", q_len=7)


def test_two_fields_where_one_is_not_enough() -> None:
    (found,) = ask("acme.decode", head_dim=80, dtype="fp32")
    assert sorted(found.split("; and ")) == ["dtype = fp16 instead of fp32", "head_dim = 64 instead of 80"]


def test_a_package() -> None:
    (text,) = [text for text in ask("acme.decode", packages={"acme-kernels": "1.2"}) if "package" in text]
    assert text == "package acme-kernels >=1.4, <2 (1.2 is there; 1.4 would do)"


@pytest.mark.parametrize(
    ("rule", "does"),
    [
        ("deny acme.decode as no_acme", "denies it"),
        ("quarantine acme.* as no_acme", "quarantines it"),
        ("lock flash.v2 as no_acme", "locks others"),
        ("allow flash.* as no_acme", "allows others alone"),
        ("order flash.v2 > * as no_acme", "puts another first"),
    ],
)
def test_a_rule_in_the_way(rule: str, does: str) -> None:
    assert f"without prod.lzp:18, `no_acme`, which {does}" in ask("acme.decode", rule)


def test_a_rule_that_another_value_escapes() -> None:
    found = ask("acme.decode", "deny acme.decode when batch > 4 as no_acme")
    assert found[0] == "batch = 4 instead of 8"
    assert found[-1] == "without prod.lzp:18, `no_acme`, which denies it"


def test_a_boost_that_is_just_enough() -> None:
    assert "with a rule more: boost flash.v2 by 1.2 for attention" in ask("flash.v2")


def test_package_and_rule_and_context_together() -> None:
    found = ask("acme.decode", "deny acme.decode as no_acme", packages={"acme-kernels": "2.1"}, head_dim=80)
    assert found[0].split("; and ") == [
        "package acme-kernels >=1.4, <2 (2.1 is there; 1.4 would do)",
        "without prod.lzp:18, `no_acme`, which denies it",
        "head_dim = 64 instead of 80",
    ]

"""What the checker accepts, and what it says about what it does not. One line of policy a case."""

from __future__ import annotations

import pytest

from layerzero.check import load_text

WORDS = """
field size: int in 1..1024
field ratio: float in 0.0..1.0
field color: enum(red, green, blue)
field shade: enum(red, dark)
field flag: bool = false
field name: string
field release: version
attribute fast: bool = false
attribute weight: int
operation paint { needs size optional ratio, color, shade, flag, name, release
  view quick when flag  feature bright when color == red  fallback base.plain }
operation wash { needs size }
kernel base.plain for paint { supports bright }
kernel base.rich for paint { priority 60 }
kernel other.soap for wash { }
alias crimson = red
alias width = size
alias anything = base.*
context small { size = 1 }
device machine { size = 2 }
"""


def findings(text: str) -> list[tuple[str, str]]:
    checked = load_text(WORDS + text, prelude=False)
    return [(finding.code, finding.span.text) for finding in checked.diagnostics]


@pytest.mark.parametrize(
    "condition",
    [
        "size == 64",
        "64 <= size <= 256",
        "width in {1, 8..16, 100..}",
        "size in 1..<1025",
        "size not in ..8",
        "ratio < 1",
        "size + ratio * 2 > 1.5",
        "color == crimson and crimson == color",
        "color in {red, green}",
        "color == shade",
        "color == (red if flag else blue)",
        "not flag or has(name)",
        "flag == true",
        'name == "bank" or name like "b*"',
        'release >= "2.10" and package("x") in {"1.0"}',
        "kernel.fast and kernel.weight > 3",
        "min(size, 3, ratio) == max(1, 2)",
        "-size == -3 and size % 8 == 0 and size // 2 > 1",
        "size == 1_000 or size == 1Ki",
    ],
)
def test_a_well_typed_condition_has_no_finding(condition: str) -> None:
    assert findings(f"deny base.* for paint when {condition}") == []


@pytest.mark.parametrize(
    ("condition", "code", "place"),
    [
        ("sise == 1", "LZ201", "sise"),
        ("has(sise)", "LZ201", "sise"),
        ("color == purple", "LZ202", "purple"),
        ("purple == color", "LZ202", "purple"),
        ("color in {red, purple}", "LZ202", "purple"),
        ("kernel.speed", "LZ206", "kernel.speed"),
        ("size", "LZ302", "size"),
        ("size and flag", "LZ302", "size"),
        ("not color", "LZ302", "color"),
        ('color == "red"', "LZ301", '"red"'),
        ("color >= red", "LZ301", "color >= red"),
        ("name < name", "LZ301", "name < name"),
        ("flag < true", "LZ301", "flag < true"),
        ("flag == 1", "LZ301", "1"),
        ("size == name", "LZ301", "name"),
        ("name + 1 == 2", "LZ301", "name"),
        ("size like name", "LZ100", "name"),
        ('size like "a"', "LZ301", "size"),
        ("color in 1..2", "LZ301", "1..2"),
        ("size == (1 if flag else red)", "LZ201", "red"),
        ("size == (1 if flag else name)", "LZ301", "name"),
        ("size == 5000", "LZ303", "5000"),
        ("5000 != size", "LZ303", "5000"),
        ("size == -3", "LZ303", "-3"),
        ("size == 4 * 1024", "LZ303", "4 * 1024"),
        ("size in {1, 5000}", "LZ303", "5000"),
        ("ratio == 1.5", "LZ303", "1.5"),
        ("size in 9..1", "LZ304", "9..1"),
        ("size in 5..<5", "LZ304", "5..<5"),
        ("size in 1..5000", "LZ505", "1..5000"),
        ("size == null", "LZ305", "null"),
        ('release > "two"', "LZ306", '"two"'),
        ("name == bank", "LZ201", "bank"),
    ],
)
def test_a_wrong_condition_has_one_finding_at_its_cause(condition: str, code: str, place: str) -> None:
    assert findings(f"deny base.* for paint when {condition}") == [(code, place)]


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("deny bases.* for paint", "LZ501"),
        ("deny bases for paint", "LZ204"),
        ("deny base.plane for paint", "LZ204"),
        ("deny * for paints", "LZ203"),
        ("deny * for paint.slow", "LZ203"),
        ("deny * priority 3", "LZ212"),
        ("deny * else choose", "LZ212"),
        ("lock base.* priority 1.5", "LZ306"),
        ("boost * by -1", "LZ306"),
        ("deny * as one deny * as one", "LZ210"),
        ("field size: int", "LZ210"),
        ("define size = 1", "LZ210"),
        ("kernel base.plain for paint { }", "LZ210"),
        ("kernel plain for paint { }", "LZ306"),
        ("kernel base.x for paint { supports bride }", "LZ205"),
        ("kernel base.x for wash { require flag }", "LZ211"),
        ("kernel base.x for paint { set fats = true }", "LZ206"),
        ("kernel base.x for paint { set fast = 1 }", "LZ301"),
        ("kernel base.x for paint { priority 1001 }", "LZ306"),
        ('kernel base.x for paint { adapter "os:system" }', "LZ006"),
        ("kernel base.x for paint { package p >=1.x }", "LZ306"),
        ("operation third { needs sizes }", "LZ201"),
        ("operation third { needs size fallback base.plain }", "LZ204"),
        ("operation third { needs size feature f when kernel.fast }", "LZ212"),
        ("extend third { optional size }", "LZ203"),
        ("extend paint { feature bright when flag }", "LZ210"),
        ("alias thing = nothing", "LZ201"),
        ("field a: int = b field b: int = a", "LZ213"),
        ("define a = b define b = a", "LZ213"),
        ("field a: int in 1..3 = 9", "LZ303"),
        ('field a: int = package("x")', "LZ301"),
        ("field a: string in 1..2", "LZ301"),
        ("experiment e on nobody { arm a 100% }", "LZ201"),
        ("experiment e on name { arm a 50% arm b 49.99% }", "LZ307"),
        ("experiment e on name share 1.001% { arm a 100% }", "LZ306"),
        ("experiment e on name { arm a 100% guard speed < 1 }", "LZ201"),
        ("experiment e on name { arm a 100% guard error_rate < 1.1 * control }", "LZ209"),
        ('test "t" { given paint, size = 5000 expect base.plain }', "LZ303"),
        ('test "t" { given paint, nowhere expect base.plain }', "LZ207"),
        ('test "t" { given small expect base.plain }', "LZ212"),
        ('test "t" { given paint expect base.plain by nobody }', "LZ208"),
        ('test "t" { given paint, arm e.a expect base.plain }', "LZ209"),
        ('test "t" { given paint, package p >=1 expect base.plain }', "LZ306"),
        ('test "t" { whenever paint when kernel.fast expect base.plain }', "LZ212"),
        ('policy "a" policy "b"', "LZ212"),
    ],
)
def test_a_wrong_statement_is_found(statement: str, code: str) -> None:
    assert [found for found, _ in findings(statement)] == [code]


def test_all_errors_of_a_text_are_reported_in_one_run_in_the_order_of_the_text() -> None:
    found = findings("deny * when sise == 1\ndeny base.plane\ndeny * when color == purple")
    assert [code for code, _ in found] == ["LZ201", "LZ204", "LZ202"]


def test_a_misspelt_name_gets_a_suggestion() -> None:
    checked = load_text(WORDS + "deny base.* for paint when sizes == 1", prelude=False)
    assert "did you mean `size`?" in checked.diagnostics[0].help


def test_a_fault_in_a_define_is_said_once_at_its_place() -> None:
    found = findings("define wrong = sise == 1\ndeny * when wrong\ndeny * when not wrong")
    assert found == [("LZ201", "sise")]


def test_an_unused_define_is_checked_too() -> None:
    assert findings("define unused = sise + 1") == [("LZ201", "sise")]
    assert findings("define shade_of_day = red if flag else dark") == []


def test_doubling_defines_end_in_a_diagnostic_at_once() -> None:
    doubles = "".join(f"define d{n + 1} = d{n} + d{n}\n" for n in range(30))
    found = findings("define d0 = size\n" + doubles + "deny * when d30 == 1")
    assert [code for code, _ in found] == ["LZ003"]


def test_a_long_chain_of_defines_ends_in_a_diagnostic() -> None:
    chain = "".join(f"define d{n + 1} = (d{n} == flag) != flag\n" for n in range(400))
    found = findings("define d0 = flag\n" + chain + "deny * when d400")
    assert {code for code, _ in found} == {"LZ003"}


def test_a_define_takes_its_type_from_each_use() -> None:
    assert findings("define warm = red\ndeny base.* for paint when color == warm and shade == warm") == []

"""The dashboard as somebody on call uses it, in Chromium."""

from __future__ import annotations

from pathlib import Path

from tests.integration.dashboard.conftest import HOSTILE, Page
from tests.unit.runtime.log_bench import Logged

TAB, ENTER = "\ue004", "\ue007"
EVERY = ("now", "decisions", "policy", "experiments", "breakers", "measurements", "playground")


def test_a_decision_is_found_by_keyboard_alone_down_to_the_rule_and_its_line(page: Page) -> None:
    page.open("now")
    page.find("#sources")
    assert page.press(TAB).text == "skip to the content"
    words = [page.press(TAB).text for _ in range(8)]
    assert words[1:] == ["Now", "Decisions", "Policy", "Experiments", "Breakers", "Measurements", "Playground"]
    for link in page.browser.find_elements("css selector", "#nav a"):
        if link.text == "Decisions":
            page.run("arguments[0].focus()", link)
    page.press(ENTER)
    page.find("#last")
    for _ in range(40):
        focused = page.press(TAB)
        if focused.accessible_name == "why fast.two for work, decision 1":
            break
    page.press(ENTER)
    page.find("#provenance")
    line = page.find(".tree summary", "fast.one: denied")
    page.run("arguments[0].focus()", line)
    page.press(ENTER)
    reason = page.find(".tree .line", "denied by large: size > 5, got size = 7, at small.lzp:2:1")
    assert reason.is_displayed()


def test_why_not_says_what_would_change_it(page: Page) -> None:
    page.open("decisions/1")
    page.run("arguments[0].focus()", page.find("#why-not ~ form button"))
    page.press(ENTER)
    assert page.find("#why-not ~ .tree .line", "size = 5 instead of 7").is_displayed()


def test_what_is_decided_shows_without_a_reload(page: Page, bench: tuple[Logged, Path]) -> None:
    page.open("decisions")
    page.find("#last")
    page.run("window.same = true")
    bench[0].call(500, tenant="late")
    bench[0].opened.flush()  # type: ignore[attr-defined]
    assert page.find(".values", "tenant=late").is_displayed()
    assert page.run("return window.same") is True
    assert page.find("#live").text.startswith("live")


def test_focus_and_what_is_unfolded_outlive_an_update(page: Page, bench: tuple[Logged, Path]) -> None:
    page.open("policy")
    page.find("details summary", "its text").click()
    page.find(".numbered", "deny fast.one")
    link = page.find("summary", "what this swap changed")
    page.run("arguments[0].focus()", link)
    before = page.run("return document.querySelector('.quiet time').closest('p').textContent")
    bench[0].call(501)
    bench[0].opened.flush()  # type: ignore[attr-defined]
    page.until(lambda: page.run("return document.querySelector('.quiet time').closest('p').textContent") != before)
    assert page.find(".numbered", "deny fast.one").is_displayed()


def test_a_swap_shows_statements_and_the_calls_decided_otherwise(page: Page) -> None:
    page.open("policy")
    page.find("summary", "what this swap changed").click()
    assert page.find(".edits", "deny fast.one for work when size > 50 as large").is_displayed()
    moved = page.find(".moved").text
    assert "work: fast.two → fast.one" in moved and "when size in 6..50" in moved


def test_a_hostile_name_is_text_and_nothing_else(page: Page) -> None:
    for where in ("now", "decisions", "decisions/2", "policy", "breakers", "experiments"):
        page.open(where)
        page.find("#content h1")
        if where.startswith("decisions"):
            assert page.find(".values", HOSTILE).is_displayed()
        assert page.run("return document.querySelectorAll('#content script, #content img').length") == 0
        assert "LayerZero" in page.browser.title


def test_the_playground_finds_and_decides_as_one_types(page: Page) -> None:
    page.open("playground")
    page.find("#try")
    text = page.find("#policy")
    text.clear()
    text.send_keys("deny flash_attn.v3 for attention when head_dims == 128 as wide")
    page.find(".findings li", "error[LZ201]")
    page.find("#decision-title ~ div", "A policy with errors decides nothing.")
    page.until(lambda: page.find("#finding-0").click() or True)
    start, end = page.run("const t = document.getElementById('policy'); return [t.selectionStart, t.selectionEnd]")
    assert text.get_property("value")[start:end] == "head_dims"
    page.press("head_dim")  # into what is selected
    page.find("#try summary", "attention.decode ->")
    page.find("#findings-title ~ div", "No findings.")


def test_experiments_are_shown_with_intervals_and_guards(page: Page) -> None:
    page.open("experiments")
    assert "2 (0.500 [0.100..1.80] %)" in page.find("tr", "control").text
    assert "control: 3.00 ms, 2.80 to ; new: 5.00 ms" in page.find("figure:last-of-type svg").accessible_name
    assert page.find("meter").get_attribute("value") == "0.4"
    assert page.find(".bad", HOSTILE).is_displayed()
    page.open("now")
    page.find(".attention .bad", "arm trial.new is stopped by error_rate < 1%").find_element(
        "css selector", "a"
    ).click()
    page.find("h1", "Experiments")


def test_measurements_are_plotted_over_a_field_that_can_be_chosen(page: Page) -> None:
    page.open("measurements?operation=attention.decode&x=kv_len")
    page.find(".series circle")
    assert "over kv_len" in page.find("svg.plot").get_attribute("aria-label")
    assert page.find(".best").is_displayed()


def test_every_page_fits_a_narrow_screen_and_is_dark_where_wanted(page: Page) -> None:
    page.media(360, 740, "dark")
    for where in (*EVERY, "decisions/1"):
        page.open(where)
        page.find("#content h1")
        assert page.run("return document.documentElement.scrollWidth") <= 360, where
        assert page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(18, 22, 28)"
    page.media(1200, 800, "light")
    assert page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(247, 248, 250)"


def test_what_can_be_used_has_a_name(page: Page) -> None:
    for where in (*EVERY, "decisions/1"):
        page.open(where)
        page.find("#content h1")
        for one in page.browser.find_elements("css selector", "a, button, select, textarea, summary, [role]"):
            assert one.accessible_name or one.aria_role == "status" or not one.is_displayed(), where

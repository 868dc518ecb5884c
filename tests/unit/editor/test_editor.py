"""What an editor asks, asked of texts: completion, hover, definition and rename know nothing of the protocol."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from layerzero.editor.completion import complete
from layerzero.editor.hover import hover
from layerzero.editor.rename import rename
from layerzero.editor.workspace import View, Workspace
from layerzero.errors import ArgumentError

TODAY = date(2026, 11, 23)
COMMON = 'define long_decode = phase == decode and kv_len >= 8Ki\nfield tenant: string "who asks"\n'
POLICY = """policy "p" version 1
import "common.lzp"
lock flashinfer.decode for attention.decode when long_decode and sm >= 80 as pinned else choose
deny torch.* for attention when batch > 32 and dtype == bf16
deny torch.* for attention.decode when not kernel.graph_safe and has(tenant)
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "common.lzp").write_text(COMMON, encoding="utf-8")
    path = tmp_path / "p.lzp"
    path.write_text(POLICY, encoding="utf-8")
    return path


@pytest.fixture
def view(files: Path) -> View:
    return Workspace().view(files, TODAY)


def proposed(typed: str, view: View) -> list[str]:
    """The words proposed at the end of a text."""
    text = f"{POLICY}{typed}"
    return [proposal.word for proposal in complete(text, len(text), view.symbols)]


@pytest.mark.parametrize(
    ("typed", "first", "never"),
    [
        ("", "alias", "head_dim"),
        ("de", "define", "alias"),
        ("deny flash_attn.v", "flash_attn.v2", "flashinfer.decode"),
        ("deny flashinfer", "flashinfer.single_prefill", "for"),
        ("deny torch.* for att", "attention", "torch.flex"),
        ("deny torch.* when head", "head_dim", "head"),
        ("deny torch.* when dtype == ", "fp64", "for"),
        ("deny torch.* when dtype in {fp16, b", "bf16", "batch_of"),
        ("deny torch.* when kernel.g", "kernel.graph_safe", "head_dim"),
        ("deny torch.* when long", "long_decode", "kv_len"),
        ("lock torch.flex else ", "choose", "when"),
        ('test "t" { given h100, dtype = f', "fp64", "flash_attn.v2"),
        ('test "t" { expect torch.flex by ', "pinned", "torch.flex"),
        ("kernel a.b for attention { supports wi", "window", "when"),
    ],
)
def test_completion_knows_what_fits(typed: str, first: str, never: str, view: View) -> None:
    words = proposed(typed, view)
    assert words[0] == first
    assert never not in words


def test_nothing_is_proposed_in_a_comment_or_a_broken_statement(view: View) -> None:
    assert proposed("# deny ", view) == []
    assert proposed("deny ) when ", view) == []


def test_the_file_of_an_import_tells_of_its_words(view: View) -> None:
    shown = hover(view, view.sources[0].name, POLICY.index("long_decode") + 2, TODAY)
    assert shown is not None
    assert "define long_decode = phase == decode and kv_len >= 8Ki" in shown
    assert "common.lzp:1:8" in shown


def at(view: View, word: str) -> str:
    shown = hover(view, view.sources[0].name, POLICY.index(word) + 1, TODAY)
    assert shown is not None
    return shown


def test_hover_of_a_kernel_shows_its_facts_and_where_they_were_read(view: View) -> None:
    shown = at(view, "flashinfer.decode")
    assert "for `attention.decode`, priority" in shown
    assert "facts at policies/kernels/flashinfer.lzp" in shown
    assert "read from " in shown
    assert "- supports" in shown


def test_hover_of_a_glob_lists_its_kernels(view: View) -> None:
    shown = at(view, "torch.*")
    assert "- `torch.flex`\n" in shown
    assert shown.endswith(" more")


def test_hover_of_a_rule_says_what_would_be_without_it(view: View) -> None:
    shown = at(view, "deny torch")
    assert "deny torch.* for attention when batch > 32" in shown
    assert "without it `" in shown
    assert "for example in" in shown


def test_an_unsaved_text_is_what_counts(files: Path) -> None:
    workspace = Workspace()
    workspace.opened[files] = POLICY + "deny * when head_dims > 3\n"
    (finding,) = workspace.view(files, TODAY).findings
    assert finding.code == "LZ201"
    workspace.opened[files] = POLICY
    assert workspace.view(files, TODAY).findings == ()


def test_a_text_with_errors_still_has_symbols(files: Path) -> None:
    workspace = Workspace()
    workspace.opened[files] = POLICY + "deny * when\n"
    broken = workspace.view(files, TODAY)
    assert broken.checked.program is None
    assert at(broken, "long_decode").startswith("```lzp\ndefine long_decode")


def renamed(files: Path, word: str, name: str) -> dict[str, str]:
    """The files of the folder with a word renamed, by file name."""
    workspace = Workspace()
    symbol = workspace.view(files, TODAY).symbols.at(str(files), POLICY.index(word) + 1)
    assert symbol is not None
    texts = {str(path): path.read_text(encoding="utf-8") for path in files.parent.glob("*.lzp")}
    for span in reversed(rename(workspace.around(files, TODAY), symbol, name)):
        text = texts[span.source.name]
        texts[span.source.name] = text[: span.start] + name + text[span.end :]
    return {Path(path).name: text for path, text in texts.items()}


def test_rename_reaches_every_file_that_uses_a_word(files: Path) -> None:
    other = 'policy "o"\nimport "common.lzp"\ndeny * when long_decode\n'
    files.with_name("other.lzp").write_text(other, encoding="utf-8")
    texts = renamed(files, "long_decode", "late_decode")
    before = {"common.lzp": COMMON, "p.lzp": POLICY, "other.lzp": other}
    assert texts == {name: text.replace("long_decode", "late_decode") for name, text in before.items()}


@pytest.mark.parametrize(
    ("word", "name", "message"),
    [
        ("long_decode", "Long", "is not a name"),
        ("long_decode", "when", "no reserved word"),
        ("tenant", "batch", "there is a field `batch` already"),
        ("batch", "lot", "which other policies use too"),
    ],
)
def test_names_that_cannot_be_given(files: Path, word: str, name: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        renamed(files, word, name)

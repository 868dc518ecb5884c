"""Hostile files end in a finding within seconds and bounded memory, never in a crash or a hang."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.limits import MAX_FILE_BYTES
from layerzero.syntax.parser import parse
from layerzero.syntax.reading import decode, read_source
from layerzero.syntax.render import render
from layerzero.syntax.source import Source

HOSTILE = {
    "parentheses": ("define a = " + "(" * 100_000, "LZ003"),
    "balanced parentheses": ("define a = " + "(" * 100_000 + "x" + ")" * 100_000, "LZ003"),
    "not": ("define a = " + "not " * 100_000 + "x", "LZ003"),
    "stars": ('deny a when x like "' + "a*" * 30_000 + '"', "LZ003"),
    "minus": ("define a = " + "-" * 100_000 + "x", "LZ003"),
    "sum": ("define a = " + "+".join(["x"] * 100_000), "LZ003"),
    "choices": ("define a = " + "x if y else " * 50_000 + "x", "LZ003"),
    "one word": ("a" * 10_000_000, "LZ003"),
    "one word within the size": ("deny " + "a" * 3_000_000, "LZ003"),
    "digits": ("define a = " + "9" * 3_000_000, "LZ003"),
    "huge integer": ("define a = " + "9" * 50_000, "LZ101"),
    "open string": ('deny a because "' + "x" * 3_000_000, "LZ101"),
    "NUL": ("deny a\0", "LZ002"),
    "braces": ("kernel a.b for c " + "{" * 100_000, "LZ100"),
    "errors": ("deny $\n" * 100_000, "LZ100"),
    "errors in one block": ("kernel a.b for c {\n" + "require x == = 1\n" * 50_000, "LZ100"),
    "open blocks": ('test "x" {\n' * 100_000, "LZ100"),
    "closing braces": ("}\n" * 500_000, "LZ100"),
    "statements": ("deny a " * (MAX_FILE_BYTES // 8), "LZ003"),
    "quotes": ('"' * 1_000_000, "LZ100"),
    "unclosed class": ('define a = x like "' + "[" * 60_000 + '"', "LZ101"),
    "letters": ("é" * 1_000_000, "LZ100"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_ends_in_a_finding_within_seconds(name: str) -> None:
    text, code = HOSTILE[name]
    started = time.process_time()
    _, found = parse(Source("hostile.lzp", text))
    shown = render(found)
    assert time.process_time() - started < 30  # seconds of this process; a few on an idle machine
    assert code in {item.code for item in found}
    assert len(found) <= 100 and len(shown) < 100_000


@pytest.mark.parametrize(
    "text", ["\n" * 4_000_000, "# x\n" * 200_000, "deny a " + "# " * 1_000_000, "\ufeffdeny a\r\n"]
)
def test_large_but_sound_text_is_read(text: str) -> None:
    file, found = parse(Source("large.lzp", text))
    assert file is not None and found == []


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
def test_memory_stays_bounded() -> None:
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from layerzero.syntax.parser import parse\nfrom layerzero.syntax.source import Source\n"
        "for text in ('define a = x in {' + '1,' * 2_000_000, 'define a = ' + '(' * 100_000, 'a' * 10_000_000):\n"
        "    print([item.code for item in parse(Source('x', text))[1]])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["['LZ003']"] * 3, done.stderr


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.lzp").write_bytes(b"deny a\ndeny \xff b")
    (tmp_path / "large.lzp").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    (tmp_path / "folder.lzp").mkdir()
    codes = {}
    for name in ("bytes.lzp", "large.lzp", "folder.lzp", "missing.lzp"):
        found = read_source(tmp_path / name, name)
        assert isinstance(found, Diagnostic)
        codes[name] = (found.code, str(found.span))
    assert codes == {
        "bytes.lzp": ("LZ002", "bytes.lzp:2:6"),
        "large.lzp": ("LZ003", "large.lzp:1:1"),
        "folder.lzp": ("LZ001", "folder.lzp:1:1"),
        "missing.lzp": ("LZ001", "missing.lzp:1:1"),
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.lzp")
    found = read_source(tmp_path / "pipe.lzp")
    assert isinstance(found, Diagnostic) and found.code == "LZ001"


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"deny \xc0\xaf", b"\xed\xa0\x80", b"deny a \xf0\x9f"])
def test_bytes_that_are_not_utf8(data: bytes) -> None:
    found = decode(data, "x.lzp")
    assert isinstance(found, Diagnostic) and found.code == "LZ002"
    assert render([found])

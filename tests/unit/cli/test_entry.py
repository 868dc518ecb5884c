"""What surrounds every command: exit codes, pipes, colours, internal errors, and that nothing loads torch."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerzero.cli import entry, main
from layerzero.cli.output import style

CONTEXT = b'{"operation": "rms_norm", "dtype": "bf16", "hidden_size": 4096}\n'
DECIDES = ["decide", "--contexts", "-", "--fields", "kernel"]
COMMANDS = [
    ["check", "--fast"],
    ["check"],
    ["test"],
    ["fmt", "--check", "policies"],
    ["explain", "--given", "rms_norm", "h100", "dtype=bf16", "hidden_size=4096"],
    ["decide", "--contexts", "policies/examples/serving_contexts.jsonl", "policies/examples/serving.lzp"],
    ["decide", "--contexts", "policies/examples/serving_contexts.jsonl", "--fields", "kernel", "--installed"],
    ["table", "--given", "rms_norm", "dtype=bf16", "--over", "hidden_size=1,2"],
    ["tree", "--stats"],
    ["kernels"],
]


def lz(*arguments: str, **options: object) -> list[str]:
    return [sys.executable, "-m", "layerzero", *arguments]


@pytest.fixture(scope="module")
def filled_cache(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a second run: Lark made the tables of the grammar in the first."""
    environment = os.environ | {"LAYERZERO_CACHE": str(tmp_path_factory.mktemp("cache"))}
    subprocess.run(lz("check", "--fast"), cwd=root, env=environment, capture_output=True, check=True)
    return environment


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_policy_commands_load_neither_torch_nor_numpy(
    arguments: list[str], root: Path, filled_cache: dict[str, str]
) -> None:
    script = (
        "import sys; sys.modules['torch'] = None; sys.modules['numpy'] = None\n"
        "from layerzero.cli import main; code = main(sys.argv[1:])\n"
        "print('loaded', [m for m in ('transformers', 'lark') if m in sys.modules], file=sys.stderr)\n"
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=root, env=filled_cache, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "loaded []" in done.stderr
    assert "error" not in done.stderr.replace("have an error", "").replace("unknown field", "")


def test_a_closed_pipe_ends_quietly(root: Path) -> None:
    with subprocess.Popen(lz("explain", "--given", "rms_norm"), cwd=root, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(60)
    script = f"{sys.executable} -m layerzero kernels --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode in (0, entry.CLOSED)


def test_closed_streams_change_nothing_but_what_is_read(root: Path) -> None:
    for command, code in (
        ("check --fast >&-", 0),
        ("check --fast nowhere.lzp >&- 2>&-", 2),
        ("decide --contexts - <&-", 0),
    ):
        script = f"{sys.executable} -m layerzero {command}"
        done = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_decide_answers_each_line_before_the_next_comes(root: Path) -> None:
    with subprocess.Popen(lz(*DECIDES), cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(3):
            process.stdin.write(CONTEXT)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["kernel"] is not None
        process.stdin.close()
        assert process.wait(30) == 0


def test_control_c_ends_quietly(root: Path) -> None:
    command = lz(*DECIDES)
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(CONTEXT)
        process.stdin.flush()
        process.stdout.readline()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == entry.INTERRUPTED
        assert process.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line(root: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(lz("kernels"), cwd=root, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "no space left" in done.stderr.lower()


def test_an_old_encoding_shows_escapes(root: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(lz("explain", *COMMANDS[4][1:]), cwd=root, env=environment, capture_output=True, check=False)
    assert done.returncode == 0
    assert b"\\u251c" in done.stdout


# ---------------------------------------------------------------- in process


def test_an_internal_error_is_one_line_unless_debugging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import layerzero.cli.kernels as command

    def fail(args: object) -> int:
        raise RuntimeError("it broke")

    monkeypatch.setattr(command, "run", fail)
    assert main(["kernels"]) == 2
    said = capsys.readouterr().err
    assert (
        said == "lz kernels: error: internal error: RuntimeError: it broke; please report this (--debug shows where)\n"
    )
    with pytest.raises(RuntimeError, match="it broke"):
        main(["kernels", "--debug"])


def test_no_command_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["--help"]) == 0
    printed = capsys.readouterr()
    assert all(name in printed.out and name in printed.err for name, _ in entry.COMMANDS)
    assert main(["--version"]) == 0


@pytest.mark.parametrize("name", [name for name, _ in entry.COMMANDS])
def test_every_command_has_help_and_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    inner = re.search(r"\n  ACTION\n((?:    .*\n)+)", shown)  # `lz experiment status`, `lz experiment resume`
    for word in re.findall(r"^    ([\w-]+)", inner[1], re.MULTILINE) if inner else ():
        assert main([name, word, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "--json" in shown, word
    assert "--json" in shown or name == "lsp"  # which speaks nothing but JSON


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["chekc"], "did you mean `check`?"), (["check", "--fsat"], "did you mean `--fast`?"), (["check", "--fas"], "")],
)
def test_wrong_usage_says_what_may_be_meant(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert hint in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert style(Terminal()).bad("x") == "\033[1;31mx\033[0m"
    assert style(io.StringIO()).bad("x") == "x"
    monkeypatch.setenv("TERM", "dumb")
    assert style(Terminal()).bad("x") == "x"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert style(Terminal()).bad("x") == "x"


# ---------------------------------------------------------------- files


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.lzp").write_bytes(b'policy "caf\xe9"\n')
    (tmp_path / "nul.lzp").write_bytes(b"deny torch\0\n")
    os.mkfifo(tmp_path / "pipe.lzp")
    assert main(["check", str(tmp_path / "empty")]) == 2
    assert "no .lzp file in" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "latin.lzp")]) == 1
    assert "LZ002" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "nul.lzp")]) == 1
    assert "LZ002" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "pipe.lzp")]) == 2
    capsys.readouterr()
    assert main(["decide", str(tmp_path / "latin.lzp"), "--contexts", "-"]) == 1
    assert "LZ002" in capsys.readouterr().err
    assert main(["decide", "--contexts", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("lz decide: error: ")
    assert main(["explain", "--given", "rms_norm", "dtype=bf16", "--html", str(tmp_path / "no" / "page.html")]) == 2


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "secret.lzp"
    path.write_text('policy "p"\n')
    path.chmod(0)
    assert main(["check", str(path)]) == 2
    assert "LZ001" in capsys.readouterr().out


def test_a_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    given = ["explain", "--given", "rms_norm", "h100", "dtype=bf16", "hidden_size=4096"]
    assert main([*given, "--html", str(page)]) == 0
    assert capsys.readouterr().out == f"wrote {page}\n"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main([*given, "--html", "-"]) == 0
    assert capsys.readouterr().out == page.read_text(encoding="utf-8")


def test_formatting_keeps_links_and_modes(tmp_path: Path) -> None:
    real = tmp_path / "real.lzp"
    real.write_text("deny   torch.flex\n", encoding="utf-8")
    real.chmod(0o640)
    link = tmp_path / "link.lzp"
    link.symlink_to(real)
    assert main(["fmt", str(link)]) == 0
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == "deny torch.flex\n"
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.lzp", "real.lzp"]


def test_sarif_names_the_rule_and_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.lzp"
    path.write_text('policy "p"\ndeny flash_atn\n', encoding="utf-8")
    assert main(["check", "--sarif", str(path)]) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    (result,) = run["results"]
    assert result["ruleId"] == "LZ204"
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 2

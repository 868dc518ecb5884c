"""`lz dashboard`: where it listens, what it wants before it does, and its one-time answer."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from layerzero.cli import main
from tests.unit.dashboard.records import record, write


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def test_another_address_than_this_machine_wants_a_token() -> None:
    command = [sys.executable, "-m", "layerzero", "dashboard", "--host", "0.0.0.0", "--port", "0", "--for", "20s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r":(\d+)/login\?token=(\S{43});", process.stdout.readline())
        assert found is not None
        here = f"http://127.0.0.1:{found[1]}/api/now"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(here, timeout=10)
        asked = urllib.request.Request(here, headers={"authorization": f"Bearer {found[2]}"})
        assert json.load(urllib.request.urlopen(asked, timeout=10))["sources"] == []
        process.kill()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "65536"], "wanted a port"),
        (["--token-file", "short"], "at least 16 characters"),
        (["--policy", "none.lzp"], "no such file: none.lzp"),
        (["--measurements", "none.sqlite"], "no such database: none.sqlite"),
        (["--metrics", "file:///etc/passwd"], "wanted an address"),
        (["--catalog", "none"], "no such catalog"),
    ],
)
def test_wrong_usage_is_told_before_anything_listens(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("short").write_text("secret", encoding="utf-8")
    assert main(["dashboard", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["dashboard", "--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err


def test_the_first_page_as_json_says_by_its_exit_code_whether_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("log.jsonl"), record())
    assert main(["dashboard", "log.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"][0]["records"] == 1
    write(Path("log.jsonl"), record(kernel=None, error="no_kernel"))
    assert main(["dashboard", "log.jsonl", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["attention"][0]["text"] == "1 call of work without a kernel"

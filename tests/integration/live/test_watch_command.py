"""`lz watch` in a process of its own, while somebody edits the policy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GOOD = 'policy "p" version 1 standalone\nfield n: int in 0..99\noperation o { needs n }\nkernel k.a for o { }\n'


@contextmanager
def watching(path: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "layerzero", "watch", path.name, "--no-prelude", *arguments]
    process = subprocess.Popen(command, cwd=path.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def event(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    return json.loads(line)


def test_each_save_is_an_event(tmp_path: Path) -> None:
    path = tmp_path / "p.lzp"
    path.write_text(GOOD, encoding="utf-8")
    with watching(path, "--json") as process:
        began = event(process)
        assert (began["event"], began["path"]) == ("watching", "p.lzp")
        first = event(process)
        assert (first["event"], first["policy"]["version"], first["changes"]) == ("in_force", "1", None)

        path.write_text(GOOD.replace("version 1", "version 2") + "boost k.a by 2 for o\n", encoding="utf-8")
        second = event(process)
        assert second["epoch"] == first["epoch"] + 1
        assert [(one["kind"], one["text"], one["at"].rpartition("/")[2]) for one in second["changes"]] == [
            ("removed", 'policy "p" version 1 standalone', "p.lzp:1:1"),
            ("added", 'policy "p" version 2 standalone', "p.lzp:1:1"),
            ("added", "boost k.a by 2 for o", "p.lzp:5:1"),
        ]

        path.write_text(GOOD + "deny k.b\n", encoding="utf-8")
        refused = event(process)
        assert (refused["event"], refused["in_force"]) == ("refused", second["policy"]["digest"])
        assert [(one["code"], one["line"], one["column"]) for one in refused["findings"]] == [("LZ204", 5, 6)]

        path.unlink()
        gone = event(process)
        assert (gone["event"], gone["findings"]) == ("refused", []) and "no such file" in gone["message"]
        path.write_text(GOOD, encoding="utf-8")
        assert event(process)["policy"]["version"] == "1"


def test_a_policy_that_is_bad_from_the_start_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "p.lzp"
    path.write_text("deny k.\x1b[2Jb\n", encoding="utf-8")
    command = [sys.executable, "-m", "layerzero", "watch", "p.lzp", "--poll", "--for", "0.2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "watching p.lzp (polling)" in done.stdout
    assert "not in force, what was stays:\nerror[LZ" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    with watching(path, "--json", "--poll", "--interval", "0.05") as process:
        assert [event(process)["event"], event(process)["event"]] == ["watching", "refused"]
        path.write_text(GOOD, encoding="utf-8")
        assert event(process)["event"] == "in_force"


def test_wrong_usage_is_said_in_a_line(tmp_path: Path) -> None:
    for arguments in (["none.lzp"], ["p.lzp", "--interval", "0"]):
        command = [sys.executable, "-m", "layerzero", "watch", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) <= 2

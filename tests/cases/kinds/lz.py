"""```lz check policy.lzp: runs the command in a folder that holds the inputs whose names have a dot; `stdin` is an
input of that name. Shows what it prints, lines of standard error after `! `, and the exit code where it is not 0."""

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from layerzero.cli import main

DIGEST = re.compile(r"\b[0-9a-f]{12,64}\b")


def run(inputs: Mapping[str, str], arguments: Sequence[str]) -> str:
    printed, said = io.StringIO(), io.StringIO()
    with _folder(inputs), _input(inputs.get("stdin", "")):
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            code = main(shlex.split(" ".join(arguments)))
    assert "internal error" not in said.getvalue(), said.getvalue()  # never what a case expects
    lines = [*printed.getvalue().splitlines(), *(f"! {line}" for line in said.getvalue().splitlines())]
    return "\n".join(DIGEST.sub("DIGEST", line) for line in [*lines, *([f"exit {code}"] if code else [])])


@contextlib.contextmanager
def _folder(inputs: Mapping[str, str]) -> Iterator[None]:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        for name, text in inputs.items():
            if "." in name:
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


@contextlib.contextmanager
def _input(text: str) -> Iterator[None]:
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8")
    try:
        yield
    finally:
        sys.stdin = before

"""Markdown -> cases. README.md beside this file describes the format."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
INPUTS = ("lzp", "json", "jsonl", "yaml", "text")
_BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```[ \t]*$", re.M | re.S)
_HEADING = re.compile(r"^#+[ \t]+(.+)$", re.M)

Kind = Callable[[Mapping[str, str], Sequence[str]], str]


@dataclass(frozen=True)
class Expected:
    """One expected block: what to run on which inputs, and where its text stands in the file."""

    kind: str
    arguments: tuple[str, ...]
    inputs: dict[str, str]
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Case:
    """One section of a file."""

    path: Path
    title: str
    expected: tuple[Expected, ...]

    @property
    def label(self) -> str:
        return f"{self.path.relative_to(FOLDER).with_suffix('')}: {self.title}"


def cases() -> list[Case]:
    """Every case of every file, in order."""
    return [case for path in sorted(FOLDER.rglob("*.md")) if path.name != "README.md" for case in cases_of(path)]


def cases_of(path: Path) -> list[Case]:
    """The sections of one file that hold blocks."""
    text = path.read_text(encoding="utf-8")
    fenced = [block.span() for block in _BLOCK.finditer(text)]
    headings = [
        heading
        for heading in _HEADING.finditer(text)
        if not any(start <= heading.start() < end for start, end in fenced)
    ]
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    found = []
    for heading, end in zip(headings, ends, strict=True):
        case = _case(path, text, heading.group(1).strip(), heading.end(), end)
        if case is not None:
            found.append(case)
    return found


def _case(path: Path, text: str, title: str, start: int, end: int) -> Case | None:
    inputs: dict[str, str] = {}
    expected: list[Expected] = []
    blocks = list(_BLOCK.finditer(text, start, end))
    for block in blocks:
        words = block.group(1).split()
        if not words:
            raise ValueError(f"{path.name}: a block of `{title}` does not say what it is")
        if words[0] in INPUTS:
            inputs[words[-1]] = block.group(2)
        else:
            expected.append(Expected(words[0], tuple(words[1:]), dict(inputs), block.group(2), *block.span(2)))
    if blocks and not expected:
        raise ValueError(f"{path.name}: `{title}` expects nothing")
    return Case(path, title, tuple(expected)) if expected else None


def outcome(expected: Expected) -> str:
    """What the kind makes of the inputs, ending in one line end."""
    text = kind(expected.kind)(expected.inputs, expected.arguments)
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    return "".join(f"{line}\n" for line in lines)


@cache
def kind(name: str) -> Kind:
    """The function of `kinds/NAME.py`."""
    path = FOLDER / "kinds" / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in path.parent.glob("*.py")))
        raise ValueError(f"`{name}` is neither an input ({', '.join(INPUTS)}) nor a kind ({known})")
    spec = importlib.util.spec_from_file_location(f"case_kind_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run: Kind = module.run
    return run


def rewrite(case: Case) -> None:
    """Put what came out into the file, the last block first so that the places before it stay right."""
    text = case.path.read_text(encoding="utf-8")
    current = next(one for one in cases_of(case.path) if one.title == case.title)
    for expected in reversed(current.expected):
        text = text[: expected.start] + outcome(expected) + text[expected.end :]
    case.path.write_text(text, encoding="utf-8")

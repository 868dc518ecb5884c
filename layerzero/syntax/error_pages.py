"""The table of codes and what code_pages.py says of each -> docs/errors/, one page for a code and an index.

`python -m layerzero.syntax.error_pages docs/errors` writes them; a test holds the folder equal to the data.
"""

from __future__ import annotations

import sys
from pathlib import Path

from layerzero.syntax.code_pages import PAGES
from layerzero.syntax.codes import CODES, Code

_NOTE = (
    "<!-- written by `python -m layerzero.syntax.error_pages docs/errors`; change layerzero/syntax/code_pages.py -->"
)


def pages() -> dict[str, str]:
    """File name -> text, for every code and the index."""
    made = {f"{code.code}.md": page(code) for code in CODES.values()}
    return {"index.md": _index(), **made}


def page(code: Code) -> str:
    """The page of one code, as Markdown; `lz check --explain CODE` prints the same."""
    known = PAGES.get(code.code)
    parts = [f"# {code.code}: {code.name.replace('_', ' ')}", f"{code.severity.capitalize()}: {code.summary}."]
    if known is not None:
        parts.append(known.why)
        if known.wrong:
            parts.append(f"Avoid:\n\n```{_fence(code, wrong=True)}\n{known.wrong}\n```")
        if known.right:
            parts.append(f"Write:\n\n```{_fence(code, wrong=False)}\n{known.right}\n```")
    parts.append(_NOTE)
    return "\n\n".join(parts) + "\n"


_NEEDS_FILES = ("LZ004", "LZ005", "LZ007")
_NEEDS_SEARCH = ("LZ4", "LZ5", "LZ6")  # found by the analyses and lints, which are tested with cases of their own


def _fence(code: Code, wrong: bool) -> str:
    """How an example is marked, for the test that runs the examples of the docs."""
    notation = PAGES[code.code].notation
    if notation != "lzp":
        return notation
    if code.code in _NEEDS_FILES or (wrong and code.code.startswith(_NEEDS_SEARCH)):
        return "text"
    return f"lzp error={code.code}" if wrong else "lzp"


def _index() -> str:
    rows = [f"| [{code.code}]({code.code}.md) | {code.severity} | {code.summary} |" for code in CODES.values()]
    head = "Every finding has a code whose meaning never changes."
    return "\n".join(["# Findings", "", head, "", "| code | | it says that |", "|---|---|---|", *rows, "", _NOTE, ""])


def write(folder: Path) -> list[Path]:
    """Write the pages that differ; the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in pages().items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m layerzero.syntax.error_pages FOLDER")
    for changed in write(Path(sys.argv[1])):
        print(changed)

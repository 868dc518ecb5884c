"""docs/ as people read it in the repository -> what MkDocs understands; nothing in the pages is written for the site.

- The order of the pages: first those of ORDER, then the others by name, and no page is left out.
- ```` ```lzp file=prod.lzp ```` -> the same with `prod.lzp` as its title; other options are for the tests.
- A link to a file outside docs/ (`../benchmarks/scale.py`) -> a copy of that file in the site, under `files/`.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ORDER = (
    *("index.md", "tutorial.md", "language", "cli.md", "commands", "operations", "deployment.md", "integrations.md"),
    *("adding-a-backend.md", "api", "architecture.md", "decisions", "benchmarks.md", "verified", "errors"),
)
FENCE = re.compile(r"^```(\w+) +([^\n`]+)$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(\.\.?/[^)#\s]+)(?=[)#])")
OUTSIDE = "files"

log = logging.getLogger("mkdocs.hooks.layerzero")


def on_config(config: Any) -> Any:
    config.nav = _folder(Path(config.docs_dir), "")
    return config


def _folder(docs: Path, inside: str) -> list[Any]:
    found: list[Any] = []
    for path in sorted((docs / inside).iterdir(), key=_place):
        name = posixpath.join(inside, path.name)
        if path.is_dir():
            pages = _folder(docs, name)
            if pages:
                found.append({_title(docs / pages[0]) if isinstance(pages[0], str) else path.name: pages})
        elif path.suffix == ".md":
            found.append(name)
    return found


def _place(path: Path) -> tuple[int, int, str]:
    first = path.name not in ("README.md", "index.md")
    return (first, ORDER.index(path.name) if path.name in ORDER else len(ORDER), path.name)


def _title(page: Path) -> str:
    heading = page.read_text(encoding="utf-8").partition("\n")[0]
    return heading.removeprefix("# ").replace("`", "")


def on_files(files: Files, config: Any) -> Files:
    """The files outside docs/ that some page leads to, each with its own content."""
    for page in files.documentation_pages():
        for link in LINK.findall(page.content_string):
            target = _outside(link, page, config)
            if target is None:
                continue
            uri = f"{OUTSIDE}/{target.relative_to(_root(config)).as_posix()}"
            if not target.is_file():
                log.warning("%s leads to `%s`, and there is no such file", page.src_uri, link)
            elif files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    def moved(found: re.Match[str]) -> str:
        target = _outside(found[1], page.file, config)
        if target is None:
            return found[1]
        up = posixpath.relpath(".", posixpath.dirname(page.file.src_uri) or ".")
        return posixpath.join(up, OUTSIDE, target.relative_to(_root(config)).as_posix())

    return FENCE.sub(_fence, LINK.sub(moved, markdown))


def _fence(found: re.Match[str]) -> str:
    options = dict(option.partition("=")[::2] for option in found[2].split())
    return f"```{found[1]}" + (f' title="{options["file"]}"' if "file" in options else "")


def _root(config: Any) -> Path:
    return Path(config.docs_dir).parent


def _outside(link: str, page: File, config: Any) -> Path | None:
    """The file that a link of a page leads to, if that is not in docs/."""
    target = Path(os.path.normpath(Path(config.docs_dir, page.src_uri).parent / link))
    return None if target.is_relative_to(config.docs_dir) else target

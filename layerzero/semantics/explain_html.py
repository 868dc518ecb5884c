"""The provenance tree -> one HTML page that needs nothing else: no script, no font, no request."""

from __future__ import annotations

from html import escape

from layerzero.check.program import Program
from layerzero.semantics.explanation import Branch, provenance
from layerzero.semantics.proof import Proof

_STYLE = """
:root { color-scheme: light dark; --good: #1a7f37; --bad: #b42318; --warn: #8a5a00; --quiet: #68707a; }
@media (prefers-color-scheme: dark) { :root { --good: #57d37a; --bad: #ff8b80; --warn: #e8b64c; --quiet: #98a2ad; } }
body { font: 15px/1.5 ui-monospace, monospace; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.2rem; overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding-left: 1.4rem; }
li, summary { overflow-wrap: anywhere; white-space: pre-wrap; }
summary { cursor: pointer; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .quiet { color: var(--quiet); }
"""


def explain_html(program: Program, proof: Proof) -> str:
    """The whole tree as a self-contained page; every text of policy and context is escaped."""
    tree = provenance(program, proof)
    title = _text(tree.text)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1 class="{tree.tone}">{title}</h1>\n{_list(tree.children)}\n</body>\n</html>\n'
    )


def _list(branches: tuple[Branch, ...]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{_branch(branch)}</li>" for branch in branches) + "\n</ul>"


def _branch(branch: Branch) -> str:
    text = f'<span class="{branch.tone}">{_text(branch.text)}</span>'
    if not branch.children:
        return text
    opened = "" if branch.folded else " open"
    return f"<details{opened}><summary>{text}</summary>{_list(branch.children)}</details>"


def _text(text: str) -> str:
    """Escaped, and without the control characters and lone surrogates that HTML and UTF-8 do not hold."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return escape(shown, quote=True)

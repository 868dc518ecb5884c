"""A YAML text -> the statements that it stands for: sections of a policy, or the rules of a dispatch configuration."""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.notations import rules
from layerzero.notations.models import DISPATCH_SECTION, HEADER, POLICY_SECTIONS, VERSIONS, Choice, Entry
from layerzero.notations.shape import fit, is_meant, kind_of, unknown_key
from layerzero.notations.words import Words
from layerzero.notations.yaml_tree import Mapping, Scalar, Sequence, Tree, read_tree
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.limits import MAX_DIAGNOSTICS
from layerzero.syntax.source import Source, Span

_KNOWN = (*HEADER, *POLICY_SECTIONS, DISPATCH_SECTION)
_SHAPE = "with `version` and some of `locks`, `allows`, `denies`, `boosts`, or with `rules`"


def read_document(source: Source, words: Words) -> tuple[nodes.File | None, list[Diagnostic]]:
    """The statements of one file and its findings, in the order of the text."""
    tree, found = read_tree(source)
    if tree is None and not found:
        found = [Diagnostic("LZ109", "the file is empty", Span(source, 0, 0), help=f"a policy is a mapping {_SHAPE}")]
    if tree is None:
        return None, found
    document = _Document(words, found)
    statements = document.read(tree)
    once = {(finding.span.start, finding.code, finding.message): finding for finding in found}
    whole = Span(source, 0, len(source.text))
    file = nodes.File(tuple(statements), tuple(_comments(source, tree)), span=whole)
    return file, [once[key] for key in sorted(once)][:MAX_DIAGNOSTICS]


class _Document:
    def __init__(self, words: Words, found: list[Diagnostic]) -> None:
        self._words = words
        self._found = found

    def read(self, tree: Tree) -> list[nodes.Statement]:
        if not isinstance(tree, Mapping):
            self._say("LZ109", f"a policy is a mapping, this is {kind_of(tree)}", tree.span, _SHAPE)
            return []
        if not self._is_policy(tree):
            place = next((key.inner for key in tree.keys.values()), tree.span)
            self._say("LZ107", "this file is no policy", place, f"a policy is a mapping {_SHAPE}")
            return []
        for name, key in tree.keys.items():
            if name not in _KNOWN:
                self._found.append(unknown_key(key, _KNOWN, "a policy"))
        self._version(tree)
        self._one_kind(tree)
        statements: list[nodes.Statement] = list(self._header(tree))
        for name in tree.items:
            if name in POLICY_SECTIONS:
                statements.extend(self._section(tree, name))
            elif name == DISPATCH_SECTION:
                statements.extend(self._choices(tree))
        return statements

    def _say(self, code: str, message: str, span: Span, help: str = "", also: tuple[Label, ...] = ()) -> None:
        self._found.append(Diagnostic(code, message, span, help=help, labels=also))

    def _is_policy(self, tree: Mapping) -> bool:
        """Whether any key is one of a policy, or nearly."""
        return any(name in _KNOWN or is_meant(name, _KNOWN) for name in tree.keys)

    def _version(self, tree: Mapping) -> None:
        item = tree.items.get("version")
        if item is None:
            return
        if not isinstance(item, Scalar) or item.text not in VERSIONS:
            shown = f"`{item.text}`" if isinstance(item, Scalar) else kind_of(item)
            span = item.span if item.span.end > item.span.start else tree.keys["version"].span
            self._say("LZ109", f"the version of the notation is 1.0, not {shown}", span, 'write version: "1.0"')

    def _one_kind(self, tree: Mapping) -> None:
        sections = [name for name in tree.items if name in POLICY_SECTIONS]
        if sections and DISPATCH_SECTION in tree.items:
            also = (Label(tree.keys[sections[0]].span, "of a policy"),)
            message = f"`{DISPATCH_SECTION}` and `{sections[0]}` do not go together"
            self._say("LZ109", message, tree.keys[DISPATCH_SECTION].span, "make two files of it", also)

    def _header(self, tree: Mapping) -> Iterator[nodes.Policy]:
        item = tree.items.get("name")
        if item is None:
            return
        if isinstance(item, Scalar) and isinstance(item.value, str) and item.text.strip():
            yield nodes.Policy(nodes.Text(item.text, span=item.span), span=item.span)
        else:
            span = item.span if item.span.end > item.span.start else tree.keys["name"].span
            self._say("LZ109", f"a policy's name is a text, this is {kind_of(item)}", span)

    def _entries(self, tree: Mapping, section: str) -> list[Tree]:
        item = tree.items[section]
        if isinstance(item, Sequence):
            return item.items
        span = item.span if item.span.end > item.span.start else tree.keys[section].span
        help = "each entry begins with `- `; for none write []"
        self._say("LZ109", f"`{section}` is a list, this is {kind_of(item)}", span, help)
        return []

    def _section(self, tree: Mapping, section: str) -> Iterator[nodes.Rule]:
        kind, model = POLICY_SECTIONS[section]
        for entry in self._entries(tree, section):
            fitting = self._fit(model, entry, f"{'an' if kind == 'allow' else 'a'} {kind}")
            rule = None if fitting is None else rules.preference(kind, fitting, self._words, self._found.append)
            if rule is not None:
                yield rule

    def _choices(self, tree: Mapping) -> Iterator[nodes.Rule]:
        entries = self._entries(tree, DISPATCH_SECTION)
        for index, entry in enumerate(entries):
            fitting = self._fit(Choice, entry, "a rule")
            rank = len(entries) - index
            rule = None if fitting is None else rules.choice(fitting, rank, self._words, self._found.append)
            if rule is not None:
                yield rule

    def _fit(self, model: type[Entry], entry: Tree, what: str) -> Mapping | None:
        fitting, findings = fit(model, entry, what)
        self._found.extend(findings)
        return fitting


# ---------------------------------------------------------------- comments


def _comments(source: Source, tree: Tree) -> Iterator[nodes.Comment]:
    """What stands after `#` between the scalars, for `lz convert`."""
    text, at = source.text, 0
    for start, end in [*sorted(_scalars(tree)), (len(text), len(text))]:
        while (sign := text.find("#", at, start)) >= 0:
            stop = min((found for mark in "\r\n" if (found := text.find(mark, sign)) >= 0), default=len(text))
            if sign and not text[sign - 1].isspace():  # a part of an anchor's name
                at = sign + 1
                continue
            line = text[text.rfind("\n", 0, sign) + 1 : sign]
            written = text[sign:stop].rstrip()
            yield nodes.Comment(written, bool(line.strip()), span=Span(source, sign, sign + len(written)))
            at = stop
        at = max(at, end)


def _scalars(tree: Tree) -> Iterator[tuple[int, int]]:
    waiting, seen = [tree], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:  # an alias
            continue
        seen.add(id(one))
        match one:
            case Scalar():
                yield one.span.start, one.span.end
            case Sequence():
                waiting.extend(one.items)
            case Mapping():
                waiting.extend(one.keys.values())
                waiting.extend(one.items.values())

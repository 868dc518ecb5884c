"""Text -> a tree of mappings, lists and scalars that know where they stand; or what is wrong with the YAML.

The reader takes the plain part of YAML 1.2: tags, merge keys and further documents are refused, and what aliases stand
for counts in full, so that no small file is a large one. Only `true` and `false` are bools; `yes`, `on`, `010` and
`12:30` stay what they look like.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn, assert_never

import yaml

from layerzero.notations.limits import MAX_BYTES, MAX_DEPTH, MAX_ENTRIES
from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.source import Source, Span

_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9]+)?([eE][-+]?[0-9]+)?(Ki|Mi|Gi)?")
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(frozen=True)
class Scalar:
    """`"sm >= 80"`; `quoted` where quotes or a block sign make it a text whatever it looks like."""

    text: str
    quoted: bool
    span: Span

    @property
    def value(self) -> Any:
        """None, a bool, an int or float (as near as Python's, for its type), or the text."""
        if self.quoted:
            return self.text
        if self.text in _NULLS:
            return None
        if self.text in _BOOLS:
            return _BOOLS[self.text]
        if self.is_number:
            digits = self.text.rstrip("KMGi").replace("_", "")
            return int(digits) if digits.lstrip("+-").isdigit() and len(digits) < 40 else float(digits)
        return self.text

    @property
    def is_number(self) -> bool:
        return not self.quoted and _NUMBER.fullmatch(self.text) is not None

    @property
    def inner(self) -> Span:
        """The place without quotes."""
        written = self.span.source.text[self.span.start : self.span.end]
        if len(written) >= 2 and written[0] in "'\"" and written[-1] == written[0]:
            return Span(self.span.source, self.span.start + 1, self.span.end - 1)
        return self.span


@dataclass
class Mapping:
    """`operation: "attention.*"` ...; `keys` and `items` have the same names in the order written."""

    span: Span
    keys: dict[str, Scalar] = field(default_factory=dict)
    items: dict[str, Tree] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()  # keys that were wrong

    @property
    def value(self) -> dict[str, Any]:
        return {name: item.value for name, item in self.items.items()}

    def without(self, names: Collection[str]) -> Mapping:
        """The same without some of its keys."""
        keys = {name: key for name, key in self.keys.items() if name not in names}
        return Mapping(self.span, keys, {name: self.items[name] for name in keys}, frozenset(names))


@dataclass
class Sequence:
    """`- a` ... or `[a, b]`"""

    span: Span
    items: list[Tree] = field(default_factory=list)

    @property
    def value(self) -> list[Any]:
        return [item.value for item in self.items]


Tree = Scalar | Mapping | Sequence


def read_tree(source: Source) -> tuple[Tree | None, list[Diagnostic]]:
    """The one document of a text. The tree is None where the text is no YAML, empty, or beyond a limit."""
    refused = _refuse(source)
    if refused is not None:
        return None, [refused]
    # libyaml is 15 times as fast. Where it finds a fault, PyYAML's own parser has the last word, so that messages do
    # not depend on how PyYAML was built.
    for loader in (getattr(yaml, "CSafeLoader", None), yaml.SafeLoader):
        reader = _Reader(source)
        try:
            if loader is not None:
                return reader.read(yaml.parse(_without_mark(source.text), Loader=loader)), reader.findings
        except _Stop as stop:
            return None, [*reader.findings, stop.finding]
        except yaml.YAMLError as error:
            if loader is yaml.SafeLoader:
                return None, [*reader.findings, _fault(source, error)]
    raise AssertionError("the last loader returns")


def _refuse(source: Source) -> Diagnostic | None:
    text = source.text
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES // 1024**2} MiB, the limit for YAML"
        return Diagnostic("LZ003", message, Span(source, 0, 0), help="write it as `.lzp`, which also takes less room")
    for at, character in enumerate(text):
        if character == "\0":
            return Diagnostic("LZ002", "the text holds a NUL character", Span(source, at, at + 1), help="remove it")
        if "\ud800" <= character <= "\udfff":
            return Diagnostic("LZ002", "the text holds half of a character", Span(source, at, at + 1))
    return None


class _Stop(Exception):  # noqa: N818 - ends the reading, is no error of the program
    def __init__(self, finding: Diagnostic) -> None:
        self.finding = finding


class _Reader:
    """Builds the tree from the parser's events, without recursion."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.findings: list[Diagnostic] = []
        self._open: list[tuple[Mapping | Sequence, Scalar | None]] = []  # with the key that waits for its value
        self._root: Tree | None = None
        self._entries = 0
        self._anchors: dict[str, Tree] = {}
        self._depths: dict[int, int] = {}  # id of a tree -> lists and mappings inside each other
        self._shift = len(source.text) - len(_without_mark(source.text))

    def read(self, events: Iterable[Any]) -> Tree | None:
        # Event by event: what nests too deep ends the reading before the parser has seen all of it.
        documents = 0
        for event in events:
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        self._stop("LZ105", "a policy is one YAML document", event, "split the file at `---`")
                case yaml.AliasEvent():
                    self._put(self._aliased(event))
                case yaml.ScalarEvent():
                    quoted = event.style not in (None, "")
                    self._put(self._noted(event, Scalar(event.value, quoted, self._span(event))))
                case yaml.MappingStartEvent():
                    self._begin(event, Mapping(self._span(event)))
                case yaml.SequenceStartEvent():
                    self._begin(event, Sequence(self._span(event)))
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._end(event)
                case _:
                    pass
        return self._root

    def _begin(self, event: Any, tree: Mapping | Sequence) -> None:
        self._put(self._noted(event, tree))
        if len(self._open) >= MAX_DEPTH:
            self._stop("LZ003", f"lists and mappings nest deeper than {MAX_DEPTH}", event)
        self._open.append((tree, None))

    def _end(self, event: Any) -> None:
        tree, key = self._open.pop()
        if isinstance(tree, Mapping) and key is not None:
            tree.items[key.text] = Scalar("", False, key.span)
        last: Tree | None = None
        if isinstance(tree, Mapping) and tree.items:
            last = list(tree.items.values())[-1]
        elif isinstance(tree, Sequence) and tree.items:
            last = tree.items[-1]
        # The parser ends a block where the next one begins; what people see ends with its last value.
        end = event.end_mark.index + self._shift
        written = self.source.text[tree.span.start : tree.span.start + 1]
        if written not in "{[" and last is not None:
            end = last.span.end
        tree.span = Span(self.source, tree.span.start, max(end, tree.span.start))
        inside = tree.items.values() if isinstance(tree, Mapping) else tree.items
        self._depths[id(tree)] = 1 + max((self._depth(item) for item in inside), default=0)

    def _put(self, tree: Tree) -> None:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            limit = Diagnostic("LZ003", f"the file has more than {MAX_ENTRIES} keys and values", tree.span)
            raise _Stop(limit)
        if not self._open:
            self._root = tree
            return
        parent, key = self._open[-1]
        match parent:
            case Sequence():
                parent.items.append(tree)
            case Mapping() if key is None:
                self._open[-1] = (parent, self._key(parent, tree))
            case Mapping():
                assert key is not None
                parent.items.setdefault(key.text, tree)
                self._open[-1] = (parent, None)
            case other:
                assert_never(other)

    def _key(self, parent: Mapping, tree: Tree) -> Scalar:
        if not isinstance(tree, Scalar):
            raise _Stop(Diagnostic("LZ109", "a key is a word, not a list or mapping", tree.span))
        if tree.text in parent.keys:
            first = parent.keys[tree.text]
            message = f"the key `{tree.text}` stands twice"
            also = (Label(first.span, "first here"),)
            self.findings.append(
                Diagnostic("LZ108", message, tree.span, "again here", "each key counts once; remove one", also)
            )
        parent.keys.setdefault(tree.text, tree)
        return tree

    def _noted(self, event: Any, tree: Tree) -> Tree:
        """The tree, kept under its anchor; a tag is reported, and what it stands on is read."""
        if event.anchor is not None:
            self._anchors[event.anchor] = tree
        if event.tag is not None:
            self.findings.append(
                Diagnostic("LZ105", f"the tag `{event.tag}` is not read", self._span(event), help="remove it")
            )
        return tree

    def _aliased(self, event: Any) -> Tree:
        """What an alias stands for, counted as if it were written here."""
        tree = self._anchors.get(event.anchor)
        if tree is None:
            self._stop("LZ104", f"nothing above is called `&{event.anchor}`", event)
        elif any(tree is one for one, _ in self._open):
            self._stop("LZ105", f"`*{event.anchor}` stands inside of what it means", event)
        elif len(self._open) + self._depth(tree) > MAX_DEPTH:
            self._stop("LZ003", f"lists and mappings nest deeper than {MAX_DEPTH}", event)
        self._entries += _size(tree, MAX_ENTRIES - self._entries)
        return tree

    def _depth(self, tree: Tree) -> int:
        return self._depths.get(id(tree), 0)

    def _stop(self, code: str, message: str, event: Any, help: str = "") -> NoReturn:
        span = self._span(event)
        raise _Stop(Diagnostic(code, message, Span(self.source, span.start, min(span.start + 3, span.end)), help=help))

    def _span(self, event: Any) -> Span:
        """Where an event stands; a block scalar without the empty lines behind it."""
        start, end = event.start_mark.index + self._shift, event.end_mark.index + self._shift
        text = self.source.text
        while end > start and text[end - 1] in " \t\r\n":
            end -= 1
        return Span(self.source, start, end)


def _without_mark(text: str) -> str:
    """Without a byte order mark, which the parsers count differently."""
    return text.removeprefix("\ufeff")


def _size(tree: Tree, most: int) -> int:
    """The keys and values in a tree, aliases in full; counting ends soon after `most`."""
    count, waiting = 0, [tree]
    while waiting and count <= most:
        one = waiting.pop()
        count += 1
        if isinstance(one, Mapping):
            count += len(one.keys)
            waiting.extend(one.items.values())
        elif isinstance(one, Sequence):
            waiting.extend(one.items)
    return count


def _fault(source: Source, error: yaml.YAMLError) -> Diagnostic:
    if isinstance(error, yaml.MarkedYAMLError):
        return _syntax(source, error)
    at = getattr(error, "position", 0) + len(source.text) - len(_without_mark(source.text))
    character = getattr(error, "character", 0)
    message = f"the character U+{character:04X} may not stand in YAML"
    return Diagnostic("LZ104", message, Span(source, at, min(at + 1, len(source.text))), help="remove it")


def _syntax(source: Source, error: yaml.MarkedYAMLError) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    shift = len(source.text) - len(_without_mark(source.text))
    at = min(mark.index + shift if mark is not None else 0, len(source.text))
    problem = error.problem or "this is not YAML"
    message, help = problem, ""
    for part, ours, way_out in _MESSAGES:
        if part in problem:
            message, help = ours, way_out
            break
    labels: tuple[Label, ...] = ()
    if error.context_mark is not None and error.context_mark.index + shift != at and error.context:
        began = Span(source, error.context_mark.index + shift, error.context_mark.index + shift + 1)
        labels = (Label(began, next((ours for part, ours in _CONTEXTS if part in error.context), error.context)),)
    return Diagnostic("LZ104", message, Span(source, at, min(at + 1, len(source.text))), help=help, labels=labels)


_CONTEXTS = (
    ("flow sequence", "the list begins here"),
    ("flow mapping", "the mapping begins here"),
    ("quoted scalar", "the quotes open here"),
    ("block", "the block begins here"),
    ("simple key", "the key"),
)
_MESSAGES = (
    ("found character '\\t'", "a tab cannot indent YAML", "indent with blanks"),
    ("mapping values are not allowed", "a second `:` in one line", "put the text in quotes"),
    ("found unexpected end of stream", "the text ends inside quotes", "close the quotes"),
    ("expected <block end>", "this line does not belong to the block above it", "align it with the lines around it"),
    ("could not find expected ':'", "a key without `:`", "write `key: value`"),
    ("found unknown escape character", "an unknown escape", "in double quotes write `\\\\` for a backslash"),
    ("expected ',' or ']'", "the list is not closed here", "write `,` or `]`"),
    ("expected ',' or '}'", "the mapping is not closed here", "write `,` or `}`"),
    ("that cannot start any token", "a plain text cannot begin with this character", "put the text in quotes"),
)

"""A mapping of the tree against its model: findings at the keys and values that are wrong, and what is left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from pydantic import BaseModel, ValidationError

from layerzero.notations.yaml_tree import Mapping, Scalar, Sequence, Tree
from layerzero.syntax.diagnostics import Diagnostic
from layerzero.syntax.source import Span
from layerzero.syntax.suggest import did_you_mean, suggest

_KINDS: dict[type, str] = {bool: "a bool", int: "an int", float: "a number", str: "a text"}

# Keys that people write for another, too far from it to be taken for a slip.
MEANT = {"deny": "denies", "kernel": "backend", "kernels": "backends", "backend": "kernel", "when": "condition"}
MEANT |= {"if": "condition", "op": "operator", "factor": "boost_factor", "boost": "boost_factor", "reason": "because"}


def fit(model: type[BaseModel], tree: Tree, what: str) -> tuple[Mapping | None, list[Diagnostic]]:
    """The entry without the keys that are wrong, and a finding for each of them; None where it is no mapping.

    Args:
        model: From models.py.
        tree: What stands in the file.
        what: What the entry is, for messages: "a lock".
    """
    if not isinstance(tree, Mapping):
        keys = ", ".join(f"`{key}`" for key in _keys(model))
        message = f"{what} is a mapping, this is {kind_of(tree)}"
        return None, [Diagnostic("LZ109", message, tree.span, help=f"with {keys}")]
    try:
        model.model_validate(tree.value)
    except ValidationError as error:
        found = dict(_findings(model, tree, what, error))
        return tree.without(found), list(found.values())
    return tree, []


def is_meant(word: str, names: Collection[str]) -> bool:
    """Whether a key that has no meaning was probably to be one of these."""
    return MEANT.get(word) in names or bool(suggest(word, names))


def unknown_key(key: Scalar, known: Iterable[str], where: str) -> Diagnostic:
    """A misspelt key must never be ignored: without its condition a rule would match everything."""
    names = list(known)
    meant = MEANT.get(key.text)
    near = f"did you mean `{meant}`?" if meant in names else did_you_mean(key.text, names)
    help = near or f"known: {', '.join(f'`{name}`' for name in names)}"
    return Diagnostic("LZ106", f"unknown key `{key.text}` of {where}", key.inner, help=help)


def wrong(tree: Tree, key: str, wanted: str, otherwise: Span) -> Diagnostic:
    """`batch: [1]` where a number is wanted; `otherwise` is the place where the value is empty."""
    return Diagnostic("LZ109", f"`{key}` wants {wanted}; this is {kind_of(tree)}", _visible(tree, otherwise))


def kind_of(tree: Tree) -> str:
    """`an int`, `nothing`, `an empty list`: what stands there, as a reader calls it."""
    if not isinstance(tree, Scalar):
        kind = "list" if isinstance(tree, Sequence) else "mapping"
        return f"a {kind}" if tree.items else f"an empty {kind}"
    value = tree.value
    if value is None:
        return "nothing"
    return _KINDS[type(value)] if str(value).strip() else "an empty text"


def _findings(
    model: type[BaseModel], tree: Mapping, what: str, error: ValidationError
) -> Iterator[tuple[str, Diagnostic]]:
    said: set[str] = set()
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        key = str(problem["loc"][0])
        if key in said:  # a value that may have several types fails once for each
            continue
        said.add(key)
        if problem["type"] == "extra_forbidden":
            yield key, unknown_key(tree.keys[key], _keys(model), what)
        elif problem["type"] == "missing":
            if any(is_meant(unknown, [key]) for unknown in tree.keys if unknown not in _keys(model)):
                continue  # it is there, misspelt
            yield key, missing_key(tree, key, _wanted(model, key), what)
        else:
            yield key, _wrong_value(tree, key, _wanted(model, key), problem["loc"][1:])


def missing_key(tree: Mapping, key: str, wanted: str, what: str) -> Diagnostic:
    """At the first key of the entry, which is what people take for it."""
    first = next(iter(tree.keys.values()), None)
    return Diagnostic(
        "LZ107", f"{what} has no `{key}`", tree.span if first is None else first.span, help=f"wanted: {wanted}"
    )


def _wrong_value(tree: Mapping, key: str, wanted: str, inside: tuple[str | int, ...]) -> Diagnostic:
    item = tree.items[key]
    index = next((part for part in inside if isinstance(part, int)), None)
    if isinstance(item, Sequence) and index is not None and index < len(item.items):
        element = item.items[index]
        return Diagnostic("LZ109", f"`{key}` wants {wanted}; {kind_of(element)} is in it", _visible(element, item.span))
    return wrong(item, key, wanted, tree.keys[key].span)


def _visible(tree: Tree, otherwise: Span) -> Span:
    """Where nothing is written there is nothing to point at."""
    return tree.span if tree.span.end > tree.span.start else otherwise


def _keys(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _wanted(model: type[BaseModel], key: str) -> str:
    return next(str(info.description) for name, info in model.model_fields.items() if key == (info.alias or name))

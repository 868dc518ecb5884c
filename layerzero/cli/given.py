"""`--given` items -> one context: `attention.decode h100 llama batch=8 kv_len=32Ki`, later ones over earlier ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from layerzero.check.expressions import Type, Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ContextError
from layerzero.semantics.context import read_context, read_scope, read_value
from layerzero.syntax.suggest import did_you_mean

Given = dict[str, object]

_WHOLE = re.compile(r"([+-]?\d[\d_]*)(Ki|Mi|Gi)?")
_NUMBER = re.compile(r"[+-]?\d[\d_]*(\.\d[\d_]*)?([eE][+-]?\d+)?")
_UNITS = {None: 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def read_given(program: Program, items: Iterable[str], device: str | None = None) -> tuple[Scope, dict[str, Value]]:
    """The scope and the canonical values of the items.

    Raises:
        ContextError: An unknown name, or a value that its field does not take.
    """
    return read_context(program, fold(program, items), device)


def fold(program: Program, items: Iterable[str]) -> Given:
    """The items as a context that `read_context` takes, under canonical names."""
    given: Given = {}
    items = list(items)
    path = next((item for item in items if "=" not in item and (item.endswith(".lzp") or "/" in item)), None)
    if path is not None:
        raise ContextError(f"`{path}` is a path, and stands before `--given`")
    for item in items:
        given |= _item(program, item.strip())
    return given


def _item(program: Program, item: str) -> Mapping[str, object]:
    name, separator, text = item.partition("=")
    name = name.strip()
    if not separator:
        return _bundle(program, name)
    if name == "operation":
        return {"operation": text.strip()}
    field = program.fields.get(program.aliases.fields.get(name, name))
    if field is None:
        known = [*program.fields, *program.aliases.fields]
        hint = did_you_mean(name, known) or "the operation, a field, a context or a device is wanted"
        raise ContextError(f"unknown field `{name}` in `{item}`: {hint}")
    raw = value(field.type, text, name)
    return {field.name: None if raw is None else read_value(program.aliases.members, field.type, raw, name)}


def _bundle(program: Program, name: str) -> Mapping[str, object]:
    bundles = {**program.contexts, **program.devices}
    if name in bundles:
        return bundles[name].values
    try:
        read_scope(program, name)
    except ContextError:
        known = [*bundles, *program.operations, *program.fields]
        hint = did_you_mean(name, known) or "give fields as NAME=VALUE"
        raise ContextError(f"`{name}` is no operation, context or device: {hint}") from None
    return {"operation": name}


def value(type: Type, text: str, name: str) -> object:
    """A value as written on a command line; `null` is an absent field, quotes are JSON's.

    What does not read as the type is handed on as text, and `read_context` says what was wanted.
    """
    word = text.strip()
    if word == "null":
        return None
    if word.startswith('"'):
        try:
            return str(json.loads(word))
        except ValueError:
            raise ContextError(f"`{name}`: {word} is not a JSON string") from None
    match type.kind:
        case "bool":
            return {"true": True, "false": False}.get(word, word)
        case "int":
            return whole(word)
        case "float":
            number = whole(word)
            if isinstance(number, str) and _NUMBER.fullmatch(word):
                return float(word)
            return number
        case "string":
            return text
        case "enum" | "version":
            return word


def whole(word: str) -> int | str:
    """`32Ki` -> 32768; a word that is no integer stays one."""
    found = _WHOLE.fullmatch(word)
    if found is None or len(word) > 40:
        return word
    return int(found[1]) * _UNITS[found[2]]

"""A JSON-like mapping -> the operation or view that is asked about and typed values; then the completed context.

`read_context` looks at spelling, types and ranges only. `complete` adds what the asserted view fixes and what the
fields' defaults give, in this order, and then wants the view to hold and every needed field to be there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

from layerzero.check.expressions import And, Comparison, Constant, Expression, FieldValue, Not, Type, Value
from layerzero.check.program import Field, Program, Scope
from layerzero.errors import ContextError
from layerzero.semantics.evaluate import Lookups, evaluate, holds, missing, smallest_failure, values_read
from layerzero.semantics.values import HIGHEST, LOWEST, UNKNOWN
from layerzero.syntax.suggest import suggest


class WrittenVersion(Version):
    """A version that remembers its spelling, which an experiment's key needs."""

    def __init__(self, written: str) -> None:
        super().__init__(written)
        self.written = written


# ---------------------------------------------------------------- reading


def read_context(
    program: Program, mapping: Mapping[str, object], device: str | None = None
) -> tuple[Scope, dict[str, Value]]:
    """`{"operation": "attention.decode", "dtype": "float16", "batch_size": 8}` -> its scope and canonical values.

    `device` names a device of the program whose values count where the mapping has none. `null` is absent.

    Raises:
        ContextError: an unknown operation, key or device, a value of the wrong type or outside its field's range,
            or a field and its alias with two values.
    """
    if not isinstance(mapping, Mapping):
        raise ContextError(f"a context is a mapping of fields to values, got {type(mapping).__name__}")
    scope = read_scope(program, mapping.get("operation"))
    values: dict[str, Value] = {}
    spelt: dict[str, str] = {}
    for key, raw in mapping.items():
        if key == "operation" or raw is None:
            if key != "operation":
                _field(program, key, scope)
            continue
        field = _field(program, key, scope)
        value = read_value(program.aliases.members, field.type, raw, key)
        if field.name in values and not _same(values[field.name], value):
            one, other = values[field.name], spelt[field.name]
            raise ContextError(f"`{other}` and `{key}` are the same field, with two values: {one} and {value}")
        values.setdefault(field.name, value)
        spelt.setdefault(field.name, key)
    if device is not None:
        values = {**read_device(program, device), **values}
    return scope, values


def read_scope(program: Program, word: object) -> Scope:
    """The operation or view that a context asks about; older names are aliases."""
    if not isinstance(word, str):
        problem = "a context names its operation" if word is None else f"an operation is a string, got {_shown(word)}"
        raise ContextError(f'{problem}, as in "operation": "attention"')
    scope = _scope(program, word)
    if scope is None:
        views = [f"{name}.{view}" for name, operation in program.operations.items() for view in operation.views]
        known = [*program.operations, *views, *program.aliases.operations]
        raise ContextError(f"unknown operation `{word}`{_hint(word, known)}")
    return scope


def _scope(program: Program, word: str) -> Scope | None:
    if word in program.operations:
        return Scope(word)
    if word in program.aliases.operations:
        return program.aliases.operations[word]
    head, _, view = word.rpartition(".")
    whole = _scope(program, head) if head else None
    if whole is None or whole.view is not None or view not in program.operations[whole.operation].views:
        return None
    return Scope(whole.operation, view)


def read_device(program: Program, name: str) -> Mapping[str, Value]:
    if name not in program.devices:
        raise ContextError(f"unknown device `{name}`{_hint(name, list(program.devices))}")
    return program.devices[name].values


def _field(program: Program, key: str, scope: Scope) -> Field:
    field = program.fields.get(program.aliases.fields.get(key, key))
    if field is None:
        known = [*program.fields, *program.aliases.fields]
        raise ContextError(f"unknown field `{key}` in a context of `{scope}`{_hint(key, known)}")
    return field


def read_value(member_aliases: Mapping[str, str], type: Type, raw: object, name: str) -> Value:
    """A JSON value as a value of a field's type; enum members by any of their names."""
    wrong = ContextError(f"`{name}` is {_article(type)}, got {_shown(raw)}")
    match type.kind:
        case "bool" if isinstance(raw, bool):
            return raw
        case "int" if isinstance(raw, int) and not isinstance(raw, bool):
            if not LOWEST <= raw <= HIGHEST:
                raise ContextError(f"`{name}` is an int of 64 bits, got {_shown(raw)}")
            return in_range(type, raw, name)
        case "float" if isinstance(raw, int | float) and not isinstance(raw, bool):
            try:
                return in_range(type, float(raw), name)
            except OverflowError:
                raise wrong from None
        case "string" if isinstance(raw, str):
            return str(raw)
        case "version" if isinstance(raw, Version):
            return raw
        case "version" if isinstance(raw, str):
            try:
                return WrittenVersion(raw)
            except InvalidVersion:
                raise wrong from None
        case "enum" if isinstance(raw, str):
            member = raw if raw in type.members else member_aliases.get(raw)
            if member not in type.members:
                known = [*type.members, *(a for a, of in member_aliases.items() if of in type.members)]
                raise ContextError(f"`{raw}` is not a member of `{name}`: {type}{_hint(raw, known)}")
            return member
        case _:
            raise wrong


def in_range(type: Type, value: int | float, name: str) -> Value:
    if not fits(type, value):
        raise ContextError(f"`{name}` is {_article(type)}, got {value}")
    return value


def fits(type: Type, value: Value) -> bool:
    """Whether a value of the right kind lies in the declared range. NaN lies in no range that has an end."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    above = type.low is None or type.low <= value
    below = type.high is None or (value < type.high if type.high_open else value <= type.high)
    return above and below


def _same(one: Value, other: Value) -> bool:
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _article(type: Type) -> str:
    article = "an" if type.kind in ("int", "enum") else "a"
    return f"{article} {type}"


def _shown(raw: object) -> str:
    kind = {bool: "bool", int: "int", float: "float", str: "string", list: "list", dict: "object"}.get(type(raw))
    if isinstance(raw, int) and not isinstance(raw, bool) and raw.bit_length() > 100:
        return f"an int of {raw.bit_length()} bits"
    text = repr(raw) if isinstance(raw, str) else str(raw)
    if isinstance(raw, bool):
        text = text.lower()
    return f"{text[:80]} ({kind or type(raw).__name__})"


_LISTED = 12


def _hint(word: str, known: list[str]) -> str:
    near = suggest(word, sorted(set(known)))
    if near:
        return "; did you mean " + " or ".join(f"`{name}`" for name in near) + "?"
    if not known:
        return ""
    listed = ", ".join(f"`{name}`" for name in sorted(known)[:_LISTED])
    return f"; known: {listed}" + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")


# ---------------------------------------------------------------- completing


@dataclass(frozen=True, slots=True)
class Completed:
    """`values` with the view's fill-ins and the defaults; `notes` on defaults that could not be used."""

    values: Mapping[str, Value]
    notes: tuple[str, ...]


def complete(program: Program, scope: Scope, given: Mapping[str, Value]) -> Completed:
    """Given values, then those of an asserted view, then defaults.

    Raises:
        ContextError: a needed field is absent, or the asserted view does not hold.
    """
    return Completion(program, scope)(given)


class Completion:
    """`complete` for the contexts of one scope."""

    def __init__(self, program: Program, scope: Scope) -> None:
        self.program, self.scope = program, scope
        operation = program.operations[scope.operation]
        self._needs = operation.needs
        self._fixed: dict[str, Value] = {}
        self._computed: list[tuple[Field, Expression]] = []
        for field in program.fields_in_order:
            default = field.default
            value = as_type(field.type, default.value) if isinstance(default, Constant) else None
            if value is not None:
                self._fixed[field.name] = value
            elif default is not None:
                self._computed.append((field, default))
        if scope.view is not None:
            self._fixed.update(asserted_values(program, operation.views[scope.view]))

    def __call__(self, given: Mapping[str, Value]) -> Completed:
        values, notes = {**self._fixed, **given}, []
        for field, default in self._computed:
            if field.name in values:
                continue
            result = evaluate(default, Lookups(values))
            if result is UNKNOWN:
                continue  # so the field is absent
            value = as_type(field.type, result)
            if value is None:
                notes.append(f"`{field.name}`: the default {result} is not {_article(field.type)}, so it stays absent")
            else:
                values[field.name] = value
        absent = [name for name in self._needs if name not in values]
        if absent:
            raise ContextError(f"`{self.scope}` needs {_listed(absent)}: {_how_to_give(self.program, absent)}")
        _require_view(self.program, self.scope, values)
        return Completed(values, tuple(notes))


def asserted_values(program: Program, condition: Expression) -> dict[str, Value]:
    """What a condition fixes when it is asserted: its top-level conjuncts `f == c`, `f`, `not f`; the first of two."""
    values: dict[str, Value] = {}
    for part in conjuncts(condition):
        match part:
            case FieldValue(name=name, type=Type(kind="bool")):
                values.setdefault(name, True)
            case Not(operand=FieldValue(name=name, type=Type(kind="bool"))):
                values.setdefault(name, False)
            case Comparison(operands=(FieldValue(name=name), Constant(value=value)), operators=("==",)):
                converted = as_type(program.fields[name].type, value)
                if converted is not None:
                    values.setdefault(name, converted)
            case _:
                pass
    return values


def conjuncts(condition: Expression) -> Iterator[Expression]:
    """The top-level conjuncts, through nested conjunctions (parentheses, defines)."""
    if isinstance(condition, And):
        for operand in condition.operands:
            yield from conjuncts(operand)
    else:
        yield condition


def as_type(type: Type, value: Value) -> Value | None:
    """A computed or written value as one of a field's type and range; None where it is not one."""
    if type.kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type.kind == "version" and isinstance(value, str):
        try:
            value = Version(value)
        except InvalidVersion:
            return None
    if type.kind == "int" and not isinstance(value, int):
        return None
    if type.kind == "enum" and value not in type.members:
        return None
    return value if fits(type, value) else None


def _require_view(program: Program, scope: Scope, values: Mapping[str, Value]) -> None:
    if scope.view is None:
        return
    condition, lookups = program.operations[scope.operation].views[scope.view], Lookups(values)
    if holds(condition, lookups) is True:
        return
    failure = smallest_failure(condition, lookups)
    got = ", ".join(f"{name} = {_plain(value)}" for name, value in values_read(failure, lookups).items())
    fixed = asserted_values(program, failure)
    absent = list(fixed) or list(missing(failure, lookups))
    wanted = [f"{name} = {_plain(fixed[name])}" if name in fixed else f"`{name}`" for name in absent]
    give = f"give {', '.join(wanted)}" if wanted else "give values that fulfil it"
    whole = f"name `{scope.operation}` without the view"
    raise ContextError(f"`{scope}` wants `{failure.span.text}`, got {got}: {give}, or {whole}")


def _plain(value: Value | None) -> str:
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _how_to_give(program: Program, absent: list[str]) -> str:
    return "give " + ", ".join(f"{name} ({program.fields[name].type})" for name in absent)


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)

"""What every name means: the declarations of all files of a program, collected before anything is typed.

Values (fields and defines), operations, kernels, attributes, contexts and devices, rules and experiments have a
namespace each. A name declared twice is an error at the second place; the first stays in force.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from layerzero.check.expressions import Type
from layerzero.check.program import Layer, Scope, Target
from layerzero.check.report import Report
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Label


@dataclass(frozen=True, slots=True)
class Unit:
    """One parsed file and where it stands: its layer, and whether it may name code."""

    file: nodes.File
    layer: Layer
    trusted: bool = False


@dataclass
class Names:
    """The symbol table of one program."""

    report: Report
    fields: dict[str, nodes.Field] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)  # of fields
    defines: dict[str, nodes.Define] = field(default_factory=dict)
    attributes: dict[str, nodes.Attribute] = field(default_factory=dict)
    attribute_types: dict[str, Type] = field(default_factory=dict)
    operations: dict[str, nodes.Operation] = field(default_factory=dict)
    extensions: list[nodes.Extend] = field(default_factory=list)
    views: dict[str, dict[str, nodes.View]] = field(default_factory=dict)
    features: dict[str, dict[str, nodes.Feature]] = field(default_factory=dict)
    backends: dict[str, nodes.Backend] = field(default_factory=dict)
    kernels: dict[str, tuple[nodes.Kernel, Unit]] = field(default_factory=dict)
    bundles: dict[str, nodes.Context | nodes.Device] = field(default_factory=dict)
    experiments: dict[str, nodes.Experiment] = field(default_factory=dict)
    rules: list[tuple[nodes.Rule, Layer]] = field(default_factory=list)
    tests: list[nodes.Test] = field(default_factory=list)
    policies: list[nodes.Policy] = field(default_factory=list)
    field_aliases: dict[str, str] = field(default_factory=dict)
    member_aliases: dict[str, str] = field(default_factory=dict)
    operation_aliases: dict[str, Scope] = field(default_factory=dict)
    kernel_aliases: dict[str, str] = field(default_factory=dict)

    # ------------------------------------------------------------ look-ups

    def field_name(self, word: str) -> str | None:
        """The canonical field that a word names, if any."""
        word = self.field_aliases.get(word, word)
        return word if word in self.fields else None

    def member(self, word: str, enum: Type) -> str | None:
        """The canonical member of an enum that a word names, if any."""
        if word in enum.members:
            return word
        other = self.member_aliases.get(word)
        return other if other in enum.members else None

    def scope(self, word: str) -> Scope | None:
        """The operation or view that an id names: `attention`, `attention.decode`, `norm.rms`."""
        if word in self.operations:
            return Scope(word)
        if word in self.operation_aliases:
            return self.operation_aliases[word]
        head, dot, view = word.rpartition(".")
        if not dot:
            return None
        whole = self.scope(head)
        if whole is None or whole.view is not None or view not in self.views.get(whole.operation, ()):
            return None
        return Scope(whole.operation, view)

    def scope_names(self) -> list[str]:
        views = [f"{operation}.{view}" for operation, known in self.views.items() for view in known]
        return [*self.operations, *views, *self.operation_aliases]

    def require_scope(self, identifier: nodes.Identifier) -> Scope | None:
        """The scope, or a finding."""
        found = self.scope(identifier.text)
        if found is None:
            if identifier.text.endswith(".*") and self.scope(identifier.text[:-2]) is not None:
                whole = identifier.text[:-2]
                self.report.add(
                    "LZ203",
                    f"`{identifier.text}` is not an operation",
                    identifier.span,
                    help=f"write `{whole}`: a rule for an operation covers all its views",
                )
            else:
                self.report.unknown("LZ203", "operation or view", identifier.text, self.scope_names(), identifier.span)
        return found

    def backend_names(self) -> set[str]:
        return {kernel.split(".", 1)[0] for kernel in self.kernels} | set(self.backends)

    def target(self, node: nodes.Target) -> Target:
        """The kernels that one place of a rule's list matches. Unknown plain names are errors, empty globs warnings."""
        kernels: set[str] = set()
        for pattern in node.patterns:
            found = self._match(pattern.text)
            if found is not None:
                kernels |= found
            if found is None:
                known = [*self.kernels, *self.backend_names(), *self.kernel_aliases]
                self.report.unknown("LZ204", "kernel or backend", pattern.text, known, pattern.span)
            elif not found:
                self.report.add(
                    "LZ501",
                    f"`{pattern.text}` matches none of {len(self.kernels)} known kernels",
                    pattern.span,
                    help=self._nearest_glob(pattern.text),
                )
        # Not as it was written: blanks, and the quotes of another notation, must not make it another program.
        written = ", ".join(pattern.text for pattern in node.patterns)
        return Target(f"{{{written}}}" if node.braces else written, frozenset(kernels))

    def _match(self, text: str, seen: frozenset[str] = frozenset()) -> set[str] | None:
        """Ids matched by a pattern; None for a plain name that is declared nowhere."""
        if text in self.kernels:
            return {text}
        if text in self.kernel_aliases and text not in seen:
            return self._match(self.kernel_aliases[text], seen | {text})
        if "*" in text:
            return {kernel for kernel in self.kernels if matches_glob(text, kernel)}
        if text in self.backend_names():
            return {kernel for kernel in self.kernels if kernel.startswith(text + ".")}
        return None

    def _nearest_glob(self, text: str) -> str:
        from layerzero.syntax.suggest import suggest

        near = suggest(text, sorted({f"{backend}.*" for backend in self.backend_names()}))
        return f"did you mean `{near[0]}`?" if near else ""


def matches_glob(pattern: str, text: str) -> bool:
    """`*` only, crossing dots: `torch.sdpa_*` matches `torch.sdpa_flash`."""
    return re.fullmatch(".*".join(re.escape(part) for part in re.split(r"\*+", pattern)), text) is not None


def collect(units: Sequence[Unit], report: Report) -> Names:
    """All declarations of a program's files. Aliases are resolved at the end, when all other names are known."""
    names = Names(report)
    aliases: list[nodes.Alias] = []
    # The prelude first: of two declarations the user's own is the one to change.
    for unit in sorted(units, key=lambda unit: unit.layer):
        for statement in unit.file.statements:
            match statement:
                case nodes.Field():
                    _declare_value(names, names.fields, "field", statement)
                case nodes.Define():
                    _declare_value(names, names.defines, "define", statement)
                case nodes.Attribute():
                    _declare(names, names.attributes, "attribute", statement)
                case nodes.Operation():
                    _declare(names, names.operations, "operation", statement)
                case nodes.Extend():
                    names.extensions.append(statement)
                case nodes.Backend():
                    _declare(names, names.backends, "backend", statement)
                case nodes.Kernel():
                    if statement.name.text in names.kernels:
                        _twice(report, "kernel", statement.name, names.kernels[statement.name.text][0].name)
                    else:
                        names.kernels[statement.name.text] = (statement, unit)
                case nodes.Alias():
                    aliases.append(statement)
                case nodes.Context() | nodes.Device():
                    _declare(names, names.bundles, "context or device", statement)
                case nodes.Rule():
                    names.rules.append((statement, unit.layer))
                case nodes.Experiment():
                    _declare(names, names.experiments, "experiment", statement)
                case nodes.Test():
                    names.tests.append(statement)
                case nodes.Policy():
                    names.policies.append(statement)
                case nodes.Import():
                    pass
    _collect_operation_parts(names)
    _collect_aliases(names, aliases)
    return names


_Bundle = nodes.Context | nodes.Device
_N = TypeVar(
    "_N", nodes.Field, nodes.Define, nodes.Attribute, nodes.Operation, nodes.Backend, _Bundle, nodes.Experiment
)
_V = TypeVar("_V", nodes.Field, nodes.Define)


def _twice(report: Report, what: str, again: nodes.Identifier, first: nodes.Identifier) -> None:
    report.add(
        "LZ210",
        f"{what} `{again.text}` is declared twice",
        again.span,
        "again here",
        also=(Label(first.span, "first declared here"),),
    )


def _declare(names: Names, table: dict[str, _N], what: str, statement: _N) -> None:
    if statement.name.text in table:
        _twice(names.report, what, statement.name, table[statement.name.text].name)
    else:
        table[statement.name.text] = statement


def _declare_value(names: Names, table: dict[str, _V], what: str, statement: _V) -> None:
    """Fields and defines share one namespace: a bare name in a condition means one thing."""
    word = statement.name.text
    others: tuple[Mapping[str, nodes.Field | nodes.Define], ...] = (names.fields, names.defines)
    for other in others:
        if other is not table and word in other:
            _twice(names.report, what, statement.name, other[word].name)
            return
    _declare(names, table, what, statement)


def _collect_operation_parts(names: Names) -> None:
    bodies: list[tuple[str, tuple[nodes.OperationItem, ...]]] = [
        (o.name.text, o.items) for o in names.operations.values()
    ]
    for extension in names.extensions:
        if extension.name.text in names.operations:
            bodies.append((extension.name.text, extension.items))
        else:
            names.report.unknown("LZ203", "operation", extension.name.text, names.operations, extension.name.span)
    for operation, items in bodies:
        views, features = names.views.setdefault(operation, {}), names.features.setdefault(operation, {})
        for item in items:
            if isinstance(item, nodes.View):
                if item.name.text in views:
                    _twice(names.report, f"view of `{operation}`", item.name, views[item.name.text].name)
                views.setdefault(item.name.text, item)
            elif isinstance(item, nodes.Feature):
                if item.name.text in features:
                    _twice(names.report, f"feature of `{operation}`", item.name, features[item.name.text].name)
                features.setdefault(item.name.text, item)


def _collect_aliases(names: Names, aliases: Sequence[nodes.Alias]) -> None:
    members = {member.text for declared in names.fields.values() for member in declared.type.members}
    members |= {member.text for declared in names.attributes.values() for member in declared.type.members}
    by_name: dict[str, nodes.Alias] = {}
    for alias in aliases:
        if alias.name.text in by_name:
            _twice(names.report, "alias", alias.name, by_name[alias.name.text].name)
        by_name.setdefault(alias.name.text, alias)
    for alias in by_name.values():
        word, target = alias.name.text, _follow(alias, by_name)
        taken = word in names.fields or word in names.defines or word in names.kernels or word in names.operations
        if taken:
            names.report.add("LZ210", f"alias `{word}` hides a declared name", alias.name.span)
            continue
        known = False
        if target in names.fields:
            names.field_aliases[word], known = target, True
        if target in members:
            names.member_aliases[word], known = target, True
        scope = names.scope(target)
        if scope is not None:
            names.operation_aliases[word], known = scope, True
        if "*" in target or target in names.kernels or target in names.backend_names():
            names.kernel_aliases[word], known = target, True
        if not known:
            candidates = [*names.fields, *members, *names.scope_names(), *names.kernels, *names.backend_names()]
            names.report.unknown("LZ201", "name", alias.target.text, candidates, alias.target.span)


def _follow(alias: nodes.Alias, by_name: Mapping[str, nodes.Alias]) -> str:
    """The end of a chain of aliases; a circle ends at its start, which is then an unknown name."""
    seen, target = {alias.name.text}, alias.target.text
    while target in by_name and target not in seen:
        seen.add(target)
        target = by_name[target].target.text
    return target

"""Declarations -> the facts of a Program: fields, attributes, operations, kernels with their backend merged in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from layerzero.check import expressions as typed
from layerzero.check.expressions import Expression, Type, Value
from layerzero.check.infer import Inference
from layerzero.check.names import Names, Unit
from layerzero.check.program import (
    Attribute,
    Field,
    Kernel,
    Operation,
    PackageChoice,
    PackageLine,
    Requirement,
    Scope,
    Support,
)
from layerzero.check.ranges import constant_of
from layerzero.check.report import Report
from layerzero.syntax import nodes

MAX_PRIORITY = 1000


def declare_types(names: Names) -> None:
    """Give every field and attribute its type; expressions can be typed from here on."""
    for name, declared in names.fields.items():
        names.types[name] = _field_type(names.report, declared)
    for name, attribute in names.attributes.items():
        names.attribute_types[name] = _type(names.report, attribute.type)


def _type(report: Report, node: nodes.TypeName) -> Type:
    members = [member.text for member in node.members]
    for index, member in enumerate(node.members):
        if member.text in members[:index]:
            report.add("LZ210", f"enum member `{member.text}` stands twice", member.span)
    return Type(node.kind, tuple(dict.fromkeys(members)))


def _field_type(report: Report, declared: nodes.Field) -> Type:
    plain, bounds = _type(report, declared.type), declared.range
    if bounds is None:
        return plain
    if plain.kind not in ("int", "float"):
        report.add(
            "LZ301", f"only int and float fields have a range, `{declared.name.text}` is {plain.kind}", bounds.span
        )
        return plain
    low, high = (_bound(report, bound, plain) for bound in (bounds.low, bounds.high))
    high_open = bounds.high_open
    if high is not None and high_open and plain.kind == "int":
        high, high_open = high - 1, False
    if low is not None and high is not None and (low > high or (low == high and high_open)):
        report.add("LZ304", f"the range `{bounds.span.text}` is empty", bounds.span)
        return plain
    return Type(plain.kind, low=low, high=high, high_open=high_open)


def _bound(report: Report, node: nodes.Expression | None, kind: Type) -> int | float | None:
    if node is None:
        return None
    sign, inner = 1, node
    if isinstance(inner, nodes.Negate):
        sign, inner = -1, inner.operand
    value = inner.value if isinstance(inner, nodes.Literal) else None
    if isinstance(value, bool) or not isinstance(value, int if kind.kind == "int" else int | float):
        report.add("LZ301", f"a bound of {'an int' if kind.kind == 'int' else 'a float'} field is a number", node.span)
        return None
    return sign * value


def build_fields(names: Names, inference: Inference) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    for name, declared in names.fields.items():
        default = None
        if declared.default is not None:
            default = inference.value(declared.default, names.types[name], f"the default of `{name}`")
            if default is not None and not inference.forbid_kernel(default):
                default = None
            if default is not None and any(isinstance(part, typed.InstalledVersion) for part in typed.walk(default)):
                names.report.add("LZ212", "a default cannot read a package's version", declared.default.span)
                default = None
        doc = declared.doc.value if declared.doc else ""
        fields[name] = Field(name, names.types[name], default, doc, span=declared.name.span)
    _report_default_cycles(names.report, fields)
    return fields


def _report_default_cycles(report: Report, fields: dict[str, Field]) -> None:
    """Defaults that need each other; walked without recursion, chains may be long."""
    done: set[str] = set()
    for start in fields:
        path: list[str] = []
        work: list[tuple[str, bool]] = [(start, False)]
        while work:
            name, leaving = work.pop()
            if leaving:
                path.pop()
                done.add(name)
                continue
            if name in done:
                continue
            if name in path:
                chain = " -> ".join([*path[path.index(name) :], name])
                report.add("LZ213", f"the default of `{name}` refers to itself: {chain}", fields[name].span)
                continue
            path.append(name)
            work.append((name, True))
            default = fields[name].default
            if default is not None:
                work.extend((read, False) for read in sorted(typed.fields_of(default)) if read in fields)


def build_attributes(names: Names, inference: Inference) -> dict[str, Attribute]:
    attributes: dict[str, Attribute] = {}
    for name, declared in names.attributes.items():
        default = None
        if declared.default is not None:
            default = constant(inference, declared.default, names.attribute_types[name], f"the default of `{name}`")
        doc = declared.doc.value if declared.doc else ""
        attributes[name] = Attribute(name, names.attribute_types[name], default, doc, span=declared.name.span)
    return attributes


def constant(inference: Inference, node: nodes.Expression, wanted: Type, what: str) -> Value | None:
    """A constant of the wanted type, ints widened to float where a float is wanted."""
    found = inference.value(node, wanted, what)
    if found is None:
        return None
    value = constant_of(found)
    if value is None:
        inference.report.add("LZ301", f"{what} must be a constant", node.span)
        return None
    return float(value) if wanted.kind == "float" and type(value) is int else value


def build_operations(names: Names, inference: Inference) -> dict[str, Operation]:
    operations: dict[str, Operation] = {}
    extras: dict[str, list[nodes.OperationItem]] = {}
    for extension in names.extensions:
        for item in extension.items:
            if isinstance(item, nodes.Optional | nodes.Feature | nodes.View):
                extras.setdefault(extension.name.text, []).append(item)
            else:
                names.report.add("LZ212", "`extend` takes `optional`, `feature` and `view` only", item.span)
    for name, declared in names.operations.items():
        items = [*declared.items, *extras.get(name, [])]
        doc = next((item.value for item in items if isinstance(item, nodes.Text)), "")
        needs = _field_list(names, (f for item in items if isinstance(item, nodes.Needs) for f in item.fields))
        optional = _field_list(names, (f for item in items if isinstance(item, nodes.Optional) for f in item.fields))
        views = _conditions(inference, names.views[name].values())
        features = _conditions(inference, names.features[name].values())
        fallback: list[str] = []
        for item in items:
            if isinstance(item, nodes.Fallback):
                fallback.extend(_fallback_kernels(names, name, item))
        operations[name] = Operation(
            name, doc, needs, optional, views, features, tuple(fallback), span=declared.name.span
        )
    return operations


def _field_list(names: Names, identifiers: Iterable[nodes.Identifier]) -> tuple[str, ...]:
    found: list[str] = []
    for identifier in identifiers:
        canonical = names.field_name(identifier.text)
        if canonical is None:
            names.report.unknown("LZ201", "field", identifier.text, names.fields, identifier.span)
        elif canonical not in found:
            found.append(canonical)
    return tuple(found)


def _conditions(inference: Inference, declared: Iterable[nodes.View | nodes.Feature]) -> dict[str, Expression]:
    found: dict[str, Expression] = {}
    for item in declared:
        condition = inference.condition(item.condition, kernel=False)
        if condition is not None:
            found[item.name.text] = condition
    return found


def _fallback_kernels(names: Names, operation: str, item: nodes.Fallback) -> Iterable[str]:
    for identifier in item.kernels:
        known = names.kernels.get(identifier.text)
        if known is None:
            names.report.unknown("LZ204", "kernel", identifier.text, names.kernels, identifier.span)
        elif not any((scope := names.scope(o.text)) and scope.operation == operation for o in known[0].operations):
            names.report.add("LZ204", f"`{identifier.text}` is not a kernel of `{operation}`", identifier.span)
        else:
            yield identifier.text


# ---------------------------------------------------------------- kernels


@dataclass
class _Shared:
    """The lines of a kernel or its backend, checked."""

    doc: str
    requirements: list[Requirement]
    supports: list[Support]
    packages: list[PackageLine]
    settings: dict[str, Value]
    sources: list[str]


def build_kernels(names: Names, inference: Inference, operations: dict[str, Operation]) -> dict[str, Kernel]:
    backends = {name: _shared(names, inference, declared.items) for name, declared in names.backends.items()}
    known_features = {feature for operation in operations.values() for feature in operation.features}
    for name, backend in names.backends.items():
        _check_features(names, backend.items, known_features, f" of any operation (backend `{name}`)")
    kernels: dict[str, Kernel] = {}
    for name, (declared, unit) in names.kernels.items():
        found = _kernel(names, inference, operations, declared, unit, backends.get(name.split(".", 1)[0]))
        if found is not None:
            kernels[name] = found
    return kernels


def _kernel(
    names: Names,
    inference: Inference,
    operations: dict[str, Operation],
    declared: nodes.Kernel,
    unit: Unit,
    backend: _Shared | None,
) -> Kernel | None:
    name, report = declared.name.text, names.report
    if "." not in name:
        report.add("LZ306", f"a kernel's id is `backend.kernel`, got `{name}`", declared.name.span)
    scopes = tuple(scope for scope in map(names.require_scope, declared.operations) if scope is not None)
    own = _shared(names, inference, declared.items)
    served = [operations[scope.operation] for scope in scopes if scope.operation in operations]
    if not served:
        return None
    _check_features(names, declared.items, {f for o in served for f in o.features}, f" of `{served[0].name}`")
    shared = backend or _Shared("", [], [], [], {}, [])
    adapters = [item for item in declared.items if isinstance(item, nodes.Adapter)]
    if adapters and not unit.trusted:
        report.add(
            "LZ006",
            "a policy file cannot name code",
            adapters[0].span,
            "`adapter` is for trusted catalogs",
            "ship it in a package with an entry point `layerzero.catalogs`, or pass the file with --catalog",
        )
    priority = _priority(report, declared)
    for extra in [*adapters[1:], *[i for i in declared.items if isinstance(i, nodes.Priority)][1:]]:
        report.add("LZ102", "this line stands twice in the kernel", extra.span)
    kernel = Kernel(
        id=name,
        scopes=scopes,
        doc=own.doc or shared.doc,
        priority=priority,
        requirements=(*shared.requirements, *own.requirements),
        supports=(*shared.supports, *own.supports),
        packages=(*shared.packages, *own.packages),
        attributes=_attributes(names, inference, shared.settings | own.settings),
        sources=(*own.sources, *shared.sources),
        adapter=adapters[0].path.value if adapters else None,
        span=declared.name.span,
    )
    _check_reads(names, kernel, served)
    return kernel


def _priority(report: Report, declared: nodes.Kernel) -> int:
    for item in declared.items:
        if isinstance(item, nodes.Priority):
            value = item.value.value
            if type(value) is int and 0 <= value <= MAX_PRIORITY:
                return value
            report.add("LZ306", f"a kernel's priority is an int in 0..{MAX_PRIORITY}", item.value.span)
    return 50


def _shared(names: Names, inference: Inference, items: Iterable[nodes.KernelItem]) -> _Shared:
    found = _Shared("", [], [], [], {}, [])
    for item in items:
        match item:
            case nodes.Text():
                found.doc = item.value
            case nodes.Require():
                condition = inference.condition(item.condition)
                when = inference.condition(item.when) if item.when is not None else None
                if condition is not None and (when is not None or item.when is None):
                    because = item.because.value if item.because else None
                    found.requirements.append(Requirement(condition, when, because, span=item.span))
            case nodes.Supports():
                when = inference.condition(item.when) if item.when is not None else None
                if when is not None or item.when is None:
                    found.supports.extend(Support(f.text, when, span=f.span) for f in item.features)
            case nodes.Package():
                line = package_line(names.report, item)
                if line is not None:
                    found.packages.append(line)
            case nodes.Set():
                for assignment in item.assignments:
                    _setting(names, inference, assignment, found.settings)
            case nodes.SourceNote():
                found.sources.append(item.text.value)
            case nodes.Priority() | nodes.Adapter():
                pass
    return found


def _setting(names: Names, inference: Inference, assignment: nodes.Assignment, settings: dict[str, Value]) -> None:
    name = assignment.name.text
    if name not in names.attribute_types:
        names.report.unknown("LZ206", "attribute", name, names.attribute_types, assignment.name.span)
        return
    if name in settings:
        names.report.add("LZ210", f"attribute `{name}` is set twice", assignment.name.span)
        return
    value = constant(inference, assignment.value, names.attribute_types[name], f"`{name}`")
    if value is not None:
        settings[name] = value


def _attributes(names: Names, inference: Inference, settings: dict[str, Value]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, declared in names.attributes.items():
        if name in settings:
            values[name] = settings[name]
        elif declared.default is not None:
            default = constant(inference, declared.default, names.attribute_types[name], f"the default of `{name}`")
            if default is not None:
                values[name] = default
    return values


def _check_features(names: Names, items: Iterable[nodes.KernelItem], known: set[str], of: str) -> None:
    for item in items:
        if isinstance(item, nodes.Supports):
            for feature in item.features:
                if feature.text not in known:
                    names.report.unknown("LZ205", "feature", feature.text, known, feature.span, of)


def _check_reads(names: Names, kernel: Kernel, served: list[Operation]) -> None:
    """A kernel may only read what its operations need or list as optional."""
    conditions = [r.condition for r in kernel.requirements]
    conditions += [r.when for r in kernel.requirements if r.when is not None]
    conditions += [s.when for s in kernel.supports if s.when is not None]
    for operation in served:
        listed = {*operation.needs, *operation.optional}
        for condition in conditions:
            for part in typed.walk(condition):
                if isinstance(part, typed.FieldValue | typed.HasField) and part.name not in listed:
                    names.report.add(
                        "LZ211",
                        f"`{kernel.id}` reads `{part.name}`, which `{operation.name}` does not list",
                        part.span,
                        help=f"add it with `extend {operation.name} {{ optional {part.name} }}`",
                    )


def package_line(report: Report, node: nodes.Package) -> PackageLine | None:
    choices = [package_choice(report, alternative) for alternative in node.alternatives]
    known = tuple(choice for choice in choices if choice is not None)
    return PackageLine(known, span=node.span) if len(known) == len(choices) else None


def package_choice(report: Report, node: nodes.PackageAlternative) -> PackageChoice | None:
    specifiers = tuple(specifier.text for specifier in node.specifiers)
    for specifier in node.specifiers:
        try:
            SpecifierSet(specifier.text)
        except InvalidSpecifier:
            report.add("LZ306", f"`{specifier.text}` is not a version specifier (PEP 440)", specifier.span)
            return None
    return PackageChoice(str(canonicalize_name(node.name.text)), specifiers)


def check_scope_list(names: Names, identifiers: Iterable[nodes.Identifier]) -> tuple[Scope, ...]:
    return tuple(scope for scope in map(names.require_scope, identifiers) if scope is not None)

"""Parsed files -> one Program, or every finding: the whole stage in one function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layerzero.check.facts import build_attributes, build_fields, build_kernels, build_operations, declare_types
from layerzero.check.infer import Inference
from layerzero.check.names import Names, Unit, collect
from layerzero.check.program import Aliases, Attribute, Field, Kernel, Operation, Program, Text
from layerzero.check.report import Report
from layerzero.check.rules import build_bundles, build_experiments, build_rules, build_tests
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic, Label
from layerzero.syntax.source import Source


@dataclass(frozen=True, slots=True)
class Checked:
    """`program` is None exactly when an error is among the diagnostics; `files` were read to get here, `sources` are
    what was read from each, and `wanted` are files that could not be read."""

    program: Program | None
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    wanted: tuple[str, ...] = ()


def check(units: Sequence[Unit], earlier: Sequence[Diagnostic] = ()) -> Checked:
    """Resolve names and types over all files of a program.

    Args:
        units: The parsed files: prelude, catalogs and policy, in any order.
        earlier: Findings of reading and parsing, reported together with those of this stage.
    """
    report = Report()
    report.extend(earlier)
    names = collect(units, report)
    header = _header(names)
    declare_types(names)
    inference = Inference(names)
    facts = _facts(units, names, inference)
    rules = build_rules(names, inference)
    contexts, devices = build_bundles(names, inference)
    experiments = build_experiments(names)
    tests = build_tests(names, inference, contexts | devices, rules)
    inference.check_unused_defines()
    if report.failed:
        return Checked(None, report.ordered)
    program = Program(
        name=header.name.value if header else "",
        version=_version(header),
        strict=header.strict if header else False,
        standalone=header.standalone if header else False,
        fields=facts.fields,
        attributes=facts.attributes,
        operations=facts.operations,
        kernels=facts.kernels,
        rules=tuple(rules),
        experiments=experiments,
        contexts=contexts,
        devices=devices,
        aliases=Aliases(names.field_aliases, names.member_aliases, names.operation_aliases, names.kernel_aliases),
        tests=tuple(tests),
        texts=tuple(Text(unit.file.span.source, unit.layer, unit.trusted) for unit in units),
    )
    return Checked(program, report.ordered)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What rules are checked against. `files` keeps the trees alive whose identity is the key of the memo."""

    fields: dict[str, Field]
    attributes: dict[str, Attribute]
    operations: dict[str, Operation]
    kernels: dict[str, Kernel]
    findings: tuple[Diagnostic, ...]
    files: tuple[nodes.File, ...]
    defines: dict[str, nodes.Define]  # that the facts use


_FACTS = (nodes.Field, nodes.Attribute, nodes.Operation, nodes.Extend, nodes.Backend, nodes.Kernel, nodes.Alias)
_MEMO_SIZE = 4
_memo: dict[tuple[object, ...], _Facts] = {}


def _facts(units: Sequence[Unit], names: Names, inference: Inference) -> _Facts:
    """The facts of a program; those of the same files and defines are checked once in a process.

    Only files that declare facts count, and the defines that these use. Another define cannot change facts that are
    right without it: no name in them is open, and a define that hides one is reported before.
    """
    declaring = [unit for unit in units if any(isinstance(one, _FACTS) for one in unit.file.statements)]
    key = tuple(sorted((id(unit.file), unit.trusted) for unit in declaring))
    known = _memo.get(key)
    if known is not None and all(names.defines.get(name) is define for name, define in known.defines.items()):
        names.report.extend(known.findings)
        return known
    before = names.report.ordered
    fields = build_fields(names, inference)
    attributes = build_attributes(names, inference)
    operations = build_operations(names, inference)
    kernels = build_kernels(names, inference, operations)
    findings = tuple(one for one in names.report.ordered if one not in before)
    files, used = tuple(unit.file for unit in declaring), {name: names.defines[name] for name in inference.expanded}
    facts = _Facts(fields, attributes, operations, kernels, findings, files, used)
    if not names.report.failed:
        while len(_memo) >= _MEMO_SIZE:
            _memo.pop(next(iter(_memo)), None)
        _memo[key] = facts
    return facts


def _header(names: Names) -> nodes.Policy | None:
    for extra in names.policies[1:]:
        names.report.add(
            "LZ212",
            "a program has one `policy` header",
            extra.span,
            "a second one",
            also=(Label(names.policies[0].span, "the first one"),),
        )
    return names.policies[0] if names.policies else None


def _version(header: nodes.Policy | None) -> str | None:
    if header is None or header.version is None:
        return None
    return str(header.version.value)

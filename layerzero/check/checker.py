"""Parsed files -> one Program, or every finding: the whole stage in one function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layerzero.check.facts import build_attributes, build_fields, build_kernels, build_operations, declare_types
from layerzero.check.infer import Inference
from layerzero.check.names import Names, Unit, collect
from layerzero.check.program import Aliases, Program
from layerzero.check.report import Report
from layerzero.check.rules import build_bundles, build_experiments, build_rules, build_tests
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Diagnostic, Label


@dataclass(frozen=True, slots=True)
class Checked:
    """`program` is None exactly when an error is among the diagnostics; `files` were read to get here."""

    program: Program | None
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[str, ...] = ()


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
    fields = build_fields(names, inference)
    attributes = build_attributes(names, inference)
    operations = build_operations(names, inference)
    kernels = build_kernels(names, inference, operations)
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
        fields=fields,
        attributes=attributes,
        operations=operations,
        kernels=kernels,
        rules=tuple(rules),
        experiments=experiments,
        contexts=contexts,
        devices=devices,
        aliases=Aliases(names.field_aliases, names.member_aliases, names.operation_aliases, names.kernel_aliases),
        tests=tuple(tests),
    )
    return Checked(program, report.ordered)


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

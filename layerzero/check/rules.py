"""Rules, experiments, contexts, devices and tests of the tree -> the same in a Program."""

from __future__ import annotations

import math
import re

from layerzero.check import expressions as typed
from layerzero.check.expressions import Value
from layerzero.check.facts import check_scope_list, constant, package_choice
from layerzero.check.infer import Inference
from layerzero.check.names import Names
from layerzero.check.program import (
    Arm,
    Bundle,
    Claim,
    Experiment,
    Given,
    Guard,
    Layer,
    PackageChoice,
    Rule,
    Scope,
    Target,
    Test,
    Whenever,
)
from layerzero.syntax import nodes
from layerzero.syntax.diagnostics import Label
from layerzero.syntax.source import Span

BUCKETS = 10_000
_METRIC = re.compile(r"error_rate|degraded_rate|nan_rate|mean_latency|p\d{1,2}_latency")


def build_rules(names: Names, inference: Inference) -> list[Rule]:
    rules = [_rule(names, inference, node, layer, None) for node, layer in names.rules]
    for experiment in names.experiments.values():
        for arm in experiment.arms:
            key = (experiment.name.text, arm.name.text)
            rules.extend(_rule(names, inference, node, Layer.ARM, key, arm.span) for node in arm.rules)
    named: dict[str, nodes.Identifier] = {}
    for node, _ in names.rules:
        _unique(names, node, named)
    for experiment in names.experiments.values():
        for arm in experiment.arms:
            for node in arm.rules:
                _unique(names, node, named)
    return [rule for rule in rules if rule is not None]


def _unique(names: Names, node: nodes.Rule, named: dict[str, nodes.Identifier]) -> None:
    name = node.clauses.name
    if name is None:
        return
    if name.text in named:
        also = (Label(named[name.text].span, "first used here"),)
        names.report.add("LZ210", f"two rules are named `{name.text}`", name.span, "again here", also=also)
    named.setdefault(name.text, name)


def _rule(
    names: Names,
    inference: Inference,
    node: nodes.Rule,
    layer: Layer,
    arm: tuple[str, str] | None,
    arm_span: Span | None = None,
) -> Rule | None:
    clauses, report = node.clauses, names.report
    targets = tuple(names.target(target) for target in node.targets)
    scopes = check_scope_list(names, node.operations)
    condition = inference.condition(clauses.when) if clauses.when is not None else None
    if clauses.when is not None and condition is None:
        return None
    if len(scopes) < len(node.operations):
        return None
    if arm is not None and arm_span is not None:
        enrolled = typed.ArmIs(*arm, span=arm_span)
        span = clauses.when.span if clauses.when is not None else node.span
        condition = enrolled if condition is None else typed.And((enrolled, condition), span=span)
    if clauses.otherwise is not None and node.kind != "lock":
        report.add("LZ212", f"`else` belongs to locks, this is a {node.kind}", node.span)
    priority = 0
    if clauses.priority is not None:
        if node.kind not in ("lock", "order"):
            report.add("LZ212", f"`priority` belongs to locks and orders, this is a {node.kind}", clauses.priority.span)
        elif type(clauses.priority.value) is not int:
            report.add("LZ306", "a rule's priority is an int", clauses.priority.span)
        else:
            priority = clauses.priority.value
    factor = 1.0
    if node.factor is not None:
        value = node.factor.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            report.add("LZ306", "a boost's factor is a number of at least 0", node.factor.span)
        else:
            factor = float(value)
    return Rule(
        kind=node.kind,
        name=clauses.name.text if clauses.name else node.span.label,
        named=clauses.name is not None,
        layer=layer,
        targets=targets,
        scopes=scopes,
        condition=condition,
        priority=priority,
        otherwise=clauses.otherwise or "fail",
        factor=factor,
        because=clauses.because.value if clauses.because else None,
        owner=clauses.owner.value if clauses.owner else None,
        until=clauses.until.value if clauses.until else None,
        arm=arm,
        span=node.span,
    )


# ---------------------------------------------------------------- experiments


def build_experiments(names: Names) -> dict[str, Experiment]:
    found: dict[str, Experiment] = {}
    for name, node in names.experiments.items():
        key = names.field_name(node.key.text)
        if key is None:
            names.report.unknown("LZ201", "field", node.key.text, names.fields, node.key.span)
        arms: dict[str, Arm] = {}
        for arm in node.arms:
            _percentage(names, arm.share)
            if arm.name.text in arms:
                names.report.add("LZ210", f"arm `{arm.name.text}` stands twice", arm.name.span)
            arms.setdefault(arm.name.text, Arm(arm.name.text, arm.share.buckets))
        total = sum(arm.share.buckets for arm in node.arms)
        if total != BUCKETS and not names.report.failed_within(node.span):
            message = f"the arms of `{name}` sum to {total / 100:g} %, not 100 %"
            names.report.add("LZ307", message, node.name.span)
        if node.share is not None:
            _percentage(names, node.share)
        share = BUCKETS if node.share is None else node.share.buckets
        salt = name if node.salt is None else node.salt.value
        guards = tuple(guard for guard in (_guard(names, g, arms) for g in node.guards) if guard is not None)
        if key is not None:
            found[name] = Experiment(name, key, share, salt, tuple(arms.values()), guards, span=node.name.span)
    return found


def _percentage(names: Names, node: nodes.Percentage) -> None:
    if not node.exact:
        names.report.add("LZ306", f"`{node.spelling}` has more than two decimals", node.span, help="a bucket is 0.01 %")
    elif not 0 <= node.buckets <= BUCKETS:
        names.report.add("LZ306", f"`{node.spelling}` is not between 0 % and 100 %", node.span)


def _guard(names: Names, node: nodes.Guard, arms: dict[str, Arm]) -> Guard | None:
    if not _METRIC.fullmatch(node.metric.text):
        known = ["error_rate", "degraded_rate", "nan_rate", "mean_latency", "p50_latency", "p95_latency", "p99_latency"]
        names.report.unknown("LZ201", "metric", node.metric.text, known, node.metric.span)
        return None
    if node.relative and "control" not in arms:
        names.report.add("LZ209", "a guard compares with `control`, and no arm has that name", node.span)
    if isinstance(node.limit, nodes.Percentage):
        return Guard(node.metric.text, node.operator, node.limit.buckets / BUCKETS, node.relative, span=node.span)
    value = node.limit.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        names.report.add("LZ306", "a guard's bound is a number or a percentage", node.limit.span)
        return None
    return Guard(node.metric.text, node.operator, float(value), node.relative, span=node.span)


# ---------------------------------------------------------------- contexts and tests


def build_bundles(names: Names, inference: Inference) -> tuple[dict[str, Bundle], dict[str, Bundle]]:
    """Named contexts and devices."""
    contexts: dict[str, Bundle] = {}
    devices: dict[str, Bundle] = {}
    for name, node in names.bundles.items():
        values: dict[str, Value] = {}
        for assignment in node.assignments:
            entry = _entry(names, inference, assignment)
            if entry is None:
                continue
            if entry[0] in values:
                names.report.add("LZ210", f"`{assignment.name.text}` is given twice", assignment.name.span)
            elif entry[1] is not None:
                values[entry[0]] = entry[1]
        if names.scope(name) is not None:
            names.report.add("LZ210", f"`{name}` is an operation, so no context can have the name", node.name.span)
        table = contexts if isinstance(node, nodes.Context) else devices
        table[name] = Bundle(name, values, span=node.name.span)
    return contexts, devices


def _entry(names: Names, inference: Inference, node: nodes.Assignment) -> tuple[str, Value | None] | None:
    """Canonical field and value; `null` is an absent value; None where something was wrong."""
    field = names.field_name(node.name.text)
    if field is None:
        names.report.unknown("LZ201", "field", node.name.text, [*names.fields, *names.field_aliases], node.name.span)
        return None
    if isinstance(node.value, nodes.Literal) and node.value.value is None:
        return field, None
    value = constant(inference, node.value, names.types[field], f"`{field}`")
    return None if value is None else (field, value)


def build_tests(names: Names, inference: Inference, bundles: dict[str, Bundle], rules: list[Rule]) -> list[Test]:
    known = {rule.name for rule in rules}
    tests = []
    for node in names.tests:
        subject = (
            _given(names, inference, node.subject, bundles)
            if isinstance(node.subject, nodes.Given)
            else _whenever(names, inference, node.subject)
        )
        claims = [_claim(names, expect, known) for expect in node.expectations]
        if not claims and not names.report.failed_within(node.span):
            names.report.add("LZ212", f'test "{node.name.value}" expects nothing', node.name.span)
        if subject is not None:
            tests.append(Test(node.name.value, subject, tuple(c for c in claims if c is not None), span=node.name.span))
    return tests


def _whenever(names: Names, inference: Inference, node: nodes.Whenever) -> Whenever | None:
    scope = names.require_scope(node.operation)
    condition = inference.condition(node.condition, kernel=False) if node.condition is not None else None
    if scope is None or (node.condition is not None and condition is None):
        return None
    return Whenever(scope, condition)


def _given(names: Names, inference: Inference, node: nodes.Given, bundles: dict[str, Bundle]) -> Given | None:
    scope: Scope | None = None
    values: dict[str, Value] = {}
    arms: dict[str, str] = {}
    packages: dict[str, PackageChoice] = {}
    for item in node.items:
        match item:
            case nodes.GivenName():
                found = names.scope(item.name.text)
                if found is not None:
                    if scope is not None:
                        names.report.add(
                            "LZ212", "a test decides one operation", item.span, f"`{scope}` stands already"
                        )
                    scope = found
                elif item.name.text in bundles:
                    values.update(bundles[item.name.text].values)
                else:
                    known = [*bundles, *names.scope_names()]
                    names.report.unknown("LZ207", "operation, context or device", item.name.text, known, item.span)
            case nodes.GivenArm():
                arm = _arm(names, item.name)
                if arm is not None:
                    arms[arm[0]] = arm[1]
            case nodes.GivenPackage():
                choice = package_choice(names.report, item.package)
                if choice is None:
                    continue
                if len(choice.specifiers) != 1 or not re.fullmatch(r"===?\s*[^*]+", choice.specifiers[0]):
                    names.report.add("LZ306", "a given package has one version, `==1.2.3`", item.span)
                packages[choice.name] = choice
            case nodes.Assignment():
                entry = _entry(names, inference, item)
                if entry is not None:
                    values.pop(entry[0], None)
                    if entry[1] is not None:
                        values[entry[0]] = entry[1]
    if scope is None:
        names.report.add(
            "LZ212", "a test names the operation it decides", node.span, help="`given attention.decode, ...`"
        )
        return None
    return Given(scope, values, arms, tuple(packages.values()))


def _arm(names: Names, node: nodes.Identifier) -> tuple[str, str] | None:
    experiment, _, arm = node.text.rpartition(".")
    declared = names.experiments.get(experiment)
    if declared is None:
        names.report.unknown("LZ209", "experiment", experiment or node.text, names.experiments, node.span)
        return None
    arms = [known.name.text for known in declared.arms]
    if arm not in arms:
        names.report.unknown("LZ209", "arm", arm, arms, node.span, f" of `{experiment}`")
        return None
    return experiment, arm


def _claim(names: Names, node: nodes.Expect, known: set[str]) -> Claim | None:
    target: Target | None = names.target(node.target) if node.target is not None else None
    if node.rule is not None and node.rule.text not in known:
        names.report.unknown("LZ208", "rule", node.rule.text, known, node.rule.span)
        return None
    return Claim(
        negated=node.negated,
        kernels=None if target is None else target.kernels,
        text=None if target is None else target.text,
        outcome=node.outcome,
        rule=None if node.rule is None else node.rule.text,
        span=node.span,
    )

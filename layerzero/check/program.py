"""The checked program: facts and rules with every name resolved. Immutable; what all later stages read.

`check` turns files into one Program or into diagnostics, never both half. Everything is keyed by canonical names;
`aliases` translate the others. The outcome of a decision never depends on the order of anything in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import IntEnum
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Literal as OneOf

from layerzero.check.expressions import AttributeValue, Expression, Type, Value, fields_of, walk
from layerzero.syntax.source import Source, Span


@dataclass(frozen=True, slots=True)
class Field:
    """`field v_head_dim: int in 1..1024 = head_dim "width of one value head"`"""

    name: str
    type: Type
    default: Expression | None
    doc: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Attribute:
    """`attribute vendor_support: bool = false`; without a default, a kernel that does not set it has it unknown."""

    name: str
    type: Type
    default: Value | None
    doc: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Operation:
    """`operation attention { ... }` with everything that `extend attention` adds."""

    name: str
    doc: str
    needs: tuple[str, ...]
    optional: tuple[str, ...]
    views: Mapping[str, Expression]
    features: Mapping[str, Expression]
    fallback: tuple[str, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Scope:
    """`attention` or `attention.decode`: an operation, or the part of it that a view names."""

    operation: str
    view: str | None = None

    def __str__(self) -> str:
        return self.operation if self.view is None else f"{self.operation}.{self.view}"


@dataclass(frozen=True, slots=True)
class Requirement:
    """`require E when C because "..."`, means `not C or E`. A kernel's views are not in here."""

    condition: Expression
    when: Expression | None
    because: str | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Support:
    """`supports window when sm >= 100`, one per feature and line."""

    feature: str
    when: Expression | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class PackageChoice:
    """One alternative: normalised name and PEP 440 specifiers as written, e.g. (">=1.4", "<2")."""

    name: str
    specifiers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PackageLine:
    """`package A | B >=9.1`: the first alternative that is installed must be at an accepted version."""

    alternatives: tuple[PackageChoice, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel with what its backend shares already merged in."""

    id: str
    scopes: tuple[Scope, ...]
    doc: str
    priority: int
    requirements: tuple[Requirement, ...]
    supports: tuple[Support, ...]
    packages: tuple[PackageLine, ...]
    attributes: Mapping[str, Value]  # every declared attribute that has a value, defaults included
    sources: tuple[str, ...]
    adapter: str | None
    span: Span = field(compare=False, repr=False)

    @property
    def backend(self) -> str:
        return self.id.split(".", 1)[0]

    def serves(self, operation: str) -> bool:
        return any(scope.operation == operation for scope in self.scopes)

    def views(self, operation: str) -> tuple[str, ...]:
        """The views of which at least one must hold; empty when the kernel serves the whole operation."""
        scopes = [scope for scope in self.scopes if scope.operation == operation]
        if any(scope.view is None for scope in scopes):
            return ()
        return tuple(scope.view for scope in scopes if scope.view is not None)


class Layer(IntEnum):
    PRELUDE = 0
    POLICY = 1
    ARM = 2
    RUNTIME = 3


RuleKind = OneOf["quarantine", "lock", "allow", "deny", "boost", "order"]
Otherwise = OneOf["fail", "choose", "fallback"]


@dataclass(frozen=True, slots=True)
class Target:
    """One place in a rule's list: the patterns as written and the ids of all kernels that they match."""

    text: str
    kernels: frozenset[str]


@dataclass(frozen=True)
class Rule:
    """`deny flash_attn for attention when head_dim > 256 because "unsupported"`

    `scopes` is empty where no `for` is written: the rule counts in every operation (an allow, lock or order only
    where its patterns match some kernel of the operation). `condition` includes the arm (ArmIs) for rules in arms.
    `targets` has one entry but for `order`. `factor` is 1.0 but for `boost`.
    """

    kind: RuleKind
    name: str  # `pin_long_decode`, or file:line where the author gave none
    named: bool
    layer: Layer
    targets: tuple[Target, ...]
    scopes: tuple[Scope, ...]
    condition: Expression | None
    priority: int
    otherwise: Otherwise
    factor: float
    because: str | None
    owner: str | None
    until: date | None
    arm: tuple[str, str] | None  # (experiment, arm)
    span: Span = field(compare=False, repr=False)

    @cached_property
    def kernels(self) -> frozenset[str]:
        return frozenset().union(*(target.kernels for target in self.targets))

    @cached_property
    def reads_kernel(self) -> bool:
        """Whether the condition is decided per kernel."""
        return self.condition is not None and any(isinstance(part, AttributeValue) for part in walk(self.condition))

    def concerns(self, operation: str) -> bool:
        """Whether the rule is written for the operation or one of its views, or for none."""
        return not self.scopes or any(scope.operation == operation for scope in self.scopes)


@dataclass(frozen=True, slots=True)
class Arm:
    """`buckets` hundredths of a percent of those enrolled; its rules are in Program.rules."""

    name: str
    buckets: int


@dataclass(frozen=True, slots=True)
class Guard:
    """`guard p95_latency < 1.10 * control`: the bound is `limit`, times control's value when `relative`."""

    metric: str
    operator: OneOf["<", "<=", ">", ">="]
    limit: float
    relative: bool
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Experiment:
    name: str
    key: str
    share: int  # buckets of 10 000
    salt: str
    arms: tuple[Arm, ...]
    guards: tuple[Guard, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A named context or device: canonical field names and constant values."""

    name: str
    values: Mapping[str, Value]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Claim:
    """One `expect` line. `kernels` is the target's set, `text` the target as written."""

    negated: bool
    kernels: frozenset[str] | None
    text: str | None
    outcome: OneOf["degraded", "error"] | None
    rule: str | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Given:
    """One point: `scope` is what the test decides, `values` the context with contexts and devices merged in."""

    scope: Scope
    values: Mapping[str, Value]
    arms: Mapping[str, str]
    packages: tuple[PackageChoice, ...]


@dataclass(frozen=True, slots=True)
class Whenever:
    """A claim about every context of `scope` that fulfils `condition`."""

    scope: Scope
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Test:
    name: str
    subject: Given | Whenever
    claims: tuple[Claim, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Aliases:
    """Other names -> canonical ones."""

    fields: Mapping[str, str]
    members: Mapping[str, str]  # enum members, of any enum that has the canonical one
    operations: Mapping[str, Scope]  # operations and views: `norm.rms` -> rms_norm
    kernels: Mapping[str, str]  # id patterns: `torch_sdpa` -> `torch.sdpa_*`


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a program as it was read, and where it stands: its layer, and whether it may name code."""

    source: Source
    layer: Layer
    trusted: bool = False


@dataclass(frozen=True)
class Program:
    """All that is known: facts, rules, tests, and the policy's name.

    `digest` is that of the canonical program: comments, layout, order of statements and tests do not change it.
    """

    name: str
    version: str | None
    strict: bool
    standalone: bool
    fields: Mapping[str, Field]
    attributes: Mapping[str, Attribute]
    operations: Mapping[str, Operation]
    kernels: Mapping[str, Kernel]
    rules: tuple[Rule, ...]
    experiments: Mapping[str, Experiment]
    contexts: Mapping[str, Bundle]
    devices: Mapping[str, Bundle]
    aliases: Aliases
    tests: tuple[Test, ...]
    texts: tuple[Text, ...] = field(default=(), compare=False, repr=False)  # all that it was checked from

    @cached_property
    def digest(self) -> str:
        from layerzero.check.digest import program_digest

        return program_digest(self)

    @cached_property
    def operation_digests(self) -> Mapping[str, str]:
        """Operation -> digest of all that can change a decision of it."""
        from layerzero.check.digest import operation_digests

        return operation_digests(self)

    @cached_property
    def fields_in_order(self) -> tuple[Field, ...]:
        """Every field, each after those that its default reads."""
        read = {
            name: () if field.default is None else sorted(fields_of(field.default))
            for name, field in sorted(self.fields.items())
        }
        return tuple(self.fields[name] for name in TopologicalSorter(read).static_order())

    def kernels_for(self, operation: str) -> tuple[Kernel, ...]:
        """The candidates of an operation, by id."""
        return self._candidates.get(operation, ())

    @cached_property
    def _candidates(self) -> dict[str, tuple[Kernel, ...]]:
        return {
            operation: tuple(kernel for _, kernel in sorted(self.kernels.items()) if kernel.serves(operation))
            for operation in self.operations
        }

"""The tree of a `.lzp` file: what the parser makes and the checker reads.

One frozen class per form of the grammar, with the same name as its rule. Every node knows where it was written;
places take no part in equality, so `parse(format(tree)) == tree`. Nothing here is resolved: a `Name` may turn out
to be a field, an enum member or a define.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Literal as OneOf

from layerzero.syntax.source import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    span: Span = field(compare=False, repr=False)


# ---------------------------------------------------------------- words


@dataclass(frozen=True, slots=True)
class Identifier(Node):
    """A dotted or plain id, without its backquotes: `flash_attn.v3`, `head_dim`, `acme-kernels`."""

    text: str


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A string with its JSON escapes resolved."""

    value: str


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """`8Ki`, `1e-5`, `true`, `null`, `"text"`. `spelling` keeps how a number was written, for the formatter."""

    value: bool | int | float | str | None
    spelling: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A bare word in an expression: a field, an enum member, or a define."""

    text: str


@dataclass(frozen=True, slots=True)
class KernelAttribute(Node):
    """`kernel.vendor_support`"""

    name: str


@dataclass(frozen=True, slots=True)
class PackageVersion(Node):
    """`package("flash-attn")`"""

    package: str


@dataclass(frozen=True, slots=True)
class Has(Node):
    """`has(tenant)`"""

    field_name: Identifier


@dataclass(frozen=True, slots=True)
class Extremum(Node):
    """`min(a, b)`, `max(a, b, c)`"""

    function: OneOf["min", "max"]
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Negate(Node):
    """`-x`"""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """`q_heads % kv_heads`"""

    operator: OneOf["+", "-", "*", "//", "%"]
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """`4 if dtype == fp32 else 2`"""

    then: Expression
    condition: Expression
    otherwise: Expression


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    """`64 <= head_dim <= 256`: n operators between n + 1 operands."""

    operands: tuple[Expression, ...]
    operators: tuple[OneOf["==", "!=", "<", "<=", ">", ">="], ...]


@dataclass(frozen=True, slots=True)
class Range(Node):
    """`1..4096`, `1..<4096`, `80..`, `..80`; `high_open` for `..<`."""

    low: Expression | None
    high: Expression | None
    high_open: bool = False


@dataclass(frozen=True, slots=True)
class Membership(Node):
    """`sm in {90, 100..109}`, `x not in 1..8`: `items` holds values and ranges; `braces` tells which was written."""

    operand: Expression
    items: tuple[Expression | Range, ...]
    negated: bool
    braces: bool


@dataclass(frozen=True, slots=True)
class Like(Node):
    """`device_name like "*H100*"`"""

    operand: Expression
    pattern: Text
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Not(Node):
    operand: Expression


@dataclass(frozen=True, slots=True)
class And(Node):
    """Two or more operands, flat for a chain written without parentheses."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Node):
    """Two or more operands, flat for a chain written without parentheses."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Parenthesized(Node):
    """`(a or b)`: kept, so that the formatter gives back what the author grouped."""

    inner: Expression


Expression = (
    Literal
    | Name
    | KernelAttribute
    | PackageVersion
    | Has
    | Extremum
    | Negate
    | Arithmetic
    | Conditional
    | Comparison
    | Membership
    | Like
    | Not
    | And
    | Or
    | Parenthesized
)


# ---------------------------------------------------------------- facts


@dataclass(frozen=True, slots=True)
class TypeName(Node):
    """`int`, `enum(full, sliding, mla)`"""

    kind: OneOf["bool", "int", "float", "string", "version", "enum"]
    members: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Field(Node):
    """`field head_dim: int in 1..1024 = 128 "size of one head"`"""

    name: Identifier
    type: TypeName
    range: Range | None = None
    default: Expression | None = None
    doc: Text | None = None


@dataclass(frozen=True, slots=True)
class Attribute(Node):
    """`attribute vendor_support: bool = false`"""

    name: Identifier
    type: TypeName
    default: Expression | None = None
    doc: Text | None = None


@dataclass(frozen=True, slots=True)
class Needs(Node):
    """`needs q_len, kv_len`"""

    fields: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class Optional(Node):
    """`optional window, softcap`"""

    fields: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class View(Node):
    """`view decode when phase == decode`"""

    name: Identifier
    condition: Expression


@dataclass(frozen=True, slots=True)
class Feature(Node):
    """`feature window when window > 0`"""

    name: Identifier
    condition: Expression


@dataclass(frozen=True, slots=True)
class Fallback(Node):
    """`fallback torch.sdpa_math, reference.attention`"""

    kernels: tuple[Identifier, ...]


OperationItem = Text | Needs | Optional | View | Feature | Fallback


@dataclass(frozen=True, slots=True)
class Operation(Node):
    """`operation attention { ... }`"""

    name: Identifier
    items: tuple[OperationItem, ...]


@dataclass(frozen=True, slots=True)
class Extend(Node):
    """`extend attention { feature sinks when has_sinks }`; items are Optional, Feature and View only."""

    name: Identifier
    items: tuple[OperationItem, ...]


@dataclass(frozen=True, slots=True)
class PackageAlternative(Node):
    """`acme-kernels >=1.4, <2, !=1.5.1`: PEP 440 specifiers, each one token, e.g. `>=1.4`."""

    name: Identifier
    specifiers: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class Package(Node):
    """`package A | B >=9.1`: the first of the alternatives that is installed."""

    alternatives: tuple[PackageAlternative, ...]


@dataclass(frozen=True, slots=True)
class Require(Node):
    """`require page_size % 16 == 0 when paged because "tile"`"""

    condition: Expression
    when: Expression | None = None
    because: Text | None = None


@dataclass(frozen=True, slots=True)
class Supports(Node):
    """`supports window, sinks when sm >= 100`"""

    features: tuple[Identifier, ...]
    when: Expression | None = None


@dataclass(frozen=True, slots=True)
class Assignment(Node):
    """`layout = bshd` in a `set`, a `context` or a `device`."""

    name: Identifier
    value: Expression


@dataclass(frozen=True, slots=True)
class Set(Node):
    """`set layout = bshd, graph_safe = true`"""

    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class SourceNote(Node):
    """`source "acme/decode.cu @ 1.4.2"`: where the facts were read."""

    text: Text


@dataclass(frozen=True, slots=True)
class Priority(Node):
    """`priority 85`"""

    value: Literal


@dataclass(frozen=True, slots=True)
class Adapter(Node):
    """`adapter "acme_kernels.lz:decode"`"""

    path: Text


BackendItem = Text | Package | Require | Supports | Set | SourceNote
KernelItem = BackendItem | Priority | Adapter


@dataclass(frozen=True, slots=True)
class Backend(Node):
    """`backend acme { ... }`: part of every kernel `acme.*`"""

    name: Identifier
    items: tuple[BackendItem, ...]


@dataclass(frozen=True, slots=True)
class Kernel(Node):
    """`kernel acme.decode for attention.decode { ... }`"""

    name: Identifier
    operations: tuple[Identifier, ...]
    items: tuple[KernelItem, ...]


@dataclass(frozen=True, slots=True)
class Pattern(Node):
    """`flash_attn.v3`, `torch.sdpa_*`, `*`, or a bare backend name."""

    text: str


@dataclass(frozen=True, slots=True)
class Target(Node):
    """One pattern, or `{a, b}`; `braces` tells which was written."""

    patterns: tuple[Pattern, ...]
    braces: bool = False


@dataclass(frozen=True, slots=True)
class Alias(Node):
    """`alias float16 = fp16`, `alias torch_sdpa = torch.sdpa_*`"""

    name: Identifier
    target: Pattern


@dataclass(frozen=True, slots=True)
class Context(Node):
    """`context llama { q_heads = 32, dtype = bf16 }`"""

    name: Identifier
    assignments: tuple[Assignment, ...]


@dataclass(frozen=True, slots=True)
class Device(Node):
    """`device h100 { sm = 90, memory_gib = 80 }`"""

    name: Identifier
    assignments: tuple[Assignment, ...]


# ---------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class Define(Node):
    """`define long_decode = phase == decode and kv_len >= 8Ki`"""

    name: Identifier
    value: Expression


@dataclass(frozen=True, slots=True)
class Day(Node):
    """`2027-03-01`"""

    value: date


@dataclass(frozen=True, slots=True)
class Clauses(Node):
    """What may follow a rule's subject, in any order, each at most once; absent ones are None."""

    when: Expression | None = None
    priority: Literal | None = None
    name: Identifier | None = None
    because: Text | None = None
    owner: Text | None = None
    until: Day | None = None
    otherwise: OneOf["fail", "choose", "fallback"] | None = None


@dataclass(frozen=True, slots=True)
class Rule(Node):
    """`deny torch.* for attention when batch > 32`. `targets` has one entry but for `order a > b > *`.

    `operations` is empty where no `for` is written. `factor` belongs to `boost`.
    """

    kind: OneOf["quarantine", "lock", "allow", "deny", "boost", "order"]
    targets: tuple[Target, ...]
    operations: tuple[Identifier, ...]
    clauses: Clauses
    factor: Literal | None = None


@dataclass(frozen=True, slots=True)
class Percentage(Node):
    """`12.5%`, held as hundredths of a percent: 1250 of 10 000 buckets. More than two decimals keep `exact` false."""

    buckets: int
    exact: bool
    spelling: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Arm(Node):
    """`arm acme 50% { boost acme.decode by 10 }`"""

    name: Identifier
    share: Percentage
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Guard(Node):
    """`guard p95_latency < 1.10 * control`, `guard error_rate < 1%`.

    The bound is `factor * control` when `relative`, else `limit`, a number or a percentage.
    """

    metric: Identifier
    operator: OneOf["<", "<=", ">", ">="]
    limit: Literal | Percentage
    relative: bool


@dataclass(frozen=True, slots=True)
class Experiment(Node):
    """`experiment faster_decode on tenant share 20% salt "s" { arms, guards }`"""

    name: Identifier
    key: Identifier
    share: Percentage | None
    salt: Text | None
    arms: tuple[Arm, ...]
    guards: tuple[Guard, ...]


# ---------------------------------------------------------------- tests


@dataclass(frozen=True, slots=True)
class GivenName(Node):
    """An operation, view, context or device: `attention.decode`, `h100`"""

    name: Identifier


@dataclass(frozen=True, slots=True)
class GivenArm(Node):
    """`arm faster_decode.acme`"""

    name: Identifier


@dataclass(frozen=True, slots=True)
class GivenPackage(Node):
    """`package acme-kernels ==1.5.1`"""

    package: PackageAlternative


@dataclass(frozen=True, slots=True)
class Given(Node):
    """`given attention.decode, h100, batch = 8`"""

    items: tuple[GivenName | GivenArm | GivenPackage | Assignment, ...]


@dataclass(frozen=True, slots=True)
class Whenever(Node):
    """`whenever attention when dtype == fp32`"""

    operation: Identifier
    condition: Expression | None


@dataclass(frozen=True, slots=True)
class Expect(Node):
    """`expect flashinfer.decode by pin_long_decode`, `expect not acme.*`, `expect degraded`, `expect not error`.

    Exactly one of `target`, `outcome` and `rule` says what is claimed; `rule` may also stand beside `target`.
    """

    negated: bool
    target: Target | None = None
    outcome: OneOf["degraded", "error"] | None = None
    rule: Identifier | None = None


@dataclass(frozen=True, slots=True)
class Test(Node):
    """`test "long decode is pinned" { given ...  expect ... }`"""

    name: Text
    subject: Given | Whenever
    expectations: tuple[Expect, ...]


# ---------------------------------------------------------------- files


@dataclass(frozen=True, slots=True)
class Policy(Node):
    """`policy "production" version 7 strict`"""

    name: Text
    version: Literal | Text | None = None
    strict: bool = False
    standalone: bool = False


@dataclass(frozen=True, slots=True)
class Import(Node):
    """`import "common.lzp"`"""

    path: Text


Statement = (
    Policy
    | Import
    | Field
    | Attribute
    | Operation
    | Extend
    | Backend
    | Kernel
    | Alias
    | Context
    | Device
    | Define
    | Rule
    | Experiment
    | Test
)


@dataclass(frozen=True, slots=True)
class Comment(Node):
    """`# why` without the sign's leading blanks; `trailing` when code stands before it on its line."""

    text: str
    trailing: bool


@dataclass(frozen=True, slots=True)
class File(Node):
    """One file: statements in the order written, comments beside them for the formatter."""

    statements: tuple[Statement, ...]
    comments: tuple[Comment, ...] = field(default=(), compare=False)

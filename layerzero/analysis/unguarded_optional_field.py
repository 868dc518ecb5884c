"""LZ503: a deny or quarantine reads an optional field without `has`.

**What it does.** Looks for fields in the condition of a deny or quarantine that a call of its operation may lack:
not needed by the operation, and without a default. A `has` of the field in the same condition is taken as proof that
its absence was thought of.

**Why it is bad.** Where the field is absent the condition is unknown. Unknown never makes a call less safe, so a
quarantine then applies and a deny does not, which may not be what was meant.

**Avoid**

    deny * when tenant == "bank" and not kernel.vendor_support

**Prefer**

    deny * when has(tenant) and tenant == "bank" and not kernel.vendor_support
"""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.analysis.findings import Answer, called
from layerzero.analysis.ground import Ground
from layerzero.analysis.reach import in_force
from layerzero.check.expressions import Expression, FieldValue, HasField, fields_of, walk
from layerzero.check.program import Operation, Program, Rule
from layerzero.syntax.diagnostics import Diagnostic


def check(ground: Ground) -> Iterator[Answer]:
    program, today = ground.program, ground.today
    for rule in (*in_force(program, "deny", today), *in_force(program, "quarantine", today)):
        if rule.condition is None:
            continue
        operations = [operation for operation in program.operations.values() if _speaks(program, rule, operation)]
        for place, lacking in _unguarded(program, rule.condition, operations):
            then = "applies" if rule.kind == "quarantine" else "does not apply"
            yield Diagnostic(
                "LZ503",
                f"{called(rule)} reads `{place.name}`, which a call of `{lacking.name}` may lack",
                place.span,
                f"where it is absent, the {rule.kind} {then}",
                f"ask `has({place.name}) and ...` if that is not meant, `not has({place.name}) or ...` if it is",
            )


def _speaks(program: Program, rule: Rule, operation: Operation) -> bool:
    return rule.concerns(operation.name) and any(
        kernel.id in rule.kernels for kernel in program.kernels_for(operation.name)
    )


def _unguarded(
    program: Program, condition: Expression, operations: list[Operation]
) -> Iterator[tuple[FieldValue, Operation]]:
    """The first reading of each field that some operation may lack, with that operation."""
    asked = {part.name for part in walk(condition) if isinstance(part, HasField)}
    for part in walk(condition):
        if isinstance(part, FieldValue) and part.name not in asked:
            lacking = next((o for o in operations if not _always_there(program, o, part.name)), None)
            if lacking is not None:
                asked.add(part.name)
                yield part, lacking


def _always_there(program: Program, operation: Operation, name: str) -> bool:
    """Needed, or with a default that reads only fields that are always there."""
    if name in operation.needs:
        return True
    default = program.fields[name].default
    return default is not None and all(_always_there(program, operation, other) for other in fields_of(default))

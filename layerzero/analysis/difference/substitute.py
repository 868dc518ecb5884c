"""A program with what is settled put in: fields of a device, versions of packages, experiments under another name.

The result decides every call as the program does where those values are given, and no condition of it reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, overload

from packaging.version import Version

from layerzero.check.expressions import (
    BOOL,
    VERSION,
    And,
    Arithmetic,
    ArmIs,
    Comparison,
    Conditional,
    Constant,
    Expression,
    Extremum,
    FieldValue,
    HasField,
    InstalledVersion,
    Interval,
    Like,
    Membership,
    Negate,
    Not,
    Or,
    Value,
)
from layerzero.check.program import Kernel, Operation, Program, Rule


@dataclass(frozen=True)
class Substitution:
    """`sm` by 90, `package("flash-attn")` by 2.8.3, the experiment `trial` by `trial (new)`."""

    fields: Mapping[str, Value] = field(default_factory=dict)
    packages: Mapping[str, Version] = field(default_factory=dict)
    experiments: Mapping[str, str] = field(default_factory=dict)
    _done: dict[int, tuple[Expression, Expression]] = field(default_factory=dict, compare=False, repr=False)

    def program(self, program: Program) -> Program:
        """Every condition of the program; the program itself where there is nothing to put in."""
        if not (self.fields or self.packages or self.experiments):
            return program
        return replace(
            program,
            fields={
                name: one if one.default is None else replace(one, default=self.expression(one.default))
                for name, one in program.fields.items()
            },
            operations={name: self._operation(one) for name, one in program.operations.items()},
            kernels={name: self._kernel(one) for name, one in program.kernels.items()},
            rules=tuple(self._rule(one) for one in program.rules),
            experiments={
                self.experiments.get(name, name): replace(one, name=self.experiments.get(name, name))
                for name, one in program.experiments.items()
            },
        )

    def _operation(self, operation: Operation) -> Operation:
        return replace(
            operation,
            needs=tuple(name for name in operation.needs if name not in self.fields),
            views={name: self.expression(one) for name, one in operation.views.items()},
            features={name: self.expression(one) for name, one in operation.features.items()},
        )

    def _kernel(self, kernel: Kernel) -> Kernel:
        requirements = tuple(
            replace(one, condition=self.expression(one.condition), when=self.expression(one.when))
            for one in kernel.requirements
        )
        supports = tuple(replace(one, when=self.expression(one.when)) for one in kernel.supports)
        return replace(kernel, requirements=requirements, supports=supports)

    def _rule(self, rule: Rule) -> Rule:
        return replace(rule, condition=self.expression(rule.condition))

    @overload
    def expression(self, one: Expression) -> Expression: ...

    @overload
    def expression(self, one: None) -> None: ...

    def expression(self, one: Expression | None) -> Expression | None:
        """The expression with everything put in; the same object for the same object, for defines are shared."""
        if one is None:
            return None
        if id(one) not in self._done:
            self._done[id(one)] = (one, self._put_in(one))
        return self._done[id(one)][1]

    def _put_in(self, one: Expression) -> Expression:
        match one:
            case FieldValue(name=name, type=type) if name in self.fields:
                return Constant(self.fields[name], type, span=one.span)
            case HasField(name=name) if name in self.fields:
                return Constant(True, BOOL, span=one.span)
            case InstalledVersion(package=package) if package in self.packages:
                return Constant(self.packages[package], VERSION, span=one.span)
            case ArmIs(experiment=experiment):
                return replace(one, experiment=self.experiments.get(experiment, experiment))
            case And(operands=parts) | Or(operands=parts) | Comparison(operands=parts):
                return replace(one, operands=tuple(map(self.expression, parts)))
            case Extremum(arguments=parts):
                return replace(one, arguments=tuple(map(self.expression, parts)))
            case Not(operand=part) | Negate(operand=part) | Like(operand=part):
                return replace(one, operand=self.expression(part))
            case Arithmetic(left=left, right=right):
                return replace(one, left=self.expression(left), right=self.expression(right))
            case Conditional(then=then, condition=test, otherwise=otherwise):
                return replace(
                    one,
                    then=self.expression(then),
                    condition=self.expression(test),
                    otherwise=self.expression(otherwise),
                )
            case Membership(operand=part, items=items):
                return replace(one, operand=self.expression(part), items=tuple(map(self._item, items)))
            case _:
                return one

    def _item(self, item: Expression | Interval) -> Any:
        if isinstance(item, Interval):
            return replace(item, low=self.expression(item.low), high=self.expression(item.high))
        return self.expression(item)

"""Contexts of one operation -> which of them are decided for the same reasons.

A proof looks at a context through the questions that the operation's conditions ask (`kv_len >= 8192`, `has(window)`)
and shows values of fields beside them. So contexts with the same answers have the same proof but for the values shown.
More than these have it: it is enough that the same is said of each kernel, and by each rule that says anything, for
then the stages go the same way. What is said is the interpreter's, kept by the answers that it depends on.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import count
from typing import Any

from layerzero.check.expressions import (
    And,
    ArmIs,
    AttributeValue,
    Conditional,
    Expression,
    FieldValue,
    InstalledVersion,
    Not,
    Or,
    Value,
    children,
    fields_of,
    walk,
)
from layerzero.check.program import Kernel, Operation, Program, Scope
from layerzero.semantics.applicability import read_by_rule, speaks
from layerzero.semantics.call import Call
from layerzero.semantics.context import Completion
from layerzero.semantics.environment import Environment
from layerzero.semantics.evaluate import Lookups, evaluate, missing
from layerzero.semantics.feasibility import Feasibility, own_feasibility, read_by_kernel
from layerzero.semantics.interpret import decide
from layerzero.semantics.memory import Memory, Read
from layerzero.semantics.proof import Proof
from layerzero.semantics.values import UNKNOWN

MOST = 65_536


class Alike:
    """`alike(scope, values, arms)` for one thread: a number, equal for contexts that are decided for the same reasons,
    and the completed values."""

    def __init__(self, program: Program, environment: Environment, operation: Operation) -> None:
        self.program, self.environment, self.operation = program, environment, operation
        self._completions: dict[Scope, Completion] = {}
        self._answers = answers = _Answers(program)
        answers.places([one] for one in (*operation.views.values(), *operation.features.values()))
        self._kernels = program.kernels_for(operation.name)
        for kernel in self._kernels:
            answers.places(read_by_kernel(program, operation, kernel, operation.features))
        concerned = [rule for rule in program.rules if rule.concerns(operation.name)]
        self._rules = [(rule, answers.places([read_by_rule(operation, rule)])) for rule in concerned]
        self._said: dict[int, tuple[Feasibility, int]] = {}
        self._known: dict[Hashable, int] = {}
        self._of_kernels, self._of_calls = _Numbers(), _Numbers()

    def __call__(
        self, scope: Scope, given: Mapping[str, Value], arms: Mapping[str, str]
    ) -> tuple[int, Mapping[str, Value]]:
        """
        Raises:
            ContextError: The values cannot be completed.
        """
        complete = self._completions.get(scope)
        if complete is None:
            complete = self._completions[scope] = Completion(self.program, scope)
        values = complete(given).values
        whole = (*self._answers.ask(values), *sorted(arms.items()))
        number = self._known.get(whole)
        if number is None:
            call = Call(self.program, self.environment, self.operation, values, arms, self._answers)
            kernels = [self._own(call, kernel) for kernel in self._kernels]
            number = self._of_calls.of((*kernels, *self._speaking(call), *sorted(arms.items())))
            _keep(self._known, whole, number)
        return number, values

    def proof(self, scope: Scope, given: Mapping[str, Value], arms: Mapping[str, str]) -> Proof:
        """The proof of the context that was asked about last; the values that its reasons show may be those of another
        that is decided for the same reasons."""
        return decide(self.program, self.environment, scope, given, arms, self._answers)

    def _own(self, call: Call, kernel: Kernel) -> int:
        """What bars a kernel, rules aside, and what is assumed for it, without the values of fields that are shown."""
        found = own_feasibility(call, kernel)
        known = self._said.get(id(found))
        if known is None:
            reasons = []
            for one in found.reasons:
                got = [(name, None if name in self.program.fields else value) for name, value in one.got.items()]
                reasons.append((one.kind, one.text, one.at, one.because, one.feature, one.missing, *got))
            known = found, self._of_kernels.of((*reasons, *found.assumed))
            _keep(self._said, id(found), known)  # holds what it is about, so that its id stays its own
        return known[1]

    def _speaking(self, call: Call) -> Iterator[Hashable]:
        """The rules that say something, each with the answers that this depends on."""
        for place, (rule, read) in enumerate(self._rules):
            if (rule.arm is None or call.arms.get(rule.arm[0]) == rule.arm[1]) and speaks(call, rule):
                yield (place, *map(self._answers.now.__getitem__, read))


class _Answers(Memory):
    """Remembers by the answers to questions. What it recalls was found for a call with the same ones, so that values in
    it may be another's."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.now: list[int] = []
        self._fields = program.fields
        self._questions: dict[tuple[str, ...], _Questions] = {}
        self._places: dict[Hashable, tuple[int, ...]] = {}

    def ask(self, values: Mapping[str, Value]) -> list[int]:
        """The answers for the call that is asked about next."""
        self.now = []
        for asked in self._questions.values():
            seen = tuple(map(values.get, asked.names))
            answers = asked.known.get(seen)
            self.now.append(asked.answers(seen, values) if answers is None else answers)
        return self.now

    def seen(self, key: Hashable, values: Mapping[str, Value], read: Read) -> Iterable[object]:
        places = self._places.get(key)
        if places is None:
            places = self._places[key] = self.places(read())
        now = self.now
        return [now[place] for place in places]

    def places(self, conditions: Iterable[list[Expression]]) -> tuple[int, ...]:
        """Where the answers stand on which the truth of conditions depends."""
        found = set()
        for parts in conditions:
            for question in self._questions_in(parts):
                names = tuple(sorted(fields_of(question)))
                if names:
                    asked = self._questions.setdefault(names, _Questions(names, len(self._questions)))
                    asked.add(question)
                    found.add(asked.place)
        return tuple(sorted(found))

    def _questions_in(self, parts: list[Expression]) -> Iterator[Expression]:
        """What has its truth as a whole. Beside a kernel's attributes, and versions that may be assumed, the values of
        fields are asked for; an arm asks nothing of them."""
        if any(isinstance(one, AttributeValue | InstalledVersion) for part in parts for one in walk(part)):
            fields = (self._fields[name] for part in parts for name in fields_of(part))
            yield from (FieldValue(field.name, field.type, span=field.span) for field in fields)
            return
        waiting = list(parts)
        while waiting:
            part = waiting.pop()
            if isinstance(part, And | Or | Not | Conditional):
                waiting.extend(children(part))
            elif not isinstance(part, ArmIs):
                yield part


class _Questions:
    """Those that read the same fields; equal answers are one number."""

    def __init__(self, names: tuple[str, ...], place: int) -> None:
        self.names, self.place = names, place
        self._questions: dict[Expression, None] = {}
        self.known: dict[tuple[Any, ...], int] = {}  # values of the fields -> answers
        self._numbers = _Numbers()

    def add(self, question: Expression) -> None:
        self._questions[question] = None

    def answers(self, seen: tuple[Any, ...], values: Mapping[str, Value]) -> int:
        lookups = Lookups(values)
        found = ((question, evaluate(question, lookups)) for question in self._questions)
        number = self._numbers.of(tuple(missing(asked, lookups) if one is UNKNOWN else one for asked, one in found))
        _keep(self.known, seen, number)
        return number


class _Numbers:
    """Things -> numbers, never two for one; a thing that was forgotten gets another."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}
        self._count = count()

    def of(self, thing: Hashable) -> int:
        number = self._known.get(thing)
        if number is None:
            number = next(self._count)
            _keep(self._known, thing, number)
        return number


def _keep(known: dict[Any, Any], key: Hashable, value: object) -> None:
    if len(known) >= MOST:
        known.clear()
    known[key] = value

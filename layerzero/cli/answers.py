"""The two engines behind the commands: the definition with its proof, and the compiled policy for many contexts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ContextError
from layerzero.semantics.context import complete, read_context
from layerzero.semantics.decision_json import decision_json, error_json, json_value
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import enrol
from layerzero.semantics.proof import Outcome

if TYPE_CHECKING:
    from layerzero.compiler.codegen import Decide

Json = dict[str, object]

# Of `lz.decision/1`; the first nine need no proof.
QUICK = ("schema", "kernel", "score", "degraded", "locked_by", "ordered_by", "arm", "policy", "error")
FIELDS = (*QUICK, "rejected", "outranked", "assumed")


class Interpreted:
    """Answers by the definition, with the whole proof."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self.program, self.environment = program, environment

    def __call__(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str]) -> Json:
        from layerzero.semantics.interpret import decide

        return decision_json(self.program, decide(self.program, self.environment, scope, values, arms))


class Compiled:
    """Answers by one matcher per operation, compiled when it is first asked about, for every device at once."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self.program, self.environment = program, environment
        self._explain = Interpreted(program, environment)
        self._empty = error_json(program, "", "")
        self._matchers: dict[str, Decide] = {}

    def __call__(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str]) -> Json:
        outcome = self._outcome(scope, values, arms)
        if outcome is None or outcome.error is not None:  # the message is the proof's
            return self._explain(scope, values, arms)
        return {
            **self._empty,
            "kernel": outcome.kernel,
            "score": None if outcome.score is None else json_value(outcome.score),
            "degraded": outcome.degraded,
            "locked_by": list(outcome.locked_by),
            "ordered_by": list(outcome.ordered_by),
            "arm": dict(sorted(arms.items())) or None,
            "error": None,
        }

    def _outcome(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str]) -> Outcome | None:
        """What the matcher answers; None for a context that cannot be completed."""
        if scope.view is not None or not all(name in values for name in self.program.operations[scope.operation].needs):
            try:
                values = complete(self.program, scope, values).values
            except ContextError:
                return None
        return self._matcher(scope.operation)(values, arms)

    def _matcher(self, operation: str) -> Decide:
        found = self._matchers.get(operation)
        if found is None:
            from layerzero.compiler.codegen import generate
            from layerzero.compiler.compile import compile_operation

            form = compile_operation(self.program, self.environment, {}, self.program.operations[operation])
            found = self._matchers[operation] = generate(form)
        return found


Answer = Interpreted | Compiled


def answer_context(answer: Answer, context: Mapping[str, object], device: str | None) -> Json:
    """The decision of a context as `lz decide` reads one; one that cannot be read is an error of the decision."""
    try:
        scope, values = read_context(answer.program, context, device)
    except ContextError as problem:
        return error_json(answer.program, "invalid_context", str(problem))
    return answer(scope, values, enrol(answer.program, values))

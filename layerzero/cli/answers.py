"""The two engines behind the commands: the definition with its proof, and the compiled policy for many contexts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ContextError
from layerzero.runtime.vocabulary import Vocabulary
from layerzero.semantics.context import complete, read_context
from layerzero.semantics.decision_json import decision_json, error_json, json_value
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import enrol
from layerzero.semantics.memory import Memory
from layerzero.semantics.proof import Outcome

if TYPE_CHECKING:
    from layerzero.compiler.codegen import Decide

Json = dict[str, object]
_NOTHING: Mapping[str, Value] = {}
_Known = tuple[Mapping[str, Value] | None, frozenset[str], "Decide"]

# Of `lz.decision/1`; the first nine need no proof.
QUICK = ("schema", "kernel", "score", "degraded", "locked_by", "ordered_by", "arm", "policy", "error")
FIELDS = (*QUICK, "rejected", "outranked", "assumed")


class Interpreted:
    """Answers by the definition, with the whole proof."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self.program, self.environment = program, environment
        self._memory = Memory()

    def __call__(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str]) -> Json:
        from layerzero.semantics.interpret import decide

        proof = decide(self.program, self.environment, scope, values, arms, self._memory)
        return decision_json(self.program, proof)


class Compiled:
    """Answers by one matcher per operation, for every device at once, compiled or read when it is first asked about."""

    def __init__(self, program: Program, environment: Environment) -> None:
        self.program, self.environment = program, environment
        self._explain = Interpreted(program, environment)
        self._empty = error_json(program, "", "")
        self._matchers: dict[str, Decide] = {}
        self._words = Vocabulary.of(program)
        self._known: dict[Scope, _Known] = {}

    def __call__(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str]) -> Json:
        outcome = self.outcome(scope, values, arms)
        if outcome is None or outcome.error is not None:  # the message is the proof's
            return self._explain(scope, values, arms)
        return self.shown(outcome, arms)

    def shown(self, outcome: Outcome, arms: Mapping[str, str]) -> Json:
        """The object of an outcome without an error, as far as it needs no proof."""
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

    def outcome(self, scope: Scope, values: Mapping[str, Value], arms: Mapping[str, str]) -> Outcome | None:
        """What the matcher answers; None for a context that cannot be completed."""
        known = self._known.get(scope) or self._new(scope)
        fixed, needed, decide = known
        if fixed is not None:
            for name, value in fixed.items():
                if values.get(name, value) != value:
                    fixed = None
                    break
            else:
                values = {**fixed, **values}
        if fixed is None or not values.keys() >= needed:
            try:
                values = complete(self.program, scope, values).values
            except ContextError:
                return None
        return decide(values, arms)

    def _new(self, scope: Scope) -> _Known:
        """What a view fixes, None where only a completed context can tell whether it holds; needs; the matcher."""
        fixed = _NOTHING if scope.view is None else self._words.views[scope]
        known = fixed, frozenset(self._words.needed[scope.operation]), self._matcher(scope.operation)
        self._known[scope] = known
        return known

    def _matcher(self, operation: str) -> Decide:
        found = self._matchers.get(operation)
        if found is None:
            from layerzero.compiler.matcher import function_of
            from layerzero.runtime.cached import kept_form

            form = kept_form(self.program, self.environment, {}, operation)
            found = self._matchers[operation] = function_of(form)
        return found


Answer = Interpreted | Compiled


def answer_context(answer: Answer, context: Mapping[str, object], device: str | None) -> Json:
    """The decision of a context as `lz decide` reads one; one that cannot be read is an error of the decision."""
    try:
        scope, values = read_context(answer.program, context, device)
    except ContextError as problem:
        return error_json(answer.program, "invalid_context", str(problem))
    return answer(scope, values, enrol(answer.program, values))

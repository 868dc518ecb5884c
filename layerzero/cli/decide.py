"""Decide many contexts: one JSON object in, one JSON line out, in step, so that it works inside a pipe.

A line is `{"operation": "attention.decode", "dtype": "bf16", ...}`; blank lines are left out. What is wrong with a
line is the `error` of its output, the stream goes on, and the exit code is 1. With --fields that ask for no
explanation (kernel, score, degraded, locked_by, ordered_by, arm, policy, error) the compiled policy answers."""

from __future__ import annotations

import argparse
import json
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import fstat
from typing import TYPE_CHECKING, BinaryIO, cast

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.cli.contexts import Line, read_lines
from layerzero.cli.output import counted
from layerzero.cli.programs import (
    add_environment_options,
    add_json,
    add_paths,
    add_program_options,
    environment,
    program,
)
from layerzero.errors import ContextError
from layerzero.semantics.context import complete, read_context
from layerzero.semantics.decision_json import decision_json, error_json, json_value
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import enrol
from layerzero.semantics.proof import Outcome
from layerzero.syntax.suggest import did_you_mean

if TYPE_CHECKING:
    from layerzero.compiler.codegen import Decide

Json = dict[str, object]

# Of `lz.decision/1`; the first nine need no proof.
QUICK = ("schema", "kernel", "score", "degraded", "locked_by", "ordered_by", "arm", "policy", "error")
FIELDS = (*QUICK, "rejected", "outranked", "assumed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument("--contexts", required=True, metavar="FILE", help="JSON lines; `-` reads standard input")
    parser.add_argument("--fields", type=fields, default=(), metavar="NAMES", help="only these keys: kernel,score")
    add_json(parser, "accepted for the sake of scripts: the output is JSON lines always")
    add_program_options(parser)
    add_environment_options(parser)


def fields(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in FIELDS]
    if unknown or not names:
        hint = (did_you_mean(unknown[0], FIELDS) if unknown else "") or f"known: {', '.join(FIELDS)}"
        raise argparse.ArgumentTypeError(f"unknown field `{unknown[0] if unknown else text}`; {hint}")
    return names


def run(args: argparse.Namespace) -> int:
    loaded = program(args)
    there = environment(args, loaded)
    quick = bool(args.fields) and set(args.fields) <= set(QUICK)
    answer: Interpreted | Compiled = (Compiled if quick else Interpreted)(loaded, there)
    lines = wrong = 0
    with opened(args.contexts) as (stream, live):
        for line in read_lines(stream):
            found = decide_line(answer, line, args.device)
            lines += 1
            if found["error"] is not None:
                wrong += 1
                if args.fields and "error" not in args.fields:
                    print(f"line {line.number}: {cast(Json, found['error'])['message']}", file=sys.stderr)
            shown = {name: found[name] for name in args.fields} if args.fields else found
            print(json.dumps(shown, ensure_ascii=False), flush=live)
    if wrong:
        print(f"{wrong} of {counted(lines, 'context')} {'has' if wrong == 1 else 'have'} an error", file=sys.stderr)
    return int(wrong > 0)


def decide_line(answer: Interpreted | Compiled, line: Line, device: str | None) -> Json:
    """The decision object of one line; of the quick answer without what it does not know."""
    if line.context is None:
        assert line.problem is not None
        return error_json(answer.program, *line.problem)
    try:
        scope, values = read_context(answer.program, line.context, device)
        return answer(scope, values, enrol(answer.program, values))
    except ContextError as problem:
        return error_json(answer.program, "invalid_context", str(problem))


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


@contextmanager
def opened(path: str) -> Iterator[tuple[BinaryIO, bool]]:
    """The contexts, and whether somebody may be waiting for each answer: everywhere but in a plain file."""
    if path == "-":
        yield sys.stdin.buffer, True
        return
    with open(path, "rb") as file:
        yield file, not stat.S_ISREG(fstat(file.fileno()).st_mode)

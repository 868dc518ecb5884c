"""Decide many contexts: one JSON object in, one JSON line out, in step, so that it works inside a pipe.

A line is `{"operation": "attention.decode", "dtype": "bf16", ...}`; blank lines are left out. What is wrong with a
line is the `error` of its output, the stream goes on, and the exit code is 1. With --fields that ask for no
explanation (kernel, score, degraded, locked_by, ordered_by, arm, policy, error) the compiled policy answers; without,
one proof serves all contexts that are decided for the same reasons."""

from __future__ import annotations

import argparse
import json
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from os import fstat
from typing import BinaryIO, cast

from layerzero.cli.answers import FIELDS, QUICK, Answer, Compiled, Interpreted, Json, answer_context
from layerzero.cli.contexts import Line, TextOf, read_lines
from layerzero.cli.output import counted
from layerzero.cli.programs import (
    add_environment_options,
    add_json,
    add_paths,
    add_program_options,
    environment,
    program,
)
from layerzero.cli.texts import Proofs, Texts
from layerzero.semantics.decision_json import error_json
from layerzero.syntax.suggest import did_you_mean

MOST_WAITING = 1000


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
    answer: Answer
    text_of: TextOf
    if args.fields and set(args.fields) <= set(QUICK):
        answer = Compiled(loaded, there)
        text_of = Texts(answer, args.fields, args.device)
    else:
        answer = Interpreted(loaded, there)
        text_of = Proofs(answer, args.fields, args.device)
    lines = wrong = 0
    with opened(args.contexts) as (stream, live), Output(1 if live else MOST_WAITING) as output:
        for line in read_lines(stream, text_of):
            lines += 1
            if isinstance(line, str):
                output.put(line)
                continue
            found = decide_line(answer, line, args.device)
            if found["error"] is not None:
                wrong += 1
                if args.fields and "error" not in args.fields:
                    print(f"line {line.number}: {cast(Json, found['error'])['message']}", file=sys.stderr)
            shown = {name: found[name] for name in args.fields} if args.fields else found
            output.put(json.dumps(shown, ensure_ascii=False))
    if wrong:
        print(f"{wrong} of {counted(lines, 'context')} {'has' if wrong == 1 else 'have'} an error", file=sys.stderr)
    return int(wrong > 0)


class Output:
    """Lines of standard output, written so many at a time: 1 where somebody waits for each answer."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.waiting: list[str] = []

    def put(self, line: str) -> None:
        self.waiting.append(line)
        if len(self.waiting) >= self.most:
            self.write()

    def write(self) -> None:
        waiting, self.waiting = self.waiting, []
        if waiting:
            sys.stdout.write("\n".join([*waiting, ""]))
            sys.stdout.flush()

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.write()


def decide_line(answer: Answer, line: Line, device: str | None) -> Json:
    """The decision object of one line; of the quick answer without what it does not know."""
    if line.context is None:
        assert line.problem is not None
        return error_json(answer.program, *line.problem)
    return answer_context(answer, line.context, device)


@contextmanager
def opened(path: str) -> Iterator[tuple[BinaryIO, bool]]:
    """The contexts, and whether somebody may be waiting for each answer: everywhere but in a plain file."""
    if path == "-":
        yield sys.stdin.buffer, True
        return
    with open(path, "rb") as file:
        yield file, not stat.S_ISREG(fstat(file.fileno()).st_mode)

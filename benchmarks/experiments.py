"""How often do guards stop an arm that is as good as control, and how soon one that is not?

    python benchmarks/experiments.py                 # 1 000 runs of each question, some minutes
    python benchmarks/experiments.py --runs 200 --requests 1000
    python benchmarks/experiments.py --json

A run is one experiment of two arms, half and half, whose guards are asked after every request; it ends when a guard
ends the arm, or after `--requests`. Every run has its own seed, so a line can be repeated. The level of a whole
experiment, all guards and arms together, is 5 %.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from layerzero.check import program_from_text
from layerzero.experiments.trial import Member, Outcome, Trial
from layerzero.runtime.policy import offline_environment
from layerzero.runtime.snapshot import Snapshot

Draw = Callable[[random.Random], float]


@dataclass(frozen=True)
class Question:
    """One kind of run. `change` is the request (of both arms) from which the arm differs from control."""

    name: str
    guards: str
    same: bool  # whether the arm is as good as control, or keeps its guards
    latency: Draw
    error: float = 0.0
    arm_error: float | None = None
    arm_slower: float = 1.0
    change: int = 0


def lognormal(random: random.Random) -> float:
    return random.lognormvariate(2.0, 1.0)


def pareto(random: random.Random) -> float:
    """A tail so heavy that its variance is infinite."""
    return 5.0 * random.paretovariate(1.5)


def steady(random: random.Random) -> float:
    return random.gauss(20.0, 2.0)


TOUR = "guard error_rate < 1% guard p95_latency < 1.10 * control"
EVERYTHING = f"{TOUR} guard mean_latency < 1.05 * control guard error_rate < 1.5 * control guard degraded_rate < 5%"
QUESTIONS = (
    Question("the tour's guards, errors at the very bound", TOUR, True, lognormal, error=0.01),
    Question("the tour's guards, infinite variance", TOUR, True, pareto, error=0.005),
    Question("p95 < 1.00 * control, infinite variance", "guard p95_latency < 1.0 * control", True, pareto),
    Question("p50 < 1.00 * control", "guard p50_latency < 1.0 * control", True, lognormal),
    Question("mean < 1.00 * control, infinite variance", "guard mean_latency < 1.0 * control", True, pareto),
    Question("errors < 1.00 * control, 5 % each", "guard error_rate < 1.0 * control", True, lognormal, error=0.05),
    Question("five guards at once", EVERYTHING, True, pareto, error=0.01),
    Question("10 % errors, one guard", "guard error_rate < 1%", False, lognormal, 0.001, 0.10),
    Question("10 % errors, the tour's guards", TOUR, False, lognormal, 0.001, 0.10),
    Question("10 % errors after 2 000 good requests", TOUR, False, lognormal, 0.001, 0.10, change=2000),
    Question("3 % errors", TOUR, False, lognormal, 0.001, 0.03),
    Question("twice as slow", TOUR, False, lognormal, 0.001, arm_slower=2.0),
    Question("1.3 times as slow, steady latencies", TOUR, False, steady, 0.001, arm_slower=1.3),
    Question("twice as slow, mean", "guard mean_latency < 1.10 * control", False, steady, arm_slower=2.0),
)


@dataclass(frozen=True)
class Answer:
    """`stopped_after` are requests of the arm, since the change."""

    name: str
    runs: int
    stopped: float
    within_100: float
    median: float | None
    p95: float | None
    seconds: float


def ask(question: Question, runs: int, requests: int, seed: int = 1) -> Answer:
    """Simulate one question."""
    experiment = f"experiment trial on unit {{ arm control 50% arm other 50% {question.guards} }}"
    program = program_from_text(f'policy "p" standalone\nfield unit: string\n{experiment}', prelude=False)
    snapshot = Snapshot.compiled(program, offline_environment())
    began = time.perf_counter()
    ends = [run(snapshot, question, requests, seed * 1_000_003 + number) for number in range(runs)]
    stopped = sorted(end for end in ends if end is not None)
    return Answer(
        question.name,
        runs,
        len(stopped) / runs,
        sum(end <= 100 for end in stopped) / runs,
        statistics.median(stopped) if stopped else None,
        stopped[math.ceil(0.95 * len(stopped)) - 1] if stopped else None,
        time.perf_counter() - began,
    )


def run(snapshot: Snapshot, question: Question, requests: int, seed: int) -> int | None:
    """How many requests the arm had had, since it changed, when it was stopped; None where it never was."""
    rng = random.Random(seed)
    experiment = snapshot.vocabulary.experiments["trial"]
    trial = Trial(experiment)
    since = 0
    for number in range(requests + question.change):
        arm = "other" if rng.random() < 0.5 else "control"
        changed = arm == "other" and number >= question.change
        error = question.arm_error if changed and question.arm_error is not None else question.error
        latency = question.latency(rng) * (question.arm_slower if changed else 1.0)
        since += changed
        outcome = Outcome(snapshot, {}, {}, latency_ms=latency, error=rng.random() < error)
        if trial.take(outcome, Member(experiment, arm, str(number), False)) is not None:
            return since
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=2000, help="of both arms together, after the change")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="questions whose name contains this")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    asked = [one for one in QUESTIONS if args.only in one.name]
    answers = []
    for question in asked:
        answer = ask(question, args.runs, args.requests, args.seed)
        answers.append(answer)
        if not args.json:
            kind = "falsely stopped" if question.same else "stopped"
            line = f"{answer.name:<44} {kind} {answer.stopped:7.1%}"
            if not question.same and answer.median is not None:
                line += f", within 100 requests of the arm {answer.within_100:.1%}"
                line += f", median {answer.median:g}, 95 % by {answer.p95:g}"
            print(f"{line}   ({answer.seconds:.0f} s)", flush=True)
    if args.json:
        setting = {"runs": args.runs, "requests": args.requests, "seed": args.seed}
        print(json.dumps({**setting, "answers": [asdict(answer) for answer in answers]}, indent=2))


if __name__ == "__main__":
    main()

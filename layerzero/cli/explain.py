"""Show why one call gets its kernel, and why no other: the provenance tree of one decision.

--given takes the items of a test's `given`: the operation or view, names of contexts and devices, fields as NAME=VALUE;
later ones override earlier ones. Exit code 1 where the decision is an error, 2 where an item cannot be read.

  lz explain prod.lzp --given attention.decode h100 llama batch=8 q_len=1 kv_len=32Ki"""

from __future__ import annotations

import argparse
from pathlib import Path

from layerzero.analysis.why_not import Question, answer_tree, remedies, remedy_json
from layerzero.check.program import Program
from layerzero.cli.budget import add_budget
from layerzero.cli.given import read_given
from layerzero.cli.output import print_json, style
from layerzero.cli.programs import (
    add_environment_options,
    add_json,
    add_paths,
    add_program_options,
    environment,
    program,
)
from layerzero.errors import ArgumentError
from layerzero.semantics.decision_json import decision_json, json_value, reason_json
from layerzero.semantics.experiments import enrol
from layerzero.semantics.explain_text import draw, explain_text
from layerzero.semantics.explanation import why_not
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument(
        "--given", nargs="+", action="extend", default=[], metavar="ITEM", help="operation=..., a name, or FIELD=VALUE"
    )
    parser.add_argument(
        "--why-not", metavar="KERNEL", help="what keeps this kernel from being chosen, and what would change it"
    )
    add_budget(parser, "20s")
    parser.add_argument("--html", metavar="FILE", help="write a self-contained page (`-`: to standard output)")
    add_json(parser, "print the decision as `lz decide` does; with --why-not the verdict on the kernel")
    add_program_options(parser)
    add_environment_options(parser)


def run(args: argparse.Namespace) -> int:
    loaded = program(args)
    scope, values = read_given(loaded, args.given, args.device)
    proof = decide(loaded, environment(args, loaded), scope, values, enrol(loaded, values))
    if args.why_not is not None:
        return _why_not(args, loaded, proof, Question(loaded, environment(args, loaded), scope, values, args.why_not))
    if args.html is not None:
        _write_page(args.html, loaded, proof)
    elif args.json:
        print_json(decision_json(loaded, proof))
    else:
        print(explain_text(loaded, proof, color=style().color))
    return int(proof.error is not None)


def _why_not(args: argparse.Namespace, program: Program, proof: Proof, question: Question) -> int:
    """The verdict on one kernel, and the smallest changes with which it would be chosen."""
    reasons = why_not(program, proof, args.why_not)  # an unknown kernel is wrong usage, whatever is printed
    if args.html is not None:
        raise ArgumentError("--html shows the whole decision: leave --why-not out")
    found = remedies(question, args.budget)
    if args.json:
        print_json({**verdict_json(proof, args.why_not), "changes": [remedy_json(one) for one in found]})
    else:
        print("\n".join(draw(answer_tree(reasons, proof, args.why_not, found), style().color)))
    return int(proof.error is not None)


def verdict_json(proof: Proof, kernel: str) -> dict[str, object]:
    """`stage` is where the kernel left the decision: infeasible, lock, allow, deny, outranked; or chosen, fallback."""
    verdict = proof.verdicts[kernel]
    return {
        "kernel": kernel,
        "stage": verdict.stage,
        "reasons": [reason_json(reason) for reason in verdict.reasons],
        "score": None if verdict.score is None else json_value(verdict.score),
        "chosen": proof.kernel,
    }


def _write_page(target: str, program: Program, proof: Proof) -> None:
    from layerzero.semantics.explain_html import explain_html

    page = explain_html(program, proof)
    if target == "-":
        print(page, end="")
        return
    Path(target).write_text(page, encoding="utf-8")
    print(f"wrote {target}")

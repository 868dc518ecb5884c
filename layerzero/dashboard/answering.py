"""The child process: records and texts -> proofs, reasons against a kernel, what a swap changed, findings.

Each answer is that of the command that exists for it: `lz explain`, `lz diff`, `lz check`. What cannot be answered is
`{"problem": text}`.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from layerzero.analysis import study
from layerzero.analysis.difference import Side, difference
from layerzero.analysis.why_not import Question, answer_tree, remedies, remedy_json
from layerzero.check import Checked, load, load_text
from layerzero.check.expressions import Value
from layerzero.check.loader import Root
from layerzero.check.program import Layer, Program, Scope
from layerzero.cli.budget import spent
from layerzero.cli.diff import plain
from layerzero.cli.given import read_given
from layerzero.errors import LayerZeroError
from layerzero.runtime.edits import edits
from layerzero.runtime.export import SnapshotStore, environment_data
from layerzero.runtime.replay import rebuild, restored
from layerzero.runtime.snapshot import Snapshot
from layerzero.runtime.worker_data import Json
from layerzero.runtime.worker_main import Answer, serve
from layerzero.semantics.context import read_context
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import enrol
from layerzero.semantics.explanation import Branch, provenance, why_not
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof
from layerzero.syntax.report_formats import to_json

NAME = "playground.lzp"
_CPU = {"device": "cpu"}
MOST_DEVICES = 4  # of different kinds, on which a swap is looked at


def main(memory: int, parent: int) -> None:
    """Answer the dashboard until it closes the pipe."""
    serve(memory, parent, Answering)


class Answering:
    """Keeps nothing between questions but what the engine itself keeps of texts it has read."""

    def answer(self, request: Json, blobs: list[bytes]) -> Answer:
        answers = {"explain": explain, "why_not": against, "swap": swap, "texts": texts, "try": attempt}
        try:
            return answers[request["do"]](request), []
        except MemoryError:
            return {"error": "memory"}, []
        except (LayerZeroError, OSError) as error:
            return {"problem": str(error)}, []
        except Exception as error:  # noqa: BLE001 - the page says it; the next question may be a better one
            return {"problem": f"internal error: {type(error).__name__}: {error}"}, []


# ---------------------------------------------------------------- decisions of a log


def explain(request: Json) -> Json:
    """The provenance tree of a record."""
    decision = rebuild(request["record"], SnapshotStore(request["store"]))
    return _proof_json(decision.program, decision.proof)


def against(request: Json) -> Json:
    """Why a kernel was not chosen in a record, and what would change that."""
    decision = rebuild(request["record"], SnapshotStore(request["store"]))
    environment = decision.snapshot.environment
    return _why_not(
        decision.program, environment, decision.scope, decision.values, decision.proof, request["kernel"], request
    )


def _why_not(
    program: Program,
    environment: Environment,
    scope: Scope,
    values: Mapping[str, Value],
    proof: Proof,
    kernel: str,
    request: Json,
) -> Json:
    reasons = why_not(program, proof, kernel)
    found = remedies(Question(program, environment, scope, values, kernel), request["seconds"])
    tree = answer_tree(reasons, proof, kernel, found)
    return {"tree": _branch(tree), "changes": [remedy_json(one) for one in found]}


def _proof_json(program: Program, proof: Proof) -> Json:
    kernels = [
        {"kernel": name, "stage": verdict.stage, "score": verdict.score}
        for name, verdict in sorted(proof.verdicts.items())
    ]
    return {"tree": _branch(provenance(program, proof)), "kernel": proof.kernel, "kernels": kernels}


def _branch(branch: Branch) -> Json:
    return {
        "text": branch.text,
        "tone": branch.tone,
        "folded": branch.folded,
        "children": [_branch(one) for one in branch.children],
    }


# ---------------------------------------------------------------- snapshots of a log


def swap(request: Json) -> Json:
    """What changed from one snapshot to the next: statements, the environment, and the calls decided otherwise."""
    store = SnapshotStore(request["store"])
    old, new = (restored(store, request[side], 0) for side in ("before", "after"))
    before, after = environment_data(old.environment), environment_data(new.environment)
    over, found = spent(request["seconds"]), []
    # A snapshot from before the first tensor names no device, but where it decides there is a CPU.
    here = store.devices(request["after"]) or [_CPU if "device" in new.program.fields else {}]
    devices = [device for place, device in enumerate(here) if device not in here[:place]]
    for device in devices[:MOST_DEVICES]:
        compared = difference(_side(old, device), _side(new, device), stop=over)
        found.append({"device": device, **plain(compared, None)})
    return {
        "edits": [{"kind": one.kind, "text": one.text, "at": one.at} for one in edits(old.texts, new.texts)],
        "environment": [
            {"name": name, "before": before[name], "after": after[name]}
            for name in before
            if before[name] != after[name]
        ],
        "differences": found,
    }


def _side(snapshot: Snapshot, device: Mapping[str, Value]) -> Side:
    """A snapshot on one device as the analyses take it, which ask questions and call nothing: a kernel without an
    adapter counts as taken out."""
    environment, program = snapshot.environment, snapshot.program
    out = dict(environment.no_adapter)
    for name, kernel in program.kernels.items():
        why = environment.breaker(name, device.get("device")) or (None if kernel.adapter else "no adapter")
        if why is not None:
            out.setdefault(name, why)
    return Side(program, replace(environment, call_kernels=False, open_breakers=out), device)


def texts(request: Json) -> Json:
    """The texts of a snapshot that somebody wrote for it: its policy files and the rules of calls."""
    snapshot = restored(SnapshotStore(request["store"]), request["snapshot"], 0)
    own = (Layer.POLICY, Layer.RUNTIME)
    return {"texts": [{"name": one.source.name, "text": one.source.text} for one in snapshot.texts if one.layer in own]}


# ---------------------------------------------------------------- the playground


def attempt(request: Json) -> Json:
    """The findings of a text, and its decision of a context; both as `lz check` and `lz explain` have them.

    `path` is the file that the text stands for, so that it imports what that file may; without one it imports nothing.
    """
    checked = _loaded(request)
    today = datetime.now(UTC).date()
    findings = list(checked.diagnostics)
    if checked.program is not None:
        findings += study(checked.program, today, not request["full"], spent(request["seconds"])).findings
    answer: Json = {"findings": [to_json(one) for one in findings], "full": request["full"]}
    if checked.program is None:
        return answer
    try:
        return {**answer, **_decision(checked.program, request, today)}
    except (LayerZeroError, ValueError) as error:
        return {**answer, "context_problem": str(error)}


def _loaded(request: Json) -> Checked:
    catalogs = [Path(one) for one in request["catalogs"]]
    if request["path"] is None:
        return load_text(request["text"], name=NAME, catalogs=catalogs)
    path = Path(request["path"]).resolve()
    return load(Root((path,), path.parent), catalogs=catalogs, opened={path: request["text"]})


def _decision(program: Program, request: Json, today: date) -> Json:
    given = request["given"].strip()
    if not given:
        return {}
    environment = Environment(assume_packages=True, call_kernels=False, today=today)
    if given.startswith("{"):
        context: Any = json.loads(given)
        if not isinstance(context, dict):
            raise ValueError("a context is a JSON object")
        scope, values = read_context(program, context)
    else:
        scope, values = read_given(program, shlex.split(given))
    proof = decide(program, environment, scope, values, enrol(program, values))
    answer = _proof_json(program, proof)
    if request["kernel"]:
        answer["why_not"] = _why_not(program, environment, scope, values, proof, request["kernel"], request)
    return answer
